"""Linear networks, whose critical points are known in closed form, and whether the Hessian shows what they are."""

import torch
from torch import nn

import steepest as sd
from steepest.records.verdict import MINIMUM, SADDLE, UNDECIDED


class Product(nn.Module):
    """½‖W_d ⋯ W₁ − M‖² of its factors."""

    def __init__(self, factors):
        super().__init__()
        self.factors = nn.ParameterList(nn.Parameter(torch.zeros_like(f)) for f in factors)

    def forward(self, target):
        first, *others = self.factors
        for f in others:
            first = f @ first
        return 0.5 * (first - target).square().sum()


def critical_point(seed: int) -> tuple[sd.Task, torch.Tensor, str]:
    """A task, a critical point of its loss ½‖W_d ⋯ W₁ − M‖², and what that is.

    The point keeps some of M's singular values, in any bases between the layers. All the largest ones that
    fit through the layers: a global minimum. Else a saddle: with two layers, or where a smaller value is kept in place
    of a larger one, its Hessian has a negative eigenvalue; three layers that only lack values can add one at third
    order alone. Source: Achour, Malgouyres and Gerchinovitz 2021, arXiv:2107.13289.
    """
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    n, m = torch.randint(2, 6, (2,), generator=g).tolist()
    width, depth = int(torch.randint(1, 5, (1,), generator=g)), 2 + int(torch.randint(0, 2, (1,), generator=g))
    rank = min(n, m)
    u, _, v = torch.linalg.svd(normal(n, m))
    values = torch.rand(rank, generator=g, dtype=torch.float64).sort(descending=True)[0] * 2 + 0.2
    values = values + 0.15 * torch.arange(rank, 0, -1)
    most = min(width, rank)
    count = int(torch.randint(0, most + 1, (1,), generator=g))
    kept = list(range(most)) if seed % 3 == 0 else sorted(torch.randperm(rank, generator=g)[:count].tolist())
    root, places = values[kept] ** (1 / depth), range(len(kept))
    first, last = normal(width, m) * 0, normal(n, width) * 0
    first[places], last[:, places] = root[:, None] * v[kept], u[:, kept] * root
    middle = normal(width, width) * 0
    middle[places, places] = root
    factors = [first, *[middle] * (depth - 2), last]
    for i in range(depth - 1):
        c = torch.linalg.qr(normal(width, width))[0] * (0.7 + 0.6 * torch.rand(width, generator=g, dtype=torch.float64))
        factors[i], factors[i + 1] = c @ factors[i], factors[i + 1] @ torch.linalg.inv(c)
    largest = kept == list(range(len(kept)))
    kind = MINIMUM if largest and len(kept) == most else UNDECIDED if largest and depth > 2 else SADDLE
    model, matrix = Product(factors), (u[:, :rank] * values) @ v[:rank]
    task = sd.Task(model=model, objective=lambda model, batch: model(matrix))
    return task, torch.cat([f.reshape(-1) for f in factors]), kind
