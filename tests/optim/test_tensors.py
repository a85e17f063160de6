"""Weights, gradients and options of any kind: as with torch's class, or an error that changes nothing."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn

import steepest as sd
from steepest.errors import SteepestError
from tests.optim.against_torch import ALL, LOOSE, OURS, TORCHS, both, close, give_gradients, make, train, weights

# -- Tensors of other kinds --------------------------------------------------------------------------------------------


def as_channels_last():
    x = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [nn.Parameter(x.to(memory_format=torch.channels_last))]


def without_dimensions():
    return [nn.Parameter(torch.tensor(2.0, dtype=torch.float64)), *weights()]


def empty():
    return [nn.Parameter(torch.ones(0, 3, dtype=torch.float64)), *weights()]


def transposed():
    return [nn.Parameter(weights()[0].detach().T), weights()[1]]


def with_gaps():
    return [nn.Parameter(torch.ones(4, 6, dtype=torch.float64)[:, ::2]), weights()[1]]


def complex_weights():
    return weights(torch.complex128)


def in_half_precision():
    return weights(torch.bfloat16)


def in_single_precision():
    return [*weights(torch.float32), *weights()]


def of_one_memory():
    memory = torch.randn(8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [nn.Parameter(memory[:6]), nn.Parameter(memory[2:])]


def of_expanded_memory():
    return [nn.Parameter(torch.ones(4, 1, dtype=torch.float64)), weights()[1]]


KINDS = [as_channels_last, without_dimensions, empty, transposed, with_gaps, complex_weights, in_half_precision,
         in_single_precision, of_one_memory, of_expanded_memory]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TORCHS)
def test_parameters_of_any_kind(name, kind):
    rtol = {in_half_precision: 0, in_single_precision: 1e-6}.get(kind, LOOSE.get(name, 1e-9))
    both(lambda t, optimizer, params: None, name, kind, rtol=rtol)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not of_one_memory])
@pytest.mark.parametrize("name", OURS)
def test_parameters_of_any_kind_by_rules_of_our_own(name, kind):
    """As when each parameter is contiguous and has an optimizer of its own."""
    params, alone = kind(), [nn.Parameter(p.detach().clone().contiguous()) for p in kind()]
    train(make(name, params), params, range(4))
    optimizers = [make(name, [p]) for p in alone]
    for t in range(4):
        give_gradients(alone, t)
        for optimizer in optimizers:
            optimizer.step()
    close([p.detach().contiguous() for p in params], [p.detach() for p in alone], rtol=1e-6)


# -- Gradients of other kinds ------------------------------------------------------------------------------------------


def negated(x):
    return torch._neg_view(-x)


def conjugated(x):
    return torch.complex(x, -x).conj().imag


def expanded(x):
    return x.flatten()[:1].expand(x.numel()).view(x.shape)


def strided(x):
    return torch.stack([x, x], -1)[..., 0]


def transposed_gradient(x):
    return x.mT.contiguous().mT if x.ndim > 1 else x


GRADIENTS = [negated, conjugated, expanded, strided, transposed_gradient]


@pytest.mark.parametrize("kind", GRADIENTS)
@pytest.mark.parametrize("name", ["SGD", "Adam", "ASGD"])
def test_gradients_of_any_kind(name, kind):
    def change(t, optimizer, params):
        for p in params:
            p.grad = kind(p.grad)

    both(change, name)


@pytest.mark.parametrize("name", ALL)
def test_bfloat16_gradients_of_float32_weights(name):
    """As those of float32 with the same values, also where torch's own step fails."""
    params, others = weights(torch.float32), weights(torch.float32)
    optimizer, other = make(name, params), make(name, others)
    for p in params:
        p.grad_dtype = torch.bfloat16
    for t in range(4):
        give_gradients(others, t)
        for p, q in zip(params, others, strict=True):
            p.grad = q.grad.bfloat16()
            q.grad = p.grad.float()
        other.step()
        optimizer.step()
    close(params, others, rtol=0)
    assert {p.grad.dtype for p in params} == {torch.bfloat16}


def sparse(t, optimizer, params):
    params[0].grad = params[0].grad.to_sparse(1)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_sparse_gradients_where_torch_has_them(name):
    both(sparse, name, options={})


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("SGD", "Adagrad")])
def test_sparse_gradients_are_refused_elsewhere(name):
    params = weights()
    optimizer = make(name, params)
    train(optimizer, params, range(3))
    before = copy.deepcopy(params)
    give_gradients(params, 3)
    sparse(3, optimizer, params)
    with pytest.raises(RuntimeError, match=r"sparse|dense"):
        optimizer.step()
    close(params, before, rtol=0)
    train(optimizer, params, [3])


