"""Where rectified units pass through 0 along a line, and what is behind them: the compiled part of `hinge`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from steepest.rules.backends.jit import jit

SAMPLES = 8
"""Samples that go along together, so that a narrow layer's weights at a point are read once for all of them."""

Array = NDArray[Any]


@jit()
def sort(p: Array, q: Array, b: Array, order: Array, at: Array) -> None:
    """By sample, in what order units pass through 0 on the way.

    Args:
        p, q: a unit is p + b q [n, units].
        b: points of the way, rising [m].
        order: becomes the units in that order [n, units].
        at: becomes, by unit, the place in b of the first point after it [n, units]; m where it does not.
    """
    n, units = p.shape
    m = len(b)
    zero, begins = np.empty(units, p.dtype), np.empty(m + 1, np.int32)
    a_step = (m - 1) / (b[m - 1] - b[0])
    for i in range(n):
        for j in range(units):
            zero[j] = -p[i, j] / q[i, j]
        begins[:] = 0
        for j in range(units):
            place = m
            if b[0] <= zero[j] < b[m - 1]:
                place = 1 + int((zero[j] - b[0]) * a_step)
                while place < m and b[place] <= zero[j]:
                    place += 1
                while b[place - 1] > zero[j]:
                    place -= 1
            at[i, j] = place
            begins[place] += 1
        so_far = 0
        for place in range(m + 1):
            begins[place], so_far = so_far, so_far + begins[place]
        for j in range(units):
            order[i, begins[at[i, j]]] = j
            begins[at[i, j]] += 1


@jit(fuse=True)
def follow(
    p: Array, q: Array, columns: Array, found: Array, on: Array, order: Array, at: Array, begun: Array, b: Array,
    lo: int, weight: Array, bias: Array, out: Array,
) -> None:  # fmt: skip
    """The outputs at some points on the way, which has been followed to the first of them.

    Args:
        p, q, order, at: of all units, as `sort` has them.
        columns: a unit gives (p + b q) (columns[0] + b columns[1]) while it is on [units, 2, K].
        found: by sample, the coefficients of 1, b and b² [n, 3, K]; they become those at the last point.
        on: which units are on at the way's first point [n, units].
        begun: by sample, how many units have passed through 0 [n]; it becomes how many have at the last point.
        b: the points.
        lo: the place of the first among all of the way.
        weight, bias: of a layer behind whose inputs are rectified too, at each point [len(b), L, K], [len(b), L]; L = 0
            where there is none.
        out: becomes the outputs, [len(b), n, L] or [len(b), n, K].
    """
    n, units = p.shape
    width, narrow = columns.shape[2], weight.shape[1]
    h, zero = np.empty(width, p.dtype), p.dtype.type(0)
    for first in range(0, n, SAMPLES):
        for x in range(len(b)):
            y = b[x]
            for i in range(first, min(n, first + SAMPLES)):
                passed = begun[i]
                while passed < units and at[i, order[i, passed]] <= lo + x:
                    j = order[i, passed]
                    f, g = p[i, j], q[i, j]
                    if on[i, j]:
                        f, g = -f, -g
                    for k in range(width):
                        w, u = columns[j, 0, k], columns[j, 1, k]
                        found[i, 0, k] += f * w
                        found[i, 1, k] += g * w + f * u
                        found[i, 2, k] += g * u
                    passed += 1
                begun[i] = passed
                if narrow == 0:
                    for k in range(width):
                        out[x, i, k] = found[i, 0, k] + y * (found[i, 1, k] + y * found[i, 2, k])
                    continue
                for k in range(width):
                    z = found[i, 0, k] + y * (found[i, 1, k] + y * found[i, 2, k])
                    h[k] = (
                        zero if z < zero else z
                    )  # what is no number stays; in a loop of its own this takes 5 times as long
                for o in range(narrow):
                    z = bias[x, o]
                    for k in range(width):
                        z += h[k] * weight[x, o, k]
                    out[x, i, o] = z
