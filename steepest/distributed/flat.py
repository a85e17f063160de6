"""Gradients, buffers and numbers of a step as one vector for each dtype, so that one reduction sums them all."""

from collections.abc import Sequence

import torch
from torch import Tensor

from steepest.distributed.processes import Processes

NUMBER_DTYPES = (torch.float32, torch.float64)
"""In which a loss keeps its digits; beside other gradients, numbers are a vector of their own."""


class FlatSum:
    """Sums tensors over processes. All processes have tensors of the same shapes, in the same order.

    Args:
        processes: that sum.
        tensors: one for each result, with its shape, strides, dtype and device.
        extras: numbers besides.
    """

    def __init__(self, processes: Processes, tensors: Sequence[Tensor], extras: int) -> None:
        self._processes = processes
        self.layouts = [(x.shape, x.stride(), x.dtype) for x in tensors]
        dtypes = list(dict.fromkeys(x.dtype for x in tensors))
        own = next((d for d in dtypes if d in NUMBER_DTYPES), torch.float32 if dtypes else torch.float64)
        device = tensors[0].device if tensors else torch.device("cpu")
        self._vectors = []
        views: dict[int, Tensor] = {}
        for dtype in dict.fromkeys([*dtypes, own]):
            places = [i for i, x in enumerate(tensors) if x.dtype == dtype]
            sizes = [tensors[i].numel() for i in places]
            vector = torch.zeros(sum(sizes) + (extras if dtype == own else 0), dtype=dtype, device=device)
            self._vectors.append(vector)
            starts = [sum(sizes[:k]) for k in range(len(sizes))]
            for i, start in zip(places, starts, strict=True):
                views[i] = torch.as_strided(vector, tensors[i].shape, tensors[i].stride(), start)
            if dtype == own:
                self.numbers = vector[sum(sizes) :]
        self.views = [views[i] for i in range(len(tensors))]

    def fits(self, tensors: Sequence[Tensor]) -> bool:
        """Whether these are tensors of the same layouts."""
        return [(x.shape, x.stride(), x.dtype) for x in tensors] == self.layouts

    @torch.no_grad()
    def sum(self, values: Sequence[Tensor | None], numbers: Sequence[float]) -> list[float]:
        """Sums; afterwards `views` have the sums, and the sums of the numbers are returned.

        Args:
            values: for each view its value on this process; None for zeros.
            numbers: besides.
        """
        full = [(view, x) for view, x in zip(self.views, values, strict=True) if x is not None]
        if full:
            torch._foreach_copy_([view for view, _ in full], [x for _, x in full])  # type: ignore[attr-defined]
        for view, x in zip(self.views, values, strict=True):
            if x is None:
                view.zero_()
        self.numbers.copy_(torch.tensor(numbers, dtype=torch.float64))
        for vector in self._vectors:
            self._processes.sum(vector)
        return self.numbers.tolist()

    @torch.no_grad()
    def scale(self, factor: float, count: int) -> None:
        """Multiplies the first so many results."""
        if count:
            torch._foreach_mul_(self.views[:count], factor)  # type: ignore[attr-defined]