# -- Options -----------------------------------------------------------------------------------------------------------

FLAGS = [{"foreach": True}, {"foreach": False}, {"fused": True}, {"maximize": True}, {"lr": 0.0},
         {"lr": torch.tensor(0.05, dtype=torch.float64)}]  # fmt: skip


@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize("name", TORCHS)
def test_options_mean_what_they_mean_in_torch(name, flags):
    def outcome(library):
        params = weights()
        try:
            optimizer = getattr(library, name)(params, **{"lr": 0.05, **TORCHS[name], **flags})
            train(optimizer, params, range(5))
        except (TypeError, ValueError, RuntimeError) as error:
            return type(error), str(error).split("__init__")[-1]
        return params

    expected, actual = outcome(torch.optim), outcome(sd.optim)
    if isinstance(expected, tuple):
        assert actual == expected
    else:
        close(actual, expected, LOOSE.get(name, 1e-9))


def set_tensor_rate(t, optimizer, params):
    group = optimizer.param_groups[0]
    if t == 2:
        group["lr"] = torch.tensor(0.05, dtype=torch.float64)
    elif t > 2:
        group["lr"].mul_(0.5)  # in place, as a compiled scheduler does


def test_a_learning_rate_that_is_a_tensor_may_change_in_place():
    both(set_tensor_rate)


def test_the_step_can_be_differentiated():
    rate = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    derivatives = []
    for library in (torch.optim, sd.optim):
        x = torch.tensor([1.0, 2.0], dtype=torch.float64).requires_grad_().clone()
        x.grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
        library.SGD([x], lr=rate, differentiable=True).step()
        derivatives.append(torch.autograd.grad(x.sum(), rate)[0])
    assert derivatives[0] == derivatives[1] == -7


# -- Bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_groups_that_share_a_parameter_are_refused(name):
    params = weights()
    with pytest.raises(ValueError, match="more than one parameter group"):
        make(name, [{"params": params}, {"params": params[:1]}])
    optimizer = make(name, params)
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": params[:1]})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("name", ALL)
def test_an_unknown_option_of_a_group_is_refused(name):
    with pytest.raises(ValueError, match="Unknown option 'wieght_decay'"):
        make(name, [{"params": weights(), "wieght_decay": 0.1}])
    optimizer = make(name, weights())
    with pytest.raises(ValueError, match="Unknown option 'rl'"):
        optimizer.add_param_group({"params": weights(), "rl": 0.1})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("name", ALL)
def test_meta_tensors_are_refused(name):
    params = [*weights(), nn.Parameter(torch.ones(2, 3, device="meta"))]
    optimizer = make(name, params)
    train(optimizer, params[:2], range(2))
    before = copy.deepcopy(params[:2])
    params[2].grad = torch.ones(2, 3, device="meta")
    with pytest.raises(ValueError, match="meta device"):
        optimizer.step()
    close(params[:2], before, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_a_gradient_of_another_shape_is_refused(name):
    params = weights()
    optimizer = make(name, params)
    train(optimizer, params, range(2))
    params[1].data = torch.ones(7, dtype=torch.float64)
    before = copy.deepcopy([p.detach() for p in params])
    with pytest.raises(ValueError, match=r"shape \(7,\), got \(5,\)"):
        optimizer.step()
    close([p.detach() for p in params], before, rtol=0)


def test_a_gradient_whose_memory_was_freed_is_refused():
    params = weights()
    optimizer = make("AdamW", params)
    train(optimizer, params, range(2))
    give_gradients(params, 2)
    params[0].grad.untyped_storage().resize_(0)
    before = params[1].detach().clone()
    with pytest.raises(SteepestError, match="storage was freed"):
        optimizer.step()
    assert torch.equal(params[1], before)


@pytest.mark.parametrize("name", ["Adam", "AdEMAMix", "ScheduleFreeAdamW"])
def test_torchs_default_device_does_not_matter(name):
    params, others = weights(), weights()
    optimizer, other = make(name, params), make(name, others)
    train(optimizer, params, range(4))
    for t in range(4):
        give_gradients(others, t)
        for p in others:
            p.grad = negated(p.grad)  # of which a copy is made
        with torch.device("meta") if t or name not in TORCHS else nullcontext():  # torch makes its counts there
            other.step()
    close(others, params, rtol=0)
