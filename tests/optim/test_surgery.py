"""2,000 random sequences of surgery on an optimizer: what happens with torch's class happens with ours."""

import copy
import random
import weakref

import pytest
import torch
from torch import Tensor, nn

import steepest as sd
from steepest.optim.optimizer import KernelOptimizer

CLASSES = {
    "SGD": ({"momentum": 0.0}, {"momentum": 0.9, "dampening": 0.1}, {"momentum": 0.8, "nesterov": True}),
    "Adam": ({}, {"amsgrad": True, "weight_decay": 0.1}, {"maximize": True}),
    "AdamW": ({}, {"amsgrad": True}),
    "Adagrad": ({"lr_decay": 0.1}, {"initial_accumulator_value": 0.2}),
    "RMSprop": ({}, {"momentum": 0.9, "centered": True}, {"centered": True}, {"momentum": 0.5}),
    "NAdam": ({}, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    "Adamax": ({"weight_decay": 0.1},),
    "RAdam": ({}, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    "Adadelta": ({}, {"weight_decay": 0.1}),
    "Rprop": ({},),
    "ASGD": ({}, {"t0": 3, "weight_decay": 0.1}),
}
SEEDS, CHUNK = 2000, 100
GUARD = 64
"""Numbers before and after each tensor, which nobody may write."""
LETTERS = "abcdefgh"


class Guarded:
    """Tensors inside larger buffers, whose ends must stay as they are."""

    def __init__(self) -> None:
        self.buffers: list[tuple[Tensor, int]] = []

    def __call__(self, x: Tensor) -> Tensor:
        """A copy of a dense tensor between guards, with the same strides."""
        buffer = torch.full((x.numel() + 2 * GUARD,), 7.0, dtype=x.dtype)
        self.buffers.append((buffer, x.numel()))
        return torch.as_strided(buffer, x.shape, x.stride(), GUARD).copy_(x.detach())

    def check(self) -> None:
        for buffer, count in self.buffers:
            assert bool((buffer[:GUARD] == 7).all() and (buffer[GUARD + count :] == 7).all())


class Patient:
    """An optimizer, its parameters by letter, and operations on them; two with one seed do the same."""

    def __init__(self, library, name, options, seed) -> None:
        self.random, self.guarded = random.Random(seed), Guarded()
        self.by_kernel = self.left = 0
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = self.least = self.random.choice([torch.float32, torch.float64])
        self.parameters = {letter: self.parameter((3, 4)) for letter in "ab"}
        self.parameters["c"] = self.parameter((2, 3, 2, 2), torch.channels_last)
        self.optimizer = getattr(library, name)(list(self.parameters.values()), lr=0.02, **options)

    def parameter(self, shape, memory=torch.contiguous_format):
        x = torch.randn(shape, generator=self.generator).to(self.dtype, memory_format=memory)
        return nn.Parameter(self.guarded(x))

    def operate(self) -> None:
        operations = (
            [self.step] * 8 + [self.shrink, self.grow, self.replace, self.freeze, self.move, self.cast, self.load]
            + [self.add_group, self.remove_group, self.copy, self.edit_state, self.edit_options, self.scatter_gradient]
        )  # fmt: skip
        self.random.choice(operations)()

    def any(self):
        return self.random.choice(sorted(self.parameters))

    def gradient(self, p, dtype=None):
        return torch.randn(p.shape, generator=self.generator).to(dtype or p.dtype)

    def step(self) -> None:
        for p in self.parameters.values():
            p.grad = self.gradient(p) if p.requires_grad and self.random.random() < 0.9 else None
        self.take_step()

    def take_step(self) -> None:
        self.optimizer.step()
        self.guarded.check()
        if isinstance(self.optimizer, KernelOptimizer):
            plan = self.optimizer._kernels._plans[0]
            self.by_kernel += sum(len(batch.members) for batch in plan._batches)
            self.left += sum(map(len, plan.left.values()))

    def scatter_gradient(self) -> None:
        """Gradients as autograd may leave them: transposed, sliced, expanded or negated views."""
        for p in self.parameters.values():
            g, how = self.gradient(p), self.random.randrange(4)
            if how == 0:
                p.grad = torch._neg_view(g)
            elif how == 1:
                p.grad = torch.stack([g, g], -1)[..., 0]
            elif how == 2:
                p.grad = g.flatten()[:1].expand(p.numel()).view(p.shape)
            else:
                p.grad = g.mT.contiguous().mT
        self.take_step()

    def swap(self, letter, new, change) -> None:
        """Replaces a parameter in its group, with its state changed, as surgery on a model does."""
        old = self.parameters[letter]
        state = self.optimizer.state.pop(old, None)
        for group in self.optimizer.param_groups:
            group["params"] = [new if p is old else p for p in group["params"]]
        if state is not None and change is not None:
            self.optimizer.state[new] = {
                k: self.guarded(change(v)) if isinstance(v, Tensor) and v.shape == old.shape else v
                for k, v in state.items()
            }
        self.parameters[letter] = new

    def shrink(self) -> None:
        letter = self.any()
        p = self.parameters[letter]
        if len(p) > 1:
            self.swap(letter, nn.Parameter(self.guarded(p.detach()[:-1].clone())), lambda x: x[:-1].clone())

    def grow(self) -> None:
        letter = self.any()
        p = self.parameters[letter]
        row = torch.randn(p[:1].shape, generator=self.generator).to(p.dtype)
        new = nn.Parameter(self.guarded(torch.cat([p.detach(), row])))
        self.swap(letter, new, lambda x: torch.cat([x, torch.zeros_like(x[:1])]))

    def replace(self) -> None:
        letter = self.any()
        p = self.parameters[letter]
        self.swap(letter, nn.Parameter(self.guarded(p + 1)), self.random.choice([None, torch.clone]))

    def freeze(self) -> None:
        p = self.parameters[self.any()]
        p.requires_grad_(not p.requires_grad)

    def move(self) -> None:
        p = self.parameters[self.any()]
        p.data = self.guarded(p.data)

    def cast(self) -> None:
        """Weights, gradient and state of one parameter in another dtype."""
        p = self.parameters[self.any()]
        dtype = self.random.choice([torch.float64, torch.float32])
        self.least = dtype if dtype is torch.float32 else self.least
        p.grad, p.data = None, self.guarded(p.data.to(dtype))
        for key, x in self.optimizer.state.get(p, {}).items():
            if isinstance(x, Tensor) and x.shape == p.shape:
                self.optimizer.state[p][key] = self.guarded(x.to(dtype))

    def load(self) -> None:
        self.optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict()))

    def add_group(self) -> None:
        letter = next((x for x in LETTERS if x not in self.parameters), None)
        if letter:
            self.parameters[letter] = self.parameter((5,))
            self.optimizer.add_param_group({"params": [self.parameters[letter]], "lr": 0.01})

    def remove_group(self) -> None:
        if len(self.optimizer.param_groups) > 1:
            for p in self.optimizer.param_groups.pop()["params"]:
                self.optimizer.state.pop(p, None)
                self.parameters = {k: q for k, q in self.parameters.items() if q is not p}

    def copy(self) -> None:
        self.parameters, self.optimizer = copy.deepcopy((self.parameters, self.optimizer))

    def edit_state(self) -> None:
        for state in self.optimizer.state.values():
            for key, x in state.items():
                if isinstance(x, Tensor) and x.ndim:
                    state[key] = self.guarded(x)

    def edit_options(self) -> None:
        group = self.random.choice(self.optimizer.param_groups)
        group["lr"] = self.random.choice([0.0, 0.01, torch.tensor(0.005, dtype=torch.float64)])
        if "betas" in group:
            group["betas"] = (0.5, 0.9)
        if "momentum" in group and "centered" not in group and not group["nesterov"]:
            group["momentum"] = self.random.choice([0.0, 0.7])


