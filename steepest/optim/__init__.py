"""Steepest in a PyTorch loop: update rules as `torch.optim` optimizers, schedules as `torch.optim` schedulers."""

from steepest.optim.classes import ASGD, SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop, Rprop
from steepest.optim.clip import clip_grad_norm_
from steepest.optim.rule_optimizer import ADOPT, AdEMAMix, Lion, RuleOptimizer, ScheduleFreeAdamW, Signum
from steepest.optim.schedule import Schedule
from steepest.optim.split import SplitOptimizer, split

__all__ = [
    "ADOPT", "ASGD", "SGD", "AdEMAMix", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Lion", "NAdam", "RAdam",
    "RMSprop", "Rprop", "RuleOptimizer", "Schedule", "ScheduleFreeAdamW", "Signum", "SplitOptimizer", "clip_grad_norm_",
    "split",
]  # fmt: skip
