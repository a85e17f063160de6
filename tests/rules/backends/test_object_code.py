"""Kernels in real processes: forked, threaded, with and without OpenMP, and cached on disk."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from steepest.rules.backends import object_code
from tests import warm

PREAMBLE = """
import ctypes, os, sys, threading, warnings
import numpy as np
import torch
from steepest.rules.backends import object_code
from steepest.rules.textbook import RULES
from steepest.rules.update import Update

warnings.simplefilter("error")
RULE = RULES["momentum"]

class Point:
    def __init__(self, n, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.w = torch.randn(n, generator=generator).requires_grad_()
        self.w.grad = torch.randn(n, generator=generator)
        self.names, self.rows, self.overrides = ("w",), (0,), ({},)

    def tensors(self):
        return [self.w]

def trained(n, seed=0, steps=3):
    at = Point(n, seed)
    update = Update(at, RULE)
    for _ in range(steps):
        update.norm()
        update.advance({"lr": 0.1, "beta": 0.9, "weight_decay": 0.01})
    return at.w.detach()

def obvious(n, seed=0, steps=3):
    at = Point(n, seed)
    w, v, g = at.w.detach(), torch.zeros(n), at.w.grad
    for _ in range(steps):
        v = 0.9 * v + (g + 0.01 * w)
        w = w - 0.1 * v
    return w

def right(w, n, seed=0):
    return torch.allclose(w, obvious(n, seed), rtol=1e-5, atol=1e-6)

LARGE = 1_000_003
torch.set_num_threads(2)
"""

HANGS_S = 300
"""Far beyond what anything here takes, however busy the machine: two builds on one shared core took 26 s."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """One kernel cache for these tests: the first process builds, the others load."""
    folder = tmp_path_factory.mktemp("kernels")
    assert python(SMALL, folder) == "True\n"
    return folder


def environment(cache: Path, **variables: str) -> dict[str, str]:
    return {**os.environ, "STEEPEST_CACHE": str(cache), **variables}


def start(code: str, cache: Path) -> tuple[ForkServerProcess, Path]:
    """A process that runs code, and the folder of what it prints."""
    folder = Path(tempfile.mkdtemp(prefix="said-"))
    return warm.start(PREAMBLE + textwrap.dedent(code), folder, environment(cache)), folder


def end(process: ForkServerProcess, folder: Path) -> str:
    """What it printed; it must end well. A process that hangs is killed."""
    process.join(HANGS_S)
    out, err = ((folder / name).read_text() for name in ("out", "err"))
    shutil.rmtree(folder)
    if process.exitcode is None:
        os.killpg(process.pid, signal.SIGKILL)  # its children too
        pytest.fail(f"it hangs; it said {err[-2000:]}")
    assert process.exitcode == 0, err[-3000:]
    return out


def python(code: str, cache: Path) -> str:
    return end(*start(code, cache))


def cold_python(code: str, cache: Path, preamble: str = PREAMBLE) -> None:
    """Where OpenMP is told by the environment, which it reads when torch is imported."""
    command = [sys.executable, "-c", preamble + textwrap.dedent(code)]
    subprocess.run(command, env=environment(cache, OMP_NUM_THREADS="1"), check=True, timeout=HANGS_S)


# -- Threads and forks -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_serial_and_parallel_agree_bit_for_bit(cache):
    python(
        """
        torch.set_num_threads(1)
        serial = trained(LARGE)
        torch.set_num_threads(2)
        assert object_code.threads(LARGE) == object_code.threads(1 << 16) == 2
        assert object_code.threads((1 << 16) - 1) == 1
        parallel = trained(LARGE)
        assert torch.equal(serial, parallel) and right(parallel, LARGE)
        torch.set_num_threads(5)  # more than there are processors
        assert torch.equal(serial, trained(LARGE))
        """,
        cache,
    )


@pytest.mark.slow
@pytest.mark.parametrize("before", ["trained(LARGE)", "torch.randn(2000, 2000).sum()", "None"])
def test_after_fork(before, cache):
    """In the child the team's threads are gone; it must neither wait for them nor die, and the parent goes on."""
    python(
        f"""
        {before}
        at, expected = Point(LARGE), obvious(LARGE).numpy()
        update = Update(at, RULE)
        child = os.fork()
        if child == 0:  # no large torch operations here: torch's own would wait for the team
            try:
                for _ in range(3):
                    update.norm()
                    update.advance({{"lr": 0.1, "beta": 0.9, "weight_decay": 0.01}})
                good = np.allclose(at.w.detach().numpy(), expected, rtol=1e-5, atol=1e-6)
                os._exit(0 if good and object_code.threads(LARGE) == 1 else 3)
            except BaseException:
                os._exit(4)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert right(trained(LARGE), LARGE) and object_code.threads(LARGE) == 2
        """,
        cache,
    )


@pytest.mark.slow
def test_in_a_forked_worker_beside_the_parent(cache):
    """A DataLoader's workers may use a kernel while the parent does."""
    python(
        """
        from torch.utils.data import DataLoader, Dataset

        warnings.filterwarnings("ignore", message=".*worker processes")  # on a machine of one processor

        class Trained(Dataset):
            def __len__(self):
                return 8

            def __getitem__(self, i):
                return bool(right(trained(LARGE, i), LARGE, i)), os.getpid()

        trained(LARGE)
        loader = DataLoader(Trained(), batch_size=2, num_workers=2, multiprocessing_context="fork")
        seen = []
        for good, pids in loader:
            seen += good.tolist()
            assert os.getpid() not in pids.tolist()
            assert right(trained(LARGE), LARGE)
        assert seen == [True] * 8
        """,
        cache,
    )


@pytest.mark.slow
def test_one_thread_by_environment(cache):
    """The team is as large as torch was told to be, whatever OpenMP was told."""
    cold_python("assert object_code.threads(LARGE) == 2 and right(trained(LARGE), LARGE)", cache)


@pytest.mark.slow
def test_torch_s_own_number_of_threads(cache):
    cold_python(
        "assert torch.get_num_threads() == object_code.threads(LARGE) == 1 and right(trained(LARGE), LARGE)",
        cache,
        PREAMBLE.replace("torch.set_num_threads(2)", ""),
    )


@pytest.mark.slow
def test_two_python_threads(cache):
    """Two models at once, each large: neither's numbers get into the other's."""
    python(
        """
        trained(LARGE)
        found = {}

        def work(seed):
            found[seed] = all(right(trained(LARGE + seed, seed), LARGE + seed, seed) for _ in range(8))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert found == {1: True, 2: True}
        """,
        cache,
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_torch_is_left_as_it_was(cache):
    """No second OpenMP library comes into the process; threads are torch's own pool's: four beside the one there is."""
    python(
        """
        def libraries():
            lines = open("/proc/self/maps").read().splitlines()
            return {os.path.realpath(l.split()[-1]) for l in lines if "omp" in os.path.basename(l.split()[-1])}

        def told():
            return torch.get_num_threads(), torch.get_num_interop_threads(), torch.__config__.parallel_info()

        torch.set_num_threads(5)
        count = len(os.listdir("/proc/self/task"))
        before = libraries(), told()
        trained(LARGE)
        assert before[0] and (libraries(), told()) == before
        path = object_code._openmp_path()
        assert os.path.realpath(path) in before[0] and path.startswith(os.path.dirname(torch.__file__))
        assert len(os.listdir("/proc/self/task")) == count + 4
        torch.ones(LARGE).exp().sum()
        assert len(os.listdir("/proc/self/task")) == count + 4
        """,
        cache,
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="names the C library")
def test_without_openmp(cache):
    """Said once; everything then works on one thread."""
    python(
        """
        object_code._openmp_path = lambda: "libm.so.6"  # a library, but not OpenMP's
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            assert right(trained(LARGE), LARGE) and right(trained(LARGE, 1), LARGE, 1)
        assert object_code.threads(LARGE) == 1
        assert [str(w.message) for w in seen] == [
            "torch has no GNU OpenMP library: updates of large models run on one thread"
        ]
        """,
        cache,
    )


@pytest.mark.slow
def test_a_platform_without_fork_or_a_handle_of_the_process(tmp_path):
    """As on Windows: it is said once, and torch takes the steps."""
    script = """
import ctypes, os, torch, warnings
del os.register_at_fork
library = ctypes.CDLL
def without_handle(name, *args, **kwargs):
    if name is None:
        raise TypeError("bad argument type for built-in operation")
    return library(name, *args, **kwargs)
ctypes.CDLL = without_handle
import steepest as sd
def train(make):
    torch.manual_seed(0)
    model = torch.nn.Linear(400, 400)
    optimizer = make(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(1, 400)).square().mean().backward()
        optimizer.step()
    return model.weight.detach()
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    assert torch.allclose(train(sd.optim.Adam), train(torch.optim.Adam))
    x = torch.randn(64, 3)
    task = sd.Task(torch.nn.Linear(3, 1), (x, x[:, :1]), torch.nn.functional.mse_loss)
    *_, last = sd.descend(task, "momentum", 0.1, batch_size="full", steps=50)
    assert last.loss < 1e-2
assert sum("Compiled updates are not available" in str(w.message) for w in seen) == 1, seen
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


# -- Cache -------------------------------------------------------------------------------------------------------------

SMALL = "assert right(trained(33), 33)\nprint('numba' in sys.modules)"


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.slow
def test_second_process_does_not_compile(cache):
    stored = files(cache)
    assert len(stored) == 3  # the loop, the rule's block and the norm's
    assert python(SMALL, cache) == "False\n"
    assert files(cache) == stored


DAMAGES = {
    "empty": lambda code: b"",
    "half": lambda code: code[: len(code) // 2],
    "bit": lambda code: code[:-1] + bytes([code[-1] ^ 1]),
    "zeros": lambda code: b"\0" * len(code),
    "text": lambda code: b"no lines",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_seen(damage, tmp_path):
    path = tmp_path / "kernel.o"
    object_code._write(path, bytes(range(256)) * 40, "function")
    assert object_code._read(path) == (bytes(range(256)) * 40, "function")
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert object_code._read(path) is None


@pytest.mark.slow
def test_damaged_files_are_built_anew(cache, tmp_path):
    for damage, (name, code) in zip(("half", "bit"), files(cache).items()):
        (tmp_path / name).write_bytes(DAMAGES[damage](code))
    assert python(SMALL, tmp_path) == "True\n"
    assert files(tmp_path).keys() == files(cache).keys()
    assert python(SMALL, tmp_path) == "False\n"


def test_another_processor_or_version_is_another_kernel(monkeypatch):
    """Object code made for one must never run on another."""
    versions = object_code.version
    keys = [object_code._key("a formula"), object_code._key("another formula")]
    for owner, name, other in [
        (object_code.platform, "system", lambda: "Plan 9"),
        (object_code.platform, "machine", lambda: "another"),
        (object_code, "_processor", lambda: "another"),
        (object_code, "version", lambda package: "0.0" if package == "llvmlite" else versions(package)),
        (object_code, "version", lambda package: "0.0" if package == "numba" else versions(package)),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, other)
            keys.append(object_code._key("a formula"))
    assert len(set(keys)) == len(keys)
    assert object_code._key("a formula") == keys[0]


@pytest.mark.skipif(getattr(os, "getuid", lambda: 1)() != 0, reason="only root can give a folder away")
def test_folder_of_another_user_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("STEEPEST_CACHE", str(tmp_path))
    assert object_code.cache_folder() == tmp_path
    os.chown(tmp_path, os.getuid() + 12345, -1)
    assert object_code.cache_folder() is None


@pytest.mark.parametrize("bits", [stat.S_IWOTH, stat.S_IWGRP])
def test_folder_that_others_can_write_is_not_used(bits, tmp_path, monkeypatch):
    """Code from there is run, so nobody else may put it there."""
    monkeypatch.setenv("STEEPEST_CACHE", str(tmp_path))
    assert object_code.cache_folder() == tmp_path
    tmp_path.chmod(0o700 | bits)
    assert object_code.cache_folder() is None


@pytest.mark.slow
def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert python(SMALL, tmp_path / "file" / "kernels") == "True\n"


def test_folder_is_made_for_the_user_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("STEEPEST_CACHE", str(tmp_path / "a" / "b"))
    assert object_code.cache_folder() == tmp_path / "a" / "b"
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


@pytest.mark.slow
def test_two_processes_build_at_once(tmp_path):
    both = [start(SMALL, tmp_path) for _ in range(2)]
    assert [end(*process) for process in both] == ["True\n"] * 2
    assert len(files(tmp_path)) == 3  # no temporary files are left
    assert python(SMALL, tmp_path) == "False\n"


def test_the_processor_is_told_by_model_and_features():
    told = object_code._processor()
    assert "flags" in told or "Features" in told or "+" in told  # the kernel's words, or LLVM's
    assert "MHz" not in told  # which changes from boot to boot
