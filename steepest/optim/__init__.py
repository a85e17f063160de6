"""Steepest in a PyTorch loop: update rules as `torch.optim` optimizers, schedules as `torch.optim` schedulers."""

from steepest.optim.classes import ASGD, SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop, Rprop
from steepest.optim.schedule import Schedule

__all__ = [
    "ASGD", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "Schedule",
]  # fmt: skip
