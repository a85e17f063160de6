"""The loop over blocks of weights, on several threads, which hands each chunk to a compiled block.

What a rule does to a chunk is a function of its own (`backends.cpu`), called by its address. So the loop is compiled
once for each dtype and way of rounding, and a rule's block takes a third of the time that both together took.

It reads a table with one row per block: its tensor, its start in the tensor, its length, and its member. Weight,
gradient and slots of a tensor have an address each and the same layout; every tensor has a row of hyperparameters for
each member. So groups and members are rows, not special cases.

Weights and gradients of bfloat16 are converted chunk by chunk (`backends.bfloat16`), within the caches; between the
conversions the block is that of float32, so its results are too. Master weights are one slot more, the first one.

What a rule does to a chunk gets the address of these words: the chunk's length, the addresses of the hyperparameters
and of two sums in float64, to which it adds; then those of the chunk of weights, of gradients, and of each slot.
"""

import functools
from typing import Any

import numpy as np
import torch

from steepest.rules.backends import bfloat16
from steepest.rules.backends.compiler import kernel_of
from steepest.rules.backends.object_code import Kernel
from steepest.rules.rounding import CHUNK_SIZE, Rounding

# Squares are summed in the weights' precision within a chunk of `CHUNK_SIZE` and in float64 over the chunks. In float32
# a sum of 32 thousand nearly equal squares was off by 2e-5 on a processor with eight lanes.

TABLE_COLUMNS = 4
"""Tensor, start in it, length, member."""
BLOCK_WORDS = 5
"""Length, hyperparameters, sums, weights, gradients; the slots follow."""
LOOP_SIZES = {"CHUNK_SIZE": CHUNK_SIZE, "TABLE_COLUMNS": TABLE_COLUMNS, "BLOCK_WORDS": BLOCK_WORDS}
FORWARDS, BACKWARDS = 1, -1
"""Order of a thread's blocks. The norm reads them forwards and the update backwards, so that the update begins with
gradients that are still in the caches."""

LOOP = """
def kernel(arguments):
    d = carray(arguments, (16,))
    parts, table, W, G, S, R, H, places = d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]
    count, width, sums, parallel, team = d[8], d[9], d[10], d[11], d[12]
    block, direction, slots = d[13], d[14], d[15]
    words = stack(BLOCK_WORDS + slots)
    first, stride = 0, 1
    if parallel != 0:
        first, stride = thread(), threads()
    {setup}
    for part in range(first, team, stride):
        low, high = integer(parts + part * 8), integer(parts + part * 8 + 8)
        for k in range(high - low):
            b = low + k if direction > 0 else high - 1 - k
            row = table + b * TABLE_COLUMNS * 8
            p, lo, n = integer(row), integer(row + 8), integer(row + 16)
            h = H + (integer(R + p * 8) + integer(row + 24)) * width * SIZE
            w, g = integer(W + p * 8), integer(G + p * 8)
            out = sums + b * 16
            write_double(out, 0.0)
            write_double(out + 8, 0.0)
            if g != 0 and real(h) == real(h):
                write_integer(words + 8, h)
                write_integer(words + 16, out)
                for c in range(0, n, CHUNK_SIZE):
                    m = min(CHUNK_SIZE, n - c)
                    write_integer(words, m)
                    at_w, at_g = w + (lo + c) * WEIGHT_SIZE, g + (lo + c) * WEIGHT_SIZE
                    for q in range(slots):
                        slot = integer(S + (p + q * count) * 8) + (lo + c) * SIZE
                        write_integer(words + (BLOCK_WORDS - MASTERS + q) * 8, slot)
                    {before}
                    call(block, words)
                    {after}
    if parallel == 0:
        blocks, total = integer(parts + team * 8), 0.0
        for b in range(blocks):
            total += double(sums + b * 16)
        write_double(sums + blocks * 16, total)
"""
ADDRESSES = "write_integer(words + 24, {}); write_integer(words + 32, {})"
"""Tells the block its weights and gradients."""
KEY = "random_key(integer(places + p * 8), real(h + (width - 1) * SIZE), (lo + c) // CHUNK_SIZE)"
"""The key of the current chunk's random numbers: of the parameter's place, the step and the chunk."""


class Pass:
    """A pass over all blocks.

    Attributes:
        loop: over the blocks.
        block: what is done to each chunk.
        words: what the loop's arguments end with: the block's address, the order, and the number of slots.

    Args:
        loop: over the blocks.
        block: what is done to each chunk.
        direction: FORWARDS or BACKWARDS.
        slots: that the block reads.
    """

    def __init__(self, loop: Kernel, block: Kernel, direction: int, slots: int) -> None:
        self.loop, self.block = loop, block
        self.words: Any = np.array([block.address, direction, slots], np.int64).data


@functools.cache
def block_loop(dtype: torch.dtype, rounding: Rounding | None = None) -> Kernel:
    """The loop for weights of a dtype.

    Args:
        dtype: float32, float64 or bfloat16.
        rounding: of weights in bfloat16 whose blocks are in float32; None for blocks that read the weights themselves.
            Master weights are the first slot, which the block gets as its weights.
    """
    if rounding is None:
        source = LOOP.format(setup="pass", before=ADDRESSES.format("at_w", "at_g"), after="pass")
        return kernel_of(source, dtype, MASTERS=0, **LOOP_SIZES)
    w, g = "carray(weights(at_w), (m,))", "carray(weights(at_g), (m,))"
    wide, master = "carray(floats(wide), (m,))", "integer(words + 32)" if rounding.has_master else "w32"
    key = f", {KEY}" if rounding.is_stochastic else ""
    source = bfloat16.loops(rounding) + LOOP.format(
        setup="w32, g32 = scratch(), scratch()",
        before=f"wide = {master}; read({w}, {g}, {wide}, carray(floats(g32), (m,))); {ADDRESSES.format('wide', 'g32')}",
        after=f"write({w}, {wide}{key})",
    )
    return kernel_of(source, dtype, MASTERS=int(rounding.has_master), **LOOP_SIZES)
