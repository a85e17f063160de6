"""Clipping beside torch's function: the same norm and gradients where it is exact, and more exact where it is not."""

import math
import threading

import pytest
import torch
from torch import nn

import steepest as sd
from steepest.rules import gradient_norm as module
from steepest.rules.gradient_norm import gradient_norm

SHAPES = ((300, 401), (7,), (), (0, 3), (4, 3, 2, 2))
DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def parameters(dtype=torch.float32, shapes=SHAPES, size=1.0):
    random = torch.Generator().manual_seed(0)
    params = [nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in shapes]
    for p in params:
        p.grad = (size * torch.randn(p.shape, generator=random, dtype=torch.float64)).to(dtype)
    params.append(nn.Parameter(torch.ones(3, dtype=dtype)))  # without a gradient
    return params


def exact_norm(params):
    return math.sqrt(sum(float(p.grad.double().square().sum()) for p in params if p.grad is not None))


def gradients(params):
    return [p.grad.clone() for p in params if p.grad is not None]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("max_norm", [1.0, 1e6])
@pytest.mark.parametrize("threads", [1, 2])
def test_it_is_torchs(dtype, max_norm, threads):
    ours, theirs, before = parameters(dtype), parameters(dtype), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        norm = sd.optim.clip_grad_norm_(iter(ours), max_norm)
    finally:
        torch.set_num_threads(before)
    other = nn.utils.clip_grad_norm_(theirs, max_norm)
    assert float(norm) == pytest.approx(exact_norm(parameters(dtype)), rel=1e-6)
    assert float(norm) == pytest.approx(float(other), rel=5e-3 if dtype is torch.bfloat16 else 1e-6)
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-12, torch.bfloat16: 8e-3}[dtype]  # torch's factor has 8 bits
    torch.testing.assert_close(gradients(ours), gradients(theirs), rtol=tolerance, atol=0.0)
    if max_norm > float(norm):
        assert all(torch.equal(a, b) for a, b in zip(gradients(ours), gradients(parameters(dtype)), strict=True))


def test_the_norm_of_bfloat16_is_not_rounded():
    params = parameters(torch.bfloat16)
    norm, exact = sd.optim.clip_grad_norm_(params, 1.0), exact_norm(parameters(torch.bfloat16))
    assert norm.dtype is torch.float32
    assert abs(float(norm) / exact - 1) < 1e-6
    assert exact_norm(params) == pytest.approx(1.0, rel=1e-3)


def test_dtypes_may_be_mixed():
    params = [*parameters(torch.float32), *parameters(torch.float64), *parameters(torch.bfloat16)]
    exact = exact_norm(params)
    assert float(sd.optim.clip_grad_norm_(params, 1.0)) == pytest.approx(exact, rel=1e-6)
    assert exact_norm(params) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("size", [1e-30, 1e25])
def test_squares_that_vanish_or_overflow(size):
    params = parameters(size=size)
    exact = exact_norm(params)
    assert float(sd.optim.clip_grad_norm_(params, 1.0)) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_as_with_torch(value):
    ours, theirs = parameters(), parameters()
    for params in (ours, theirs):
        params[0].grad[3, 5] = value
    for params, function in ((ours, sd.optim.clip_grad_norm_), (theirs, nn.utils.clip_grad_norm_)):
        with pytest.raises(RuntimeError, match=r"non-finite|must be finite, got (nan|inf)"):
            function(params, 1.0, error_if_nonfinite=True)
    assert all(a.equal(b) for a, b in zip(gradients(ours)[1:], gradients(theirs)[1:], strict=True))  # nothing is lost
    norm, other = sd.optim.clip_grad_norm_(ours, 1.0), nn.utils.clip_grad_norm_(theirs, 1.0)
    torch.testing.assert_close(norm, other, equal_nan=True)
    torch.testing.assert_close(gradients(ours), gradients(theirs), equal_nan=True)


