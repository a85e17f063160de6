"""Text of the standard library's help pages as sequences of symbols."""

from pydoc_data.topics import topics

import torch
from torch import Generator, Tensor

from benchmarks.problems.classes import one_hot
from benchmarks.problems.functions import Data

LETTERS = " etaoinsrlhcdpmufgbyv.w_k,\n()'"
SYMBOLS = 32
"""Each letter is a symbol; the last one stands for all others."""


def _symbols(start: int, count: int) -> Tensor:
    index = {letter: i for i, letter in enumerate(LETTERS)}
    letters = "".join(topics[name] for name in sorted(topics)).lower()[start : start + count]
    return torch.tensor([index.get(c, SYMBOLS - 1) for c in letters])


def every_next(start: int, places: int, samples: int, random: Generator) -> Data:
    """Stretches of text, and the next symbol at every place: x [samples, places, symbols], y [samples, places]."""
    symbols = _symbols(start, samples * places + 1)
    return one_hot(symbols[:-1], SYMBOLS).reshape(-1, places, SYMBOLS), symbols[1:].reshape(-1, places)


def next_symbol(places: int, samples: int, random: Generator) -> Data:
    """The symbols before each, and itself: x [samples, places] of indices, y [samples]."""
    symbols = _symbols(400_000, samples + places)
    return symbols.unfold(0, places, 1)[:samples], symbols[places:]


def next_after_phrase(places: int, samples: int, random: Generator) -> Data:
    """Stretches of text, and the symbol after each: x [samples, places, symbols], y [samples]."""
    symbols = _symbols(300_000, samples * places + 1)
    return one_hot(symbols[:-1], SYMBOLS).reshape(-1, places, SYMBOLS), symbols[places::places]
