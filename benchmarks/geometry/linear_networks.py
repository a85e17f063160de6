"""Linear networks, whose critical points are known in closed form."""

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
    """A task, a critical point of its loss ½‖W_d ⋯ W₁ − M‖², and the verdict that is right for it.

    The product of the layers has some of M's singular values, in random bases between the layers. With all the largest
    ones that the widths allow, the point is a global minimum, otherwise a saddle. With two layers, or with a smaller
    value in place of a larger one, the saddle's Hessian has a negative eigenvalue; with three layers that only lack
    values, descent is visible at third order only.

    Source: Achour, Malgouyres and Gerchinovitz 2021, arXiv:2107.13289.
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
    selection = list(range(most)) if seed % 3 == 0 else sorted(torch.randperm(rank, generator=g)[:count].tolist())
    root, places = values[selection] ** (1 / depth), range(len(selection))
    first, last = normal(width, m) * 0, normal(n, width) * 0
    first[places], last[:, places] = root[:, None] * v[selection], u[:, selection] * root
    middle = normal(width, width) * 0
    middle[places, places] = root
    factors = [first, *[middle] * (depth - 2), last]
    for i in range(depth - 1):
        c = torch.linalg.qr(normal(width, width))[0] * (0.7 + 0.6 * torch.rand(width, generator=g, dtype=torch.float64))
        factors[i], factors[i + 1] = c @ factors[i], factors[i + 1] @ torch.linalg.inv(c)
    largest = selection == list(range(len(selection)))
    kind = MINIMUM if largest and len(selection) == most else UNDECIDED if largest and depth > 2 else SADDLE
    model, matrix = Product(factors), (u[:, :rank] * values) @ v[:rank]
    task = sd.Task(model=model, objective=lambda model, batch: model(matrix))
    return task, torch.cat([f.reshape(-1) for f in factors]), kind
