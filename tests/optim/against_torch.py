"""Small trainings by an optimizer of torch and by ours, with the same gradients."""

import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

import steepest as sd

TORCHS = {
    "SGD": {"momentum": 0.9, "weight_decay": 0.01},
    "Adam": {"amsgrad": True},
    "AdamW": {},
    "Adagrad": {"lr_decay": 0.1},
    "RMSprop": {"momentum": 0.5, "centered": True},
    "NAdam": {},
    "Adamax": {},
    "RAdam": {},
    "Adadelta": {},
    "Rprop": {},
    "ASGD": {"t0": 2},
}
OURS = {"Lion": {}, "Signum": {}, "ADOPT": {}, "AdEMAMix": {"warmup": 10}, "ScheduleFreeAdamW": {}}
ALL = TORCHS | OURS
LOOSE = {"NAdam": 1e-8, "ASGD": 1e-8}
"""Where torch itself keeps numbers in float32, and in float64 after `load_state_dict`."""


def weights(dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(s, generator=generator, dtype=torch.float64).to(dtype)) for s in ((3, 4), (5,))]


def give_gradients(params, t):
    generator = torch.Generator().manual_seed(100 + t)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)


def train(optimizer, params, steps):
    for t in steps:
        give_gradients(params, t)
        optimizer.step()


def make(name, params, library=sd.optim):
    return getattr(library, name)(params, lr=0.05, **ALL[name])


def close(actual, expected, rtol=1e-9):
    """Numbers are equal to rounding, relative to 1 where they are smaller."""
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=rtol)


def both(change, name="AdamW", params=weights, options=None, rtol=1e-9):
    """Trains with torch's class and ours, with a change of the optimizer before every step; the weights must agree."""
    results = []
    for library in (torch.optim, sd.optim):
        own = params()
        optimizer = getattr(library, name)(own, lr=0.05, **(TORCHS[name] if options is None else options))
        for t in range(6):
            give_gradients(own, t)
            change(t, optimizer, own)
            optimizer.step()
        results.append([p.detach() for p in own])
    close(results[1], results[0], rtol)


def copy_by_dcp(model, optimizer, other, other_optimizer, folder):
    """Gives another model and optimizer the state of these, by a checkpoint of torch.distributed.checkpoint."""
    state = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}
    dcp.save(state, checkpoint_id=folder, no_dist=True)
    loaded = {"model": other.state_dict(), "optimizer": get_optimizer_state_dict(other, other_optimizer)}
    dcp.load(loaded, checkpoint_id=folder, no_dist=True)
    other.load_state_dict(loaded["model"])
    set_optimizer_state_dict(other, other_optimizer, loaded["optimizer"])
