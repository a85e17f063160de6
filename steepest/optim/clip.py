"""Clipping by the norm of all gradients: torch's function, in fewer passes over memory on the CPU."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from steepest.rules.gradient_norm import gradient_norm


@torch.no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:  # fmt: skip
    """Scales gradients so that their common norm is at most `max_norm`, as `torch.nn.utils.clip_grad_norm_` does.

    g ← g · min(1, max_norm / (‖g‖ + 10⁻⁶)), where ‖g‖ is over all gradients together. On the CPU the norm is one pass
    of a compiled kernel, summed in float64 (torch rounds that of bfloat16 to 8 bits), and gradients that are short
    enough are not written. Elsewhere, and for other norms, it is torch's function that runs.

    Args:
        parameters: a tensor or several, whose gradients are clipped.
        max_norm: the largest norm.
        norm_type: p of the norm.
        error_if_nonfinite: whether a norm that is not finite is an error; else all gradients become NaN or 0.
        foreach: torch's, where torch runs.

    Returns:
        the norm before, a tensor without dimensions; of gradients in bfloat16 it is float32.

    Raises:
        RuntimeError: the norm is not finite, and `error_if_nonfinite`.

    >>> import torch, steepest as sd
    >>> w = torch.nn.Parameter(torch.zeros(2))
    >>> w.grad = torch.tensor([3.0, 4.0])
    >>> sd.optim.clip_grad_norm_([w], 1.0)
    tensor(5.)
    >>> w.grad
    tensor([0.6000, 0.8000])
    """
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = gradient_norm([g for g in gradients if g.numel()]) if gradients and norm_type == 2 else None
    if norm is None:
        return nn.utils.clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)
    if error_if_nonfinite and not math.isfinite(norm):
        raise RuntimeError(
            f"The norm of the gradients must be finite, got {norm}. error_if_nonfinite=False scales them by it anyway."
        )
    factor = max_norm / (norm + 1e-6)
    if not factor >= 1:  # NaN too
        for g in gradients:  # one by one, as torch multiplies lists of bfloat16 by a factor of eight bits
            g.mul_(factor)
    dtype = torch.float64 if any(g.dtype is torch.float64 for g in gradients) else torch.float32
    return torch.tensor(norm, dtype=dtype)
