"""Searches and races on a local Ray cluster of two nodes, against the same in this process."""

import contextlib
import dataclasses
import functools
import os
import re
import signal
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import steepest as sd
from steepest.descent.settings import resolve
from steepest.distributed import cluster as room
from steepest.distributed.parcel import pack_call, pack_task
from steepest.errors import InputError, ProcessError, SearchInterrupt, TaskError
from steepest.search import rungs
from tests.distributed.cluster_tasks import KINDS, count_until, marking, net, samples, slow_once

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'steepest[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.filterwarnings("ignore")]  # Ray's own
ROOT = Path(__file__).parents[2]


def start():
    """A cluster of two nodes with a processor each."""
    from ray.cluster_utils import Cluster

    size = {"num_cpus": 1, "object_store_memory": 80 << 20}
    nodes = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    try:
        nodes.add_node(**size)
        ray.init(address=nodes.address, log_to_driver=False)
    except Exception:
        nodes.shutdown()
        raise
    return nodes


@pytest.fixture(scope="module")
def nodes():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        nodes = start()
    except Exception:  # a node gives its processes 15 s: too few where nothing has been compiled, on a busy machine
        nodes = start()
    yield nodes
    ray.shutdown()
    nodes.shutdown()
    torch.set_num_threads(threads)


def search(of, on=None, **given):
    return sd.find_lr(of, **{"rule": "adam", "batch_size": 32, "steps": 40, **given}, on=on).record


def is_same(one, other):
    """Whether two records are equal, but for the times that they took."""
    if dataclasses.is_dataclass(one):
        names = [f.name for f in dataclasses.fields(one) if f.name not in ("seconds", "step_s")]
        return all(is_same(getattr(one, name), getattr(other, name)) for name in names)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other, equal_nan=True)
    return one == other or (one != one and other != other)


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        ("a module", "together"),
        ("dropout", "together"),
        ("dropout", "one after another"),
        ("noise of numpy", "one after another"),
        ("views", None),
    ],
)
def test_a_search_has_the_numbers_of_one_process(nodes, kind, way):
    of = KINDS[kind]()
    assert is_same(search(of, "ray", way=way), search(of, way=way))


def test_a_race_has_the_numbers_of_one_process(nodes):
    of = KINDS["dropout"]()
    given = {"rules": ["adam", torch.optim.SGD], "seeds": 2, "batch_size": 32, "steps": 40}
    assert is_same(sd.race(of, **given, on="ray").record, sd.race(of, **given).record)


def test_a_race_of_batch_sizes_runs_on_one_node(nodes, tmp_path):
    of = sd.Task(net, samples(), marking(tmp_path))
    given = {"rules": "adam", "batch_sizes": [8, 64], "seeds": 2, "lr": 0.01, "epochs": 2}
    there = sd.race(of, **given, on="ray").record
    assert len([*tmp_path.iterdir()]) == 1
    here = sd.race(of, **given).record
    assert all(is_same(a, b) for a, b in zip(there.curves, here.curves, strict=True))


def test_progress_is_told_while_a_call_runs(nodes, tmp_path):
    """The call ends only after its progress was seen."""
    seen, cluster = [], room.cluster_of("ray", live=True)
    of, file = KINDS["a module"](), tmp_path / "seen"
    ends = cluster.run(count_until, of, [(file,)], lambda steps: [seen.append(steps), file.touch()])
    assert ends == [True]
    assert len(seen) >= 2
    assert all(steps > 0 for steps in seen)


def test_a_search_counts_its_steps(nodes):
    of, seen = KINDS["a module"](), []
    settings, cluster = resolve(of, rule="adam", batch_size=32, steps=400), room.cluster_of("ray", live=True)
    done = rungs.run_search(of, settings, way="one after another", watch=seen.append, cluster=cluster)
    assert seen[-1].steps == seen[-1].expected == done.steps
    assert seen[-1].rates == len(done.table)
    assert [at.steps for at in seen] == sorted(at.steps for at in seen)


def test_the_runs_of_a_lost_node_run_again_elsewhere(nodes, tmp_path):
    of = sd.Task(net, samples(), slow_once(tmp_path, 0.05))
    given = {"rules": ["adam", "momentum"], "seeds": 2, "lr": 0.01, "batch_size": 32, "steps": 60}
    (lost,) = nodes.worker_nodes
    raylet = lost.all_processes["raylet"][0].process.pid

    def kill():
        while not (tmp_path / str(raylet)).exists():
            time.sleep(0.05)
        nodes.remove_node(lost, allow_graceful=False)
        (tmp_path / "calm").touch()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    there = sd.race(of, **given, on="ray").record
    killer.join(30)
    assert not killer.is_alive()
    assert is_same(there, sd.race(of, **given).record)


