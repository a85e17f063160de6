"""A formula as one function over many tensors, compiled by torch.compile: by Triton on CUDA, by C++ on a CPU.

    for each tensor:  w, slots ← rule(w, scale · g, slots; row of the table),   Σ(w_new − w)²,   Σ w_new²

The function is written as text, straight through, so that Dynamo has nothing to guard but the tensors themselves. What
changes from step to step (hyperparameters, `t`, the scale) is in a table in the device's memory, so that no step
compiles again and none waits for the device. Three things let Inductor make one kernel of it:

1. A tensor is seen as rows of at most `ROW_SIZE` weights. A row's squares are summed where its weights are updated, in
   the weights' precision, and rows are added in float64: one short reduction of the same kind for every tensor, which
   Inductor combines with the others ("combo kernels"). A long one it splits, and then reads the weights again.
2. A function has at most `PART_SIZE` tensors, as the arguments of a kernel are limited. Parts whose tensors have the
   same layouts, such as the blocks of a transformer, share a function.
3. The table is computed by a function of its own: fused into the update, its powers of β would be computed once per
   weight in float64.

Weights in half precision are computed in float32 and rounded once.
"""

import functools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from steepest.rules import hoist
from steepest.rules.rule import Rule
from steepest.rules.trace import CONSTANT, WEIGHT, Program

DEVICE_TYPES = ("cuda",)
"""Devices whose updates are compiled; a CPU has kernels of its own."""
COMPUTE_DTYPES = {
    torch.float32: torch.float32, torch.float64: torch.float64, torch.bfloat16: torch.float32,
    torch.float16: torch.float32,
}  # fmt: skip
"""The dtypes of weights that can be compiled, and that in which they are computed."""
ROW_SIZE, MIN_ROW_SIZE = 1024, 128
"""Weights of a row, at most; a tensor whose size has no divisor in this range is one row."""
PART_SIZE = 24
"""Tensors of one function: with eleven pointers each, for AdamW with an average, they fill half of the 4 kB that a CUDA
kernel's arguments may."""
UPDATE_SETTINGS = {
    "combo_kernels": True, "combo_kernel_max_num_nodes": 2 * PART_SIZE, "combo_kernel_max_num_args": 1 << 12,
    "combo_kernel_peak_memory_pct_threshold": None, "emulate_precision_casts": True,
}  # fmt: skip
TABLE_SETTINGS = {"realize_opcount_threshold": 1 << 16, "realize_reads_threshold": 1 << 16}
"""Inductor's options, of which a version of torch may have only some: independent kernels are combined, a weight in
half precision is rounded where torch's own operations round it, and the whole table is one kernel."""

TORCH_EXPRESSIONS = {
    "add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "div": "{} / {}", "neg": "-{}", "pow": "{} ** {}",
    "sqrt": "torch.sqrt({})", "exp": "torch.exp({})", "log": "torch.log({})", "abs": "torch.abs({})",
    "sign": "torch.sign({})", "maximum": "torch.maximum({}, {})", "minimum": "torch.minimum({}, {})",
    "where": "torch.where({}, {}, {})", "not": "torch.logical_not({})",
    "lt": "{} < {}", "le": "{} <= {}", "gt": "{} > {}", "ge": "{} >= {}", "eq": "{} == {}", "ne": "{} != {}",
    "and": "{} & {}", "or": "{} | {}",
}  # fmt: skip
CONDITIONS = {"where": 1, "not": 1, "and": 2, "or": 2}
"""By operation, how many of its first operands are conditions."""
MIN_STEPS = 2000
"""Steps that repay compiling, by which a step of a small network saves about a millisecond: an estimate, as no GPU was
at hand."""
TENSOR_OPERANDS = ("where", "maximum", "minimum", "sqrt", "exp", "log", "sign", "abs")
"""Operations for which a constant has to be a tensor."""
BOOLEAN = ("lt", "le", "gt", "ge", "eq", "ne", "not", "and", "or")


