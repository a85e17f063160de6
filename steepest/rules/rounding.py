"""Weights in bfloat16 that are updated in float32: how a new weight is rounded, and what the old one was.

A weight of bfloat16 is the upper half of a float32. Beside it a master weight in float32 may be kept, whose lower half
holds what rounding took. The weight is the truth: where it is not the master's rounding, because it was set since the
last step, it counts, and the master does not.

Stochastic rounding adds 16 random bits and cuts off the lower half, so that the mean is exact: a weight that lies a
third of the way to its upper neighbour is rounded up once in three times. The random bits are a hash of (place of the
parameter, step, index of the weight): they do not depend on threads, and a continued training draws the same ones.

Source: of the rounding, Gupta et al. 2015, arXiv:1502.02551; of random numbers as a hash of a counter, Salmon et al.
2011, doi:10.1145/2063384.2063405; of the hash, the finalizer of Appleby's MurmurHash3.
"""

from typing import NamedTuple

import torch
from torch import Tensor

WORD = 0xFFFFFFFF
SHIFTS, FACTORS = (16, 13, 16), (0x85EBCA6B, 0xC2B2AE35)
"""Of MurmurHash3's finalizer of 32 bits."""
SPACING = 0x9E3779B1
"""An odd number near 2³² divided by the golden ratio: neighbours get inputs of the hash that are far apart."""
CHUNK_SIZE = 1 << 11
"""Weights that share a key, which is a hash of place, step and chunk."""
PIECE = 1 << 20
"""Random numbers that are computed at once."""


class Rounding(NamedTuple):
    """How weights of bfloat16 are updated in float32.

    Attributes:
        has_master: whether a master weight in float32 is kept.
        is_stochastic: whether the new weight is rounded stochastically, else to the nearest, ties to even.
    """

    has_master: bool
    is_stochastic: bool


def mix(x: Tensor) -> Tensor:
    """The hash of whole numbers below 2³², an int64 tensor."""
    for shift, factor in zip(SHIFTS, (*FACTORS, 1), strict=True):
        x = (x ^ x >> shift) * factor & WORD
    return x


def noise(place: int, step: int, count: int, device: torch.device | None = None) -> Tensor:
    """The random bits of all weights of a parameter, int32 below 2¹⁶.

    Args:
        place: the parameter's place in its optimizer.
        step: the step, from 1.
        count: the number of weights, in the order of their memory.
        device: where the numbers are computed.
    """
    bits = torch.empty(count, dtype=torch.int32, device=device)
    parameter = mix(mix(torch.tensor(place * SPACING & WORD, device=device)) + step & WORD)
    for lo in range(0, count, PIECE):
        index = torch.arange(lo, min(lo + PIECE, count), device=device)
        key = mix(parameter + index // CHUNK_SIZE & WORD)
        bits[lo : lo + PIECE] = mix(key + index % CHUNK_SIZE * SPACING & WORD) >> 16
    return bits


def round_stochastically(x: Tensor, place: int, step: int) -> Tensor:
    """A dense float32 tensor in bfloat16, each number rounded up or down at random, its mean unchanged."""
    bits = x.view(torch.int32)
    random = torch.as_strided(noise(place, step, x.numel(), x.device), x.shape, x.stride())
    return torch.where(x.isnan(), x, (bits + random & -0x10000).view(torch.float32)).bfloat16()


def current(master: Tensor, w: Tensor, is_stochastic: bool) -> Tensor:
    """The weight in float32: the master where `w` is its rounding, else `w`."""
    if is_stochastic:  # then it was rounded up or down
        steps_up = (w.view(torch.int16).int() - (master.view(torch.int32) >> 16)) & 0xFFFF
        is_rounding = steps_up <= 1
    else:
        is_rounding = master.to(w.dtype).view(torch.int16) == w.view(torch.int16)
    return torch.where(is_rounding, master, w.float())
