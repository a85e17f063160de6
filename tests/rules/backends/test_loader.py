"""The loader against LLVM's: the same object code gives the same numbers; what it does not know it refuses."""

import mmap
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from steepest.rules.backends import cpu, object_code
from steepest.rules.backends.block_loop import block_loop
from steepest.rules.backends.loader import Image
from steepest.rules.textbook import RULES
from steepest.rules.update import Update
from tests.oracles import Tensors


@pytest.fixture(autouse=True)
def anew():
    """Kernels are loaded once in a process; here each is loaded for the test alone."""
    forget()
    yield
    forget()


def forget():
    cpu._block.cache_clear()
    block_loop.cache_clear()


@pytest.fixture
def made(monkeypatch, tmp_path):
    """(object code, symbol) of a kernel that has just been built."""
    monkeypatch.setenv("STEEPEST_CACHE", str(tmp_path))
    found = []
    load = object_code.Kernel.__init__

    def keeping(self, code, symbol):
        found.append((code, symbol))
        load(self, code, symbol)

    monkeypatch.setattr(object_code.Kernel, "__init__", keeping)
    block_loop(torch.float32)
    return found[0]


def resolve(name):
    return object_code._resolve(name)


def weights():
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(5000, generator=generator).requires_grad_()
    w.grad = torch.randn(5000, generator=generator)
    return Tensors({"w": w}, (0,), ({},))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adam", "lion", "nadam"])
def test_our_loader_gives_what_llvms_gives(name, monkeypatch):
    ends = []
    for loader in ("ours", "llvm"):
        forget()
        with monkeypatch.context() as patch:
            if loader == "llvm":
                patch.setattr(object_code, "Image", refusing)
            at = weights()
            update = Update(at, RULES[name])
            update_pass = update._groups[0].group.update_pass
            for kernel in (update_pass.loop, update_pass.block):
                assert isinstance(kernel._owner, Image) == (loader == "ours")
            for _ in range(3):
                update.norm()
                update.advance({"t": 1, **RULES[name].hypers})
            ends.append(at.tensors()[0].detach().numpy().copy())
    assert np.array_equal(*ends)


def refusing(code, resolve):
    raise LookupError("another processor")


@pytest.mark.slow
def test_memory_cannot_be_written_any_more(made):
    image = Image(made[0], resolve)
    lines = Path("/proc/self/maps").read_text().splitlines()
    assert [line.split()[1] for line in lines if _holds(line, image.address(made[1]))] == ["r-xp"]


def _holds(line, address):
    begin, end = (int(x, 16) for x in line.split()[0].split("-"))
    return begin <= address < end


@pytest.mark.slow
def test_an_unknown_symbol_is_refused(made):
    def nobody(name):
        raise LookupError(name)

    with pytest.raises(LookupError, match=r"omp_get_thread_num|PyErr|numba"):
        Image(made[0], nobody)


@pytest.mark.slow
def test_other_formats_and_processors_are_refused(made, monkeypatch):
    code = bytearray(made[0])
    code[18:20] = b"\xb7\x00"  # aarch64
    with pytest.raises(LookupError, match="x86-64"):
        Image(bytes(code), resolve)
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    with pytest.raises(LookupError, match="x86-64"):
        Image(made[0], resolve)


@pytest.mark.slow
def test_another_kind_of_relocation_is_refused(made):
    code = bytearray(made[0])
    offset, (entry, count) = struct.unpack_from("<Q", code, 40)[0], struct.unpack_from("<2H", code, 58)
    tables = [struct.unpack_from("<2I4Q2I2Q", code, offset + entry * k) for k in range(count)]
    first = next(t for t in tables if t[1] == 4)
    struct.pack_into("<I", code, first[4] + 8, 2)  # R_X86_64_PC32
    with pytest.raises(LookupError, match="relocation of kind 2"):
        Image(bytes(code), resolve)


@pytest.mark.slow
def test_sections_begin_on_a_page(made):
    assert Image(made[0], resolve)._base % mmap.PAGESIZE == 0