class Layout(NamedTuple):
    """How a tensor, or one member of it, lies in memory, and the row of hyperparameters that it has."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    row: int


class Form(NamedTuple):
    """What a compiled function depends on.

    Attributes:
        layouts: of its tensors; their slots and gradients have the same ones.
        dtype: of the weights.
        slot_dtypes: of the slots per weight.
        has_members: whether tensors are [K, ...]; a function then takes any K of at least 2.
        device: of the tensors.
    """

    layouts: tuple[Layout, ...]
    dtype: torch.dtype
    slot_dtypes: tuple[torch.dtype, ...]
    has_members: bool
    device: torch.device


@functools.lru_cache(maxsize=256)
def advance_function(program: Program, slots: tuple[str, ...], form: Form) -> Callable:
    """The update of the tensors of a form, `(weights, gradients, slots, table) -> (total, moved, length)`.

    Weights and slots are changed in place, unless the scale in their row of the table is NaN. `total` is Σ(w_new − w)²
    over all tensors, a float64 number or [K]; `moved` and `length` are the sums of each row, for `row_sums`.

    Args:
        program: the traced formula; its outputs are w and the slots, scalar ones included.
        slots: names of the slots per weight, in the order of the outputs; "" for a scalar slot.
        form: of the tensors.
    """
    own = [name for name in slots if name]
    hypers = [f"x{n}" for n in program.hoisted]
    width = 1 + len(hypers)
    lines = [_one_source(program, slots, form), "def function(weights, gradients, slots, table):"]
    lines += [f"    h = table.to({COMPUTE_DTYPES[form.dtype]})"]
    shape = ".view(-1, 1, 1)" if form.has_members else ""
    for p, layout in enumerate(form.layouts):
        flat = _flat(layout, form.has_members)
        tensors = [f"weights[{p}]", f"gradients[{p}]", *(f"slots[{k}][{p}]" for k in range(len(own)))]
        row = [f"h[{layout.row * width + k}]{shape}" for k in range(width)]
        lines.append(f"    a{p}, b{p} = one({', '.join([*(x + flat for x in tensors), *row])})")
    for name in "ab":
        lines.append(f"    {name} = torch.cat([{', '.join(f'{name}{p}' for p in range(len(form.layouts)))}], -1)")
    return _compile("\n".join([*lines, "    return a.double().sum(-1), a, b"]))


@functools.lru_cache(maxsize=256)
def norm_function(form: Form) -> Callable:
    """Σ‖g‖² of the gradients of a form, `(gradients) -> float64 number or [K]`; squares are those of float64."""
    lines = ["def function(gradients):"]
    for p, layout in enumerate(form.layouts):
        lines.append(f"    a{p} = gradients[{p}]{_flat(layout, form.has_members)}.double().square().sum(-1)")
    values = ", ".join(f"a{p}" for p in range(len(form.layouts)))
    return _compile("\n".join([*lines, f"    return torch.cat([{values}], -1).sum(-1)"]))


def row_sums(rows: Tensor, form: Form) -> list[Tensor]:
    """The sum over each tensor, float64, from the sums of all rows."""
    sizes = [_rows(math.prod(layout.shape))[0] for layout in form.layouts]
    return [part.double().sum(-1) for part in rows.split(sizes, -1)]


def table_function(rule: Rule, rows: Sequence[Mapping[str, Any]], device: torch.device) -> Callable:
    """`hoist.rule_table` on the device, compiled: its table is one float64 tensor, its scalar slots are tensors.

    The hyperparameters reach the device in one copy that nobody waits for. Where it cannot be compiled, torch's own
    operations compute the table, as a tuple.
    """
    scalars = [slot.name for slot in rule.slots if slot.is_scalar]
    weights = {"w", "g", *(slot.name for slot in rule.slots)}
    names = [name for name in rule.program.inputs if name not in weights and name != "t"]
    inner = hoist.rule_table(rule, rows, hoist.TENSORS)
    hypers = ", ".join(f"{name!r}: numbers[{k}]" for k, name in enumerate(names))
    count = len(rows) * (1 + len(rule.program.hoisted) + len(scalars))
    text = f"""
def function(numbers, t, scale, slots):
    values, new = inner({{{hypers}}}, t[0], scale[0], [[x[0] for x in row] for row in slots])
    place = torch.arange({count}, device=t.device)
    table = torch.zeros({count}, dtype=torch.float64, device=t.device)
    for n, x in enumerate([*values, *(x for row in new for x in row)]):
        table = torch.where(place == n, x, table)
    return table