def test_rules_and_tasks_that_no_node_can_import_are_sent_as_code(nodes, tmp_path):
    """Among them the functions of a task file, a default dtype, and a rule of a function."""
    file = tmp_path / "json.py"  # the name of another module
    file.write_text(
        "import torch\nimport steepest as sd\n"
        "@sd.rule\ndef own(w, g, *, lr=0.1):\n    return w - lr * g\n"
        "def net(seed):\n    torch.manual_seed(seed)\n    return torch.nn.Linear(2, 1)\n"
        "def loss(o, t):\n    return ((o - t) ** 2).mean()\n"
        "def task():\n"
        "    x = torch.linspace(-1, 1, 100, dtype=torch.float64).reshape(50, 2)\n"
        "    return sd.Task(net, (x, x.sum(1, keepdim=True)), loss, recipe={'rule': own})\n"
    )
    torch.set_default_dtype(torch.float64)
    try:
        of = sd.tasks.load(str(file))
        assert is_same(search(of, "ray", rule=None), search(of, rule=None))
    finally:
        torch.set_default_dtype(torch.float32)


class WithLock(torch.nn.Linear):
    def __init__(self):
        super().__init__(6, 3)
        self.lock = threading.Lock()


def batches_of():
    yield samples(32)


LOCK = threading.Lock()
UNSENDABLE = {
    r"Task: model must be .*, got a WithLock, whose lock is a lock \(TypeError: cannot pickle": {"model": WithLock()},
    r"Task: loss .* got .*<lambda>, whose LOCK is a lock": {"loss": lambda o, t: LOCK and cross_entropy(o, t)},
    r"Task: data must be .*, got batches_of \(TypeError": {"data": batches_of(), "validation": samples(seed=1)},
    r"Task: augment .* a partial, whose args\[0\]\['a'\]\[0\] is a lock": {
        "augment": functools.partial(max, {"a": [LOCK]})
    },
}


@pytest.mark.parametrize("words", UNSENDABLE)
def test_what_cannot_be_sent_is_named(words):
    of = sd.Task(**{"model": net, "data": samples(), "loss": cross_entropy, **UNSENDABLE[words]})
    with pytest.raises(TaskError, match=words):
        pack_task(of)


def test_a_rule_that_cannot_be_sent_is_named():
    lock = threading.Lock()

    @sd.rule
    def locked(w, g, *, lr=0.1):
        return w - lr * g * (lock is not None)

    with pytest.raises(InputError, match=r"Settings must be .* whose \[0\]\.formula\.lock is a lock .*Make locks"):
        pack_call(print, (locked,))


def test_a_module_that_the_nodes_lack(nodes, monkeypatch):
    module = types.ModuleType("only_here")
    exec("def loss(output, target):\n    return output.sum()", vars(module))
    monkeypatch.setitem(sys.modules, "only_here", module)
    with pytest.raises(TaskError, match=r"that the nodes can import, got ModuleNotFoundError: .*runtime_env="):
        search(sd.Task(net, samples(), module.loss), "ray")


def test_another_version_on_a_node(nodes, monkeypatch):
    own = room._Here.read()
    monkeypatch.setattr(room._Here, "read", classmethod(lambda cls: own._replace(versions={"torch": "0.1"})))
    with pytest.raises(InputError, match=r"All nodes must have torch 0\.1, as this process has, got steepest"):
        search(KINDS["a module"](), "ray")


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_device_that_the_cluster_lacks(nodes, device):
    with pytest.raises(InputError, match=rf"device must be .*, got '{device}'"):
        search(KINDS["a module"](), "ray", device=device)


def test_the_page_runs(nodes):
    page = (ROOT / "docs/tools/ray.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    with contextlib.chdir(ROOT):
        exec(code, {"__name__": "page"})


def test_an_exception_of_the_users_code_is_raised_here(nodes):
    def loss(output, target):
        raise ZeroDivisionError("in the loss")

    with pytest.raises(ZeroDivisionError, match="in the loss") as raised:
        search(sd.Task(net, samples(), loss, validation=samples(seed=1)), "ray")
    assert any(note.startswith("On a node of the cluster") and "in loss" in note for note in raised.value.__notes__)


def test_ctrl_c_cancels_the_calls_and_keeps_what_has_ended(nodes, tmp_path):
    of = sd.Task(net, samples(), marking(tmp_path, 0.02))
    settings = resolve(of, rule="adam", batch_size=32, steps=40)

    def watch(at):
        if at.rates == 2:
            threading.Timer(0.2, signal.raise_signal, [signal.SIGINT]).start()

    with pytest.raises(SearchInterrupt, match=r"interrupted after \d+ of about \d+ steps") as stopped:
        rungs.run_search(of, settings, way="one after another", watch=watch, cluster=room.cluster_of("ray"))
    assert len(stopped.value.table) >= 2
    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU", 0) < ray.cluster_resources()["CPU"] and time.monotonic() < deadline:
        time.sleep(0.1)
    for file in tmp_path.iterdir():
        file.unlink()
    time.sleep(0.3)
    assert not [*tmp_path.iterdir()]  # nobody computes a loss any more


def test_a_call_that_ends_its_process_each_time_is_an_error(nodes, monkeypatch):
    monkeypatch.setattr(room, "RETRIES", 0)
    home = os.getpid()
    loss = lambda o, t: cross_entropy(o, t) if os.getpid() == home else os._exit(1)  # noqa: E731
    with pytest.raises(ProcessError, match="Ray must be able to run every call, got WorkerCrashedError"):
        search(sd.Task(net, samples(), loss), "ray")
