"""The spectral density of a symmetric matrix, from matrix-vector products."""

import torch
from torch import Tensor

from steepest.curvature.extremes import Krylov, Symmetric, unit


def density(matrix: Symmetric, probes: int = 10, steps: int = 80, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Values and weights of a discrete distribution that approximates that of the eigenvalues.

        tr f(A) / P = E vᵀ f(A) v        v random, of length 1

    Each probe's Krylov basis gives a quadrature rule of few nodes with the first moments of the probe's own measure.

    Args:
        matrix: A [P, P].
        probes: random directions v.
        steps: products of each.
        seed: of the probes.

    Returns:
        Values and weights [at most probes · steps]; the weights sum to 1.

    Source: Ubaru, Chen and Saad 2017, doi:10.1137/16M1104974; Ghorbani, Krishnan and Xiao 2019, arXiv:1901.10159.
    """
    bases = [Krylov(matrix, unit(matrix, seed, "density", i)).extend(steps) for i in range(probes)]
    return torch.cat([k.values for k in bases]), torch.cat([k.weights for k in bases]) / probes