"""
    function, width = _compile(text, {"inner": inner}, TABLE_SETTINGS), len(scalars)
    size = count - len(rows) * width
    works: list[bool] = []  # whether it has been compiled, once that was tried

    def table(values: Mapping[str, Any], t: Tensor, scale: Any, slots: Sequence[Sequence[Tensor]]) -> tuple:
        numbers = torch.tensor([float(values[name]) for name in names], dtype=torch.float64)
        own = [[x.view(1) for x in row] for row in slots]  # Dynamo reads the number in an input without dimensions
        factor = hoist.on_device(scale, device).view(1)
        with torch.no_grad():
            arguments = numbers.to(device, non_blocking=True), t.view(1), factor, own
            if works:
                all = function(*arguments) if works[0] else None
            else:
                all = attempt(function, *arguments) if is_available() else None
                works.append(all is not None)
        if all is None:
            return inner(values, t, scale, slots)
        new = all[size:].unbind()
        return all[:size], [new[r * width : (r + 1) * width] for r in range(len(rows))]

    return table


# -- The text ----------------------------------------------------------------------------------------------------------


def _one_source(program: Program, slots: tuple[str, ...], form: Form) -> str:
    """The update of one tensor [rows, row size], with a first dimension of members if there are some."""
    real = COMPUTE_DTYPES[form.dtype]
    own = [name for name in slots if name]
    parameters = ["w", "g", *(f"s_{name}" for name in own), "scale", *(f"x{n}" for n in program.hoisted)]
    lines = [f"def one({', '.join(parameters)}):", "    live = scale == scale", f"    old = w.to({real})"]
    for n, i in enumerate(program.instructions):
        if i.kind == WEIGHT:
            lines.append(f"    x{n} = {_expression(program, n, real, form.device)}")
    outputs = [_tensor(program, place, real, form.device) for place in program.outputs]
    lines.append(f"    new = torch.where(live, {outputs[0]}, old).to({form.dtype})")
    for k, (name, value) in enumerate((n, v) for n, v in zip(slots, outputs[1:], strict=True) if n):
        lines.append(f"    new_{k} = torch.where(live, {value}, s_{name}).to({form.slot_dtypes[k]})")
    lines += [f"    s_{name}.copy_(new_{k})" for k, name in enumerate(own)]  # after all of them were read
    lines += [f"    step, now = new.to({real}) - old, torch.where(live, new, 0.0).to({real})", "    w.copy_(new)"]
    return "\n".join([*lines, "    return (step * step).sum(-1), (now * now).sum(-1)"])


def _expression(program: Program, place: int, real: torch.dtype, device: torch.device) -> str:
    i = program.instructions[place]
    if i.op == "input":
        return {"w": "old", "g": f"g.to({real}) * scale"}.get(i.value, f"s_{i.value}.to({real})")
    operands = []
    for k, a in enumerate(i.args):
        if k < CONDITIONS.get(i.op, 0):
            operands.append(_condition(program, a, real, device))
        else:
            operands.append(_tensor(program, a, real, device) if i.op in TENSOR_OPERANDS else _operand(program, a))
    return TORCH_EXPRESSIONS[i.op].format(*operands)


def _operand(program: Program, place: int) -> str:
    """A variable, or a number."""
    i = program.instructions[place]
    return f"float('{i.value!r}')" if i.kind == CONSTANT and i.op == "constant" else f"x{place}"


def _tensor(program: Program, place: int, real: torch.dtype, device: torch.device) -> str:
    """A variable, or a number as a tensor."""
    i, text = program.instructions[place], _operand(program, place)
    is_constant = i.kind == CONSTANT and i.op == "constant"
    return f"torch.full((), {text}, dtype={real}, device={str(device)!r})" if is_constant else text


def _condition(program: Program, place: int, real: torch.dtype, device: torch.device) -> str:
    """An operand that is a condition; in the table conditions are 0 or 1."""
    i = program.instructions[place]
    text = _tensor(program, place, real, device)
    return text if i.kind == WEIGHT and i.op in BOOLEAN else f"({text} != 0)"


def _rows(size: int) -> tuple[int, int]:
    """The number of rows and their size."""
    if size <= ROW_SIZE:
        return 1, size
    divisor = next((n for n in range(ROW_SIZE, MIN_ROW_SIZE - 1, -1) if size % n == 0), size)
    return size // divisor, divisor


def _flat(layout: Layout, has_members: bool) -> str:
    """A dense tensor as its rows, in the order of its memory: a view."""
    dims = range(len(layout.shape))
    order = sorted(dims, key=lambda d: (-layout.stride[d], -layout.shape[d]))
    shape = ", ".join(map(str, _rows(math.prod(layout.shape))))
    if has_members:
        order, shape = [0, *(d + 1 for d in order)], f"-1, {shape}"
    permute = "" if order == sorted(order) else f".permute({', '.join(map(str, order))})"
    return f"{permute}.view({shape})"


# -- The compiler ------------------------------------------------------------------------------------------------------


def _compile(
    text: str, scope: Mapping[str, Any] | None = None, options: Mapping[str, Any] = UPDATE_SETTINGS
) -> Callable:
    """The compiled function of a text. It compiles when it is called first; its code is its own, as Dynamo counts the
    compilations of a code object, not of a function."""
    from torch._inductor import config

    names: dict[str, Any] = {"torch": torch, **(scope or {})}
    exec(compile(text, "<steepest update>", "exec"), names)
    own: dict[str, Any] = {name: value for name, value in options.items() if hasattr(config, name)}
    return torch.compile(names["function"], fullgraph=True, dynamic=False, options=own)


def mark_members(arguments: Sequence[Any]) -> None:
    """Says that the number of members may change: it is the first size of a tensor [K, ...], the second of a table."""
    from torch._dynamo import maybe_mark_dynamic

    *lists, table = arguments if isinstance(arguments[-1], Tensor) else (*arguments, None)
    if table is not None:
        maybe_mark_dynamic(table, 1)
    for x in tree_leaves(lists):
        maybe_mark_dynamic(x, 0)


_failures: list[str] = []


def is_available() -> bool:
    """Whether nothing has failed to compile in this process."""
    return not _failures


def attempt(function: Callable, *arguments: Any) -> Any:
    """What a compiled function returns in its first call; None, which is said once, if it cannot be compiled.

    It has then changed none of its arguments.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's own, of which a user's filter may make errors
            return function(*arguments)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # any error of the compiler
        _failures.append(f"{type(error).__name__}: {' '.join(str(error).splitlines()[:2])}")
        if len(_failures) == 1:
            warnings.warn(
                f"torch.compile could not compile the update, which PyTorch's own operations run, more slowly: "
                f"{_failures[0]}",
                RuntimeWarning,
                stacklevel=2,
            )
        return None
