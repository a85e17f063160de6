"""Weights with the shapes of real networks and random gradients, and the time to copy as many."""

from collections.abc import Callable

import torch
from torch import nn

RESNET = [(128, 128, 3, 3), (128,), (128,)] * 53
"""8 million in 159 tensors: convolutions, each with the scale and shift of a norm."""

_BLOCK = [
    (768,), (768,), (2304, 768), (2304,), (768, 768), (768,), (768,), (768,), (3072, 768), (3072,), (768, 3072), (768,),
]  # fmt: skip
GPT2 = [(50257, 768), (1024, 768), *_BLOCK * 12]
"""124 million in 146 tensors: embeddings and twelve blocks."""


class Weights(nn.Module):
    """Parameters of given shapes, with gradients."""

    def __init__(self, shapes: list[tuple[int, ...]]) -> None:
        super().__init__()
        self.all = nn.ParameterList([nn.Parameter(torch.randn(s) * 0.02) for s in shapes])
        for p in self.all:
            p.grad = torch.randn_like(p) * 1e-3

    @property
    def count(self) -> int:
        return sum(p.numel() for p in self.all)


def copy(count: int) -> Callable[[], object]:
    """A copy of `count` float32 weights, which moves 8 bytes per weight."""
    source, target = torch.randn(count), torch.empty(count)
    return lambda: target.copy_(source)
