"""Training loops to compare with, as endless generators that yield after every step."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset


def bare(net: nn.Module, x: Tensor, y: Tensor, batch: int) -> Iterator[None]:
    """Forward and backward pass only, on batches that exist already; the weights do not change."""
    parameters = list(net.parameters())
    batches = list(zip(x.split(batch), y.split(batch), strict=True))
    while True:
        for a, b in batches:
            for p in parameters:
                p.grad = None
            cross_entropy(net(a), b).backward()
            yield


def minimal(net: nn.Module, x: Tensor, y: Tensor, batch: int) -> Iterator[None]:
    """The fastest training loop: a batch by index, and one fused call on weights in one vector."""

    def epoch() -> Iterator[tuple[Tensor, Tensor]]:
        return ((x[rows], y[rows]) for rows in torch.randperm(len(x)).split(batch))

    return _fused_adamw(net, epoch)


def gathered(net: nn.Module, x: Tensor, y: Tensor, batch: int) -> Iterator[None]:
    """The same on data that is gathered once an epoch: batches are views."""

    def epoch() -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(x))
        return zip(x[order].split(batch), y[order].split(batch), strict=True)

    return _fused_adamw(net, epoch)


def _fused_adamw(net: nn.Module, epoch: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> Iterator[None]:
    flat, grads = _flatten(net)
    m, v, count = torch.zeros_like(flat), torch.zeros_like(flat), torch.tensor(0.0)
    while True:
        for a, b in epoch():
            grads.zero_()
            cross_entropy(net(a), b).backward()
            count.add_(1)
            torch._fused_adamw_(
                [flat], [grads], [m], [v], [], [count], lr=1e-3, beta1=0.9, beta2=0.999, weight_decay=0.01, eps=1e-8,
                amsgrad=False, maximize=False,
            )  # fmt: skip
            yield


def plain(net: nn.Module, x: Tensor, y: Tensor, batch: int, criterion: Callable = cross_entropy) -> Iterator[None]:
    """A usual loop: DataLoader, Adam, schedule, clipping, a list of losses."""
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10_000)
    loader = DataLoader(TensorDataset(x, y), batch, shuffle=True)
    log: list[float] = []
    while True:
        for a, b in loader:
            optimizer.zero_grad()
            loss = criterion(net(a), b)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            log.append(loss.item())
            yield


def _flatten(net: nn.Module) -> tuple[Tensor, Tensor]:
    """(weights, gradients) of a net as two vectors; its parameters and gradients become views of them."""
    parameters = list(net.parameters())
    flat = torch.cat([p.detach().flatten() for p in parameters])
    grads = torch.zeros_like(flat)
    sizes = [p.numel() for p in parameters]
    for p, w, g in zip(parameters, flat.split(sizes), grads.split(sizes), strict=True):
        p.data, p.grad = w.view_as(p), g.view_as(p)
    return flat, grads