def outcome(patient):
    """The words of an error of an operation, or None."""
    try:
        patient.operate()
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        return type(error)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, *(pytest.param(k, marks=pytest.mark.long) for k in range(CHUNK, SEEDS, CHUNK))])
def test_surgery(first):
    errors = by_kernel = left = 0
    for seed in range(first, first + CHUNK):
        chooser = random.Random(seed)
        name = chooser.choice(sorted(CLASSES))
        options = chooser.choice(CLASSES[name])
        theirs, ours = (Patient(library, name, options, seed) for library in (torch.optim, sd.optim))
        for _ in range(12):
            expected, actual = outcome(theirs), outcome(ours)
            assert (expected is None) == (actual is None), (seed, name, options, expected, actual)
            if expected is not None:
                errors += 1
                break
            exact = 1e-9 if theirs.least is torch.float64 else 1e-4  # NAdam's product is float32 in torch
            for letter, p in theirs.parameters.items():
                q = ours.parameters[letter]
                assert torch.allclose(p, q, rtol=exact, atol=exact), (seed, name, options, letter)
        by_kernel, left = by_kernel + ours.by_kernel, left + ours.left
    assert errors < CHUNK // 4
    assert by_kernel > left  # a parameter's first step, which makes its state, is always torch's


def test_memory_of_parameters_that_are_gone_is_free():
    """As in Gaussian splatting, where parameters are replaced every few steps."""
    p = nn.Parameter(torch.ones(100))
    optimizer, gone = sd.optim.Adam([p]), []
    for _ in range(12):
        for _ in range(2):
            p.grad = torch.ones_like(p)
            optimizer.step()
        gone += [weakref.ref(p), *map(weakref.ref, optimizer.state.pop(p).values())]
        p = optimizer.param_groups[0]["params"][0] = nn.Parameter(p.detach().clone())
    p.grad = torch.ones_like(p)
    optimizer.step()
    assert [ref() for ref in gone if ref() is not None] == []


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_weights_that_move_into_the_same_memory_are_stepped_in_torchs_order(name):
    """Weights tied by `.data` in the middle of a training."""
    ends = []
    for library in (torch.optim, sd.optim):
        p, q = (nn.Parameter(torch.ones(50, dtype=torch.float64)) for _ in range(2))
        optimizer = getattr(library, name)([p, q], lr=0.1, weight_decay=0.5)
        for step in range(8):
            if step == 4:
                q.data = p.data
            p.grad, q.grad = torch.full_like(p, 1.0 + step), torch.full_like(q, -0.5)
            optimizer.step()
        ends.append(p.detach())
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-13, atol=0)


def test_memory_that_was_freed_is_an_error_before_anything_is_changed():
    """The parameters are of two dtypes, which two kernels step."""
    p, q = nn.Parameter(torch.ones(5, dtype=torch.float64)), nn.Parameter(torch.ones(5))
    optimizer = sd.optim.Adam([p, q])
    for _ in range(2):
        p.grad, q.grad = torch.ones_like(p), torch.ones_like(q)
        optimizer.step()
    before = p.detach().clone(), optimizer.state[p]["step"].item()
    q.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="must have memory, but its storage was freed"):
        optimizer.step()
    assert torch.equal(p, before[0])
    assert optimizer.state[p]["step"].item() == before[1]


@pytest.mark.parametrize("option", [{"nesterof": True}, {"decupled": False}, {"beta": (0.9, 0.99)}, {"wd": 0.1}])
def test_an_option_of_any_kind_that_nobody_reads_is_an_error(option):
    with pytest.raises(sd.InputError, match=f"Unknown option '{next(iter(option))}' of a param group of SGD"):
        sd.optim.SGD([{"params": [nn.Parameter(torch.ones(2))], **option}])
