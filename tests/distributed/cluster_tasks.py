"""Tasks that are sent to the nodes of a cluster; nodes import this module, and the functions of a test they do not."""

import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset

import steepest as sd


def samples(count=320, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 6, generator=random)
    return x, (x[:, :3] + 0.5 * torch.randn(count, 3, generator=random)).argmax(1)


def net(seed, dropout=0.0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))


class Noisy(Dataset):
    """Samples in arrays that are written to, with noise by numpy's own generator."""

    def __init__(self):
        self.x, self.y = (part.numpy() for part in samples())
        self.reads = np.zeros(len(self.x))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, n):
        self.reads[n] += 1
        return torch.from_numpy(self.x[n]) + 0.1 * np.random.randn(), int(self.y[n])


def marking(folder: Path, pause=0.0):
    """A loss that writes in which process it is, and takes its time."""

    def loss(output, target):
        (folder / str(os.getpid())).touch()
        time.sleep(pause)
        return cross_entropy(output, target)

    return loss


def slow_once(folder: Path, pause: float):
    """A loss that is slow, in all processes but this one and those that begin after the file `calm` was written."""
    home = os.getpid()

    def loss(output, target):
        if os.getpid() != home and not (folder / "calm").exists():
            (folder / str(os.getppid())).touch()
            time.sleep(pause)
        return cross_entropy(output, target)

    return loss


def count_until(task, file: Path, report):
    """Takes steps until a file exists, for a minute at most; whether it does."""
    end = time.monotonic() + 60
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.05)
        report(1)
    report(1)
    return file.exists()


KINDS = {
    "a module": lambda: sd.Task(net(0), samples(), cross_entropy, metrics={"accuracy": sd.accuracy}),
    "dropout": lambda: sd.Task(lambda seed: net(seed, 0.3), samples(), cross_entropy),
    "noise of numpy": lambda: sd.Task(net, Noisy(), cross_entropy, validation=samples(seed=1)),
    "views": lambda: sd.Task(net, tuple(part[::2] for part in samples(800)), lambda o, t: cross_entropy(o, t)),
}
