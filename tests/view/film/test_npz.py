"""Loss surfaces on disk: what is read is what was written, or it is said that the file is damaged."""

import io
import json
import zipfile

import numpy as np
import pytest

from steepest.errors import StoreError
from steepest.records.surfaces import Axis, Grid, LossSurfaces, Mark, Projection
from steepest.view.film import npz

LOSS = np.arange(12.0).reshape(3, 4)
GRID = Grid("principal", Axis("PC 1", -1.0, 1.0, 4), Axis("PC 2", -2.0, 2.0, 3), LOSS, None, "A plane.", marks=(
    Mark("minimum", 0.0, 0.0, 0.1, "here"),))  # fmt: skip
LINE = np.arange(5.0)
SURFACES = LossSurfaces(
    {"principal": GRID}, {"principal": {"one": Projection(LINE, LINE, LINE)}}, {"one": LINE},
    {"one": np.arange(5)}, np.array([2.0, -1.0]), ("words",),
)  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return npz.save(tmp_path / "survey.npz", SURFACES)


def test_round_trip(path):
    surfaces = npz.load(path)
    assert np.array_equal(surfaces.grids["principal"].loss, LOSS)
    assert surfaces.grids["principal"].marks == GRID.marks
    assert np.array_equal(surfaces.projections["principal"]["one"].off, LINE)
    assert surfaces.indices["one"].tolist() == [0, 1, 2, 3, 4]
    assert surfaces.eigenvalues.tolist() == [2, -1]
    assert surfaces.messages == ("words",)


def contents(path):
    """The arrays of a file as bytes, by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, arrays):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in arrays.items():
            archive.writestr(name, content)


def array(x):
    file = io.BytesIO()
    np.save(file, x, allow_pickle=True)
    return file.getvalue()


def header(shape, dtype="<f8"):
    """An array that says how large it is, without its numbers."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def about(**changes):
    """The texts with another value."""
    grid = {"x": GRID.x, "y": GRID.y, "caption": "c", "height": "linear", "source": None, "marks": [], **changes}
    return array(np.array(json.dumps({"grids": {"principal": grid}, "said": [], "paths": ["one"]})))


CHANGES = {
    "a pickle": {"principal/loss.npy": array(np.array([Evil()], object))},
    "a text": {"principal/loss.npy": array(np.array(["x"] * 12).reshape(3, 4))},
    "another shape": {"principal/loss.npy": array(LOSS.T.copy())},
    "more than there is": {"principal/loss.npy": header((10**12,))},
    "a huge product of sizes": {"principal/loss.npy": header((2**40, 2**40, 2**40))},
    "a negative size": {"principal/loss.npy": header((-3, 4))},
    "whole numbers": {"principal/loss.npy": array(LOSS.astype(int))},
    "times": {"principal/loss.npy": array(LOSS.astype("datetime64[s]"))},
    "no header": {"principal/loss.npy": b"\x93NUMPY"},
    "another format": {"principal/loss.npy": b"\x93NUMPY\x09\x00" + b"x" * 100},
    "an index before the first": {"paths/one/kept.npy": array(np.array([0, 1, 2, 3, -9]))},
    "indices of another number": {"paths/one/kept.npy": array(np.arange(9))},
    "losses that are a table": {"paths/one/loss.npy": array(LOSS)},
    "no texts": {"about.npy": array(np.array("{"))},
    "deep texts": {"about.npy": array(np.array("[" * 100_000))},
    "no cells": {"about.npy": about(x=["x", -1.0, 1.0, 0, 1.0])},
    "cells that are no number": {"about.npy": about(x=["x", -1.0, 1.0, "4", 1.0])},
    "an axis that is not finite": {"about.npy": about(x=["x", -1.0, float("inf"), 4, 1.0])},
    "an axis backwards": {"about.npy": about(x=["x", 1.0, -1.0, 4, 1.0])},
    "an axis with more": {"about.npy": about(x=["x", -1.0, 1.0, 4, 1.0, 1.0])},
    "a caption that is a number": {"about.npy": about(caption=7)},
    "a mark that is a number": {"about.npy": about(marks=[7])},
    "a mark at a text": {"about.npy": about(marks=[["minimum", "x", 0, 0, "here"]])},
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_written_is_not_read(change, path, capsys):
    write(path, contents(path) | CHANGES[change])
    with pytest.raises(StoreError, match=r"Cannot read .* as surfaces .*Make the film again\."):
        npz.load(path)
    assert capsys.readouterr().out == ""


def test_a_bomb_is_refused_before_it_is_decompressed(path, monkeypatch):
    """Zeros cost nothing in an archive."""
    monkeypatch.setattr(npz, "MAX_BYTES", 1_000_000)
    write(path, contents(path) | {"bomb.npy": bytes(1_000_000)})
    assert path.stat().st_size < 10_000
    with pytest.raises(StoreError, match="it has more than 10000 arrays or 1,000,000 bytes"):
        npz.load(path)


def test_many_arrays_are_refused(path):
    write(path, {f"{n}.npy": b"" for n in range(10_001)})
    with pytest.raises(StoreError, match="it has more than 10000 arrays"):
        npz.load(path)


def flip(path, positions):
    """Reads the file with one byte changed at a time: its loss, or words; the share of words."""
    data, errors = path.read_bytes(), 0
    for position in positions:
        changed = bytearray(data)
        changed[position] ^= 0xFF
        path.write_bytes(changed)
        try:
            surfaces = npz.load(path)
        except StoreError:
            errors += 1
            continue
        assert np.array_equal(surfaces.grids["principal"].loss, LOSS)
    return errors / len(positions)


def test_some_bytes_are_flipped(path):
    """An archive has a checksum of each array, not of names and times."""
    assert flip(path, range(0, path.stat().st_size, 37)) > 0.5


@pytest.mark.slow
def test_every_byte_is_flipped(path):
    assert flip(path, range(path.stat().st_size)) > 0.5