def with_gaps(p):
    p.grad = torch.stack([p.grad, p.grad], -1)[..., 0]


def half(p):
    p.data, p.grad = p.data.half(), None
    p.grad = torch.ones_like(p)


def complex_(p):
    p.data, p.grad = p.data.to(torch.complex64), None
    p.grad = torch.ones_like(p) * (1 + 2j)


@pytest.mark.parametrize("change", [with_gaps, half, complex_])
def test_gradients_that_a_kernel_cannot_read_are_torchs(change):
    ours, theirs = parameters(shapes=SHAPES[:2]), parameters(shapes=SHAPES[:2])
    for params in (ours, theirs):
        change(params[0])
    assert gradient_norm([p.grad for p in ours if p.grad is not None]) is None
    norm, other = sd.optim.clip_grad_norm_(ours, 1.0), nn.utils.clip_grad_norm_(theirs, 1.0)
    torch.testing.assert_close(norm, other)
    torch.testing.assert_close(gradients(ours), gradients(theirs))


@pytest.mark.parametrize("norm_type", [1.0, 3.0, math.inf])
def test_other_norms_are_torchs(norm_type):
    ours, theirs = parameters(shapes=SHAPES[:2]), parameters(shapes=SHAPES[:2])
    norm = sd.optim.clip_grad_norm_(ours, 1.0, norm_type)
    other = nn.utils.clip_grad_norm_(theirs, 1.0, norm_type)
    assert torch.equal(norm, other)
    assert all(torch.equal(a, b) for a, b in zip(gradients(ours), gradients(theirs), strict=True))


@pytest.mark.parametrize("params", [[], [nn.Parameter(torch.ones(2))]])
def test_without_a_gradient_the_norm_is_0(params):
    assert float(sd.optim.clip_grad_norm_(params, 1.0)) == 0.0


def test_one_tensor_is_enough():
    p = parameters(shapes=((3,),))[0]
    expected = float(p.grad.norm())
    assert float(sd.optim.clip_grad_norm_(p, 0.5)) == pytest.approx(expected)
    assert float(p.grad.norm()) == pytest.approx(0.5, rel=1e-5)


def test_all_zero_gradients_stay():
    params = parameters(size=0.0)
    assert float(sd.optim.clip_grad_norm_(params, 1.0)) == 0.0


def test_the_number_of_remembered_lists_has_a_bound():
    for n in range(1, 3 * module.GROUPS):
        assert gradient_norm([torch.ones(n)]) == pytest.approx(math.sqrt(n))
    assert len(module._groups.by_sizes) == module.GROUPS


def test_threads_do_not_share_a_list():
    values, results = [1.0, 2.0, 3.0, 4.0], {}

    def work(value):
        gradients = [torch.full((5000,), value), torch.full((3,), value)]
        results[value] = {gradient_norm(gradients) for _ in range(200)}

    workers = [threading.Thread(target=work, args=(value,)) for value in values]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for value in values:
        (norm,) = results[value]
        assert norm == pytest.approx(value * math.sqrt(5003), rel=1e-6)


@pytest.mark.filterwarnings("ignore:Using backward")
def test_gradients_may_have_a_graph():
    p = nn.Parameter(torch.ones(3))
    p.square().sum().backward(create_graph=True)
    sd.optim.clip_grad_norm_(p, 1.0)
    assert float(p.grad.detach().norm()) == pytest.approx(1.0, rel=1e-5)


def test_a_system_that_cannot_load_kernels_has_torchs(monkeypatch):
    monkeypatch.setattr(module, "can_load", lambda: False)
    ours, theirs = parameters(), parameters()
    assert gradient_norm([ours[0].grad]) is None
    assert torch.equal(sd.optim.clip_grad_norm_(ours, 1.0), nn.utils.clip_grad_norm_(theirs, 1.0))
    assert all(torch.equal(a, b) for a, b in zip(gradients(ours), gradients(theirs), strict=True))
