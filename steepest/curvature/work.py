"""What a pass of a model takes, by the operations it calls and their sizes: the same on every machine and at any time.

    time ≈ 0.4 ms + operations × 10 µs + floating-point operations ÷ 10¹⁰ per second,
    of which a number that is written counts 10

These are the speeds of one core of an AMD EPYC, to a factor of 4 for dense, convolutional and recurrent networks and a
transformer, of 64 to 1,293 samples, in float32 and float64. What is chosen by them (samples, cells, points that go
together) is then the same however busy a machine is; a stopwatch would choose anew each time.
"""

import contextlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

PASS_S, OPERATION_S = 4e-4, 10e-6
"""Of a pass of a copied model, and of one call of a torch operation from Python, whatever they compute."""
FLOPS_PER_S = 1e10
NUMBER_FLOPS = 10.0
"""A number that an operation writes takes as long as so many floating-point operations of a matrix product."""
BACKWARD_PASSES = 2.0
"""A backward pass takes as long as so many forward passes."""


class Work(NamedTuple):
    """A forward pass.

    Attributes:
        operations: calls of torch operations.
        flops: floating-point operations for one sample.
        product_flops: those of matrix products, convolutions and attention alone, for all samples of the pass.
    """

    operations: float
    flops: float
    product_flops: float = 0.0

    def seconds(self, samples: float) -> float:
        """Of a forward pass over so many samples."""
        return self._calls_s + samples * self.flops / FLOPS_PER_S

    def gradient_seconds(self, samples: float) -> float:
        """Of a loss and its gradient."""
        return (1 + BACKWARD_PASSES) * self.seconds(samples)

    @property
    def few_samples(self) -> float:
        """Up to so many samples, calling the operations takes longer than their arithmetic."""
        return self._calls_s * FLOPS_PER_S / max(1.0, self.flops)

    @property
    def _calls_s(self) -> float:
        return PASS_S + self.operations * OPERATION_S


def measure_work(run: Callable[[], Any], samples: int, weights: int) -> Work:
    """The work of a pass; where it cannot be counted, that of dense layers: 2 operations for each weight and sample.

    Args:
        run: a forward pass.
        samples: of its batch.
        weights: N; each is used once for a sample, at least.
    """
    counter, least = _Counter(), 2.0 * weights
    try:
        with without_compiler(), counter:
            run()
    except Exception:  # an operation that cannot be counted; an error of the user's code comes with the first step
        return Work(0, least, least * samples)
    return Work(counter.operations, max(counter.flops / max(1, samples), least), counter.product_flops)


def without_compiler() -> contextlib.AbstractContextManager:
    """Modules under torch.compile run as they were before: its tracer cannot look into our hooks and counters."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and the import takes more than a second
        return contextlib.nullcontext()
    return torch.compiler.set_stance("force_eager")


class _Counter(TorchDispatchMode):
    """Counts operations, and the floating-point operations of matrix products, convolutions and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.flops, self.product_flops = 0, 0.0, 0.0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: torch would import its compiler for it, which takes more than a second."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from torch.utils.flop_counter import flop_registry

        output = func(*args, **(kwargs or {}))
        self.operations += 1
        if isinstance(output, torch.Tensor) and not func.is_view:
            self.flops += NUMBER_FLOPS * output.numel()
        count = flop_registry.get(func._overloadpacket)
        flops = 0.0
        if count is not None:
            flops = float(count(*args, **(kwargs or {}), out_val=output))
        elif func._overloadpacket is torch.ops.aten.mkldnn_rnn_layer:  # a whole layer over a sequence
            x, *matrices = args[:3]
            flops = 2.0 * x.numel() / x.shape[-1] * sum(matrix.numel() for matrix in matrices)
        self.flops += flops
        self.product_flops += flops
        return output
