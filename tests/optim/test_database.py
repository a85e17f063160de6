"""Every input of torch's own optimizer database, and every error in it."""

import warnings

import pytest
import torch
from torch import nn

import steepest as sd

pytest.importorskip("expecttest")  # torch's test code imports it
common = pytest.importorskip("torch.testing._internal.common_optimizers")

CLASSES = ("SGD", "Adam", "AdamW", "Adagrad", "RMSprop", "NAdam", "Adamax", "RAdam", "Adadelta", "Rprop", "ASGD")
CPU, STEPS = torch.device("cpu"), 12
INFOS = [info for info in common.optim_db if info.optim_cls.__name__ in CLASSES]
INPUTS = [
    pytest.param(info.optim_cls, case.kwargs, id=f"{info.optim_cls.__name__}-{case.desc}")
    for info in INFOS
    for case in info.optim_inputs_func(device=CPU)
    if not case.kwargs.get("capturable")
]
IMPLEMENTATIONS = [
    pytest.param(info.optim_cls, {flag: True}, id=f"{info.optim_cls.__name__}-{flag}")
    for info in INFOS
    for flag in info.supported_impls
    if flag != "differentiable"
]
ERRORS = [
    pytest.param(info.optim_cls, case, id=f"{info.optim_cls.__name__}-{case.optimizer_error_input.desc}")
    for info in INFOS
    for case in info.optim_error_inputs_func(device=CPU, dtype=torch.float64)
]


def ours(cls):
    return getattr(sd.optim, cls.__name__)


def loss_path(make, kwargs):
    """The losses of a small network of float64 over a few steps."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()
    x, y = torch.randn(16, 5, dtype=torch.float64), torch.randn(16, 3, dtype=torch.float64)
    optimizer = make(model.parameters(), **kwargs)

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        return loss

    return torch.stack([optimizer.step(closure).detach() for _ in range(STEPS)])


@pytest.mark.parametrize(("cls", "kwargs"), [*INPUTS, *IMPLEMENTATIONS])
def test_the_losses_are_torchs(cls, kwargs):
    torch.testing.assert_close(loss_path(ours(cls), kwargs), loss_path(cls, kwargs), rtol=1e-9, atol=0)


@pytest.mark.parametrize("cls", [info.optim_cls for info in INFOS if "differentiable" in info.supported_impls])
def test_a_differentiable_step_has_torchs_gradient(cls):
    gradients = []
    for make in (cls, ours(cls)):
        start = torch.tensor([0.5, -2.0], dtype=torch.float64, requires_grad=True)
        weight = start.clone()
        weight.grad = torch.tensor([1.0, 3.0], dtype=torch.float64) * start
        make([weight], differentiable=True).step()
        gradients.append(torch.autograd.grad(weight.square().sum(), start)[0])
    assert torch.equal(*gradients)


def test_the_database_has_as_many_inputs_as_when_this_was_written():
    assert len(INFOS) == len(CLASSES)
    assert len(INPUTS) >= 70


@pytest.mark.parametrize(("cls", "case"), ERRORS)
def test_the_errors_are_torchs(cls, case):
    given = case.optimizer_error_input
    params = [nn.Parameter(torch.randn(2, 3))] if given.params is None else given.params
    if issubclass(case.error_type, Warning):
        with pytest.warns(case.error_type, match=case.error_regex), warnings.catch_warnings():
            ours(cls)(params, **given.kwargs)
        return
    with pytest.raises(case.error_type, match=case.error_regex):
        ours(cls)(params, **given.kwargs)
