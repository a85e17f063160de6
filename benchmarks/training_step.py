"""A training step on digits: ours, the least loop there is and a plain PyTorch loop, beside the bare passes."""

import tempfile

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.timing import medians
from steepest.descent import Descent
from steepest.record import Step
from steepest.settings import resolve
from steepest.store import Store, versions
from steepest.tasks.digits import network, task

STEPS = 100
ROUNDS = 15


def measure() -> list[str]:
    """Lines of the report."""
    digits = task()
    x, y = digits.data
    with tempfile.TemporaryDirectory() as folder:
        writer = Store(folder).begin("bench", {}, versions(), 0)
        sides = {
            "forward and backward alone": bare(x[:64], y[:64]),
            "least loop (index, fused AdamW on flat weights)": least(x, y),
            "sd.fit's loop, every step to the store": ours(digits, writer.step),
            "plain PyTorch (DataLoader, Adam, schedule, clip, log)": plain(x, y),
        }
        found = medians(sides, ROUNDS)
        writer.close("done", 0.0)
    base, floor = list(found.values())[:2]
    lines = ["| a step of | µs | ÷ forward and backward | ÷ least loop |", "|---|---|---|---|"]
    return lines + [f"| {n} | {1e6 * s / STEPS:,.0f} | {s / base:.2f} | {s / floor:.2f} |" for n, s in found.items()]


def bare(x: torch.Tensor, y: torch.Tensor):
    net = network(0)

    def run():
        for _ in range(STEPS):
            for p in net.parameters():
                p.grad = None
            cross_entropy(net(x), y).backward()

    return run


def least(x: torch.Tensor, y: torch.Tensor):
    net = network(0)
    parameters = list(net.parameters())
    flat = torch.cat([p.detach().flatten() for p in parameters])
    grads, m, v = torch.zeros_like(flat), torch.zeros_like(flat), torch.zeros_like(flat)
    at = 0
    for p in parameters:
        p.data = flat[at : at + p.numel()].view_as(p)
        p.grad = grads[at : at + p.numel()].view_as(p)
        at += p.numel()
    count = torch.tensor(0.0)

    def run():
        order = torch.randperm(len(x))
        for i in range(STEPS):
            lo = 64 * i % (len(x) - 64)
            chosen = order[lo : lo + 64]
            grads.zero_()
            cross_entropy(net(x[chosen]), y[chosen]).backward()
            count.add_(1)
            torch._fused_adamw_(
                [flat], [grads], [m], [v], [], [count], lr=1e-3, beta1=0.9, beta2=0.999, weight_decay=0.01, eps=1e-8,
                amsgrad=False, maximize=False,
            )  # fmt: skip

    return run


def ours(digits, record):
    steps = STEPS * (ROUNDS + 2)
    loop = iter(Descent(digits, resolve(digits, rule="adamw", lr=1e-3, clip=1.0, steps=steps), digits.build(0)))

    def run():
        for _ in range(STEPS):
            step: Step = next(loop)
            record(step)

    return run


def plain(x: torch.Tensor, y: torch.Tensor):
    net = network(0)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS * (ROUNDS + 2))
    loader = DataLoader(TensorDataset(x, y), 64, shuffle=True)
    log = []

    def run():
        done = 0
        while done < STEPS:
            for a, b in loader:
                optimizer.zero_grad()
                loss = cross_entropy(net(a), b)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                log.append(loss.item())
                done += 1
                if done == STEPS:
                    break

    return run
