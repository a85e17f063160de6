"""Shares of samples, such as an accuracy, and how far the samples determine them."""

import math
from statistics import NormalDist


def wilson(count: float, samples: int, level: float = 0.05) -> tuple[float, float]:
    """The interval of a share, which stays within 0 and 1.

    (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n), with p = count / samples and z the normal quantile.

    Args:
        count: samples that count, such as the correct ones.
        samples: all of them.
        level: 1 − confidence.

    >>> [round(end, 3) for end in wilson(140, 144)]
    [0.931, 0.989]

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    z = NormalDist().inv_cdf(1 - level / 2)
    share, z2 = count / samples, z * z
    middle = (share + z2 / (2 * samples)) / (1 + z2 / samples)
    half = z * math.sqrt(share * (1 - share) / samples + z2 / (4 * samples**2)) / (1 + z2 / samples)
    return max(0.0, middle - half), min(1.0, middle + half)


def difference_of_shares(one: float, other: float, samples: int, level: float = 0.05) -> tuple[float, float]:
    """The interval of other − one, two shares of `samples` samples each, as if the samples were independent ones.

    Each end joins those of Wilson's intervals (l₁, u₁) and (l₂, u₂) by their distances from the shares:
    δ − √((p₂ − l₂)² + (u₁ − p₁)²) to δ + √((u₂ − p₂)² + (p₁ − l₁)²).

    Args:
        one, other: the shares.
        samples: of each.
        level: 1 − confidence.

    >>> low, high = difference_of_shares(140 / 144, 141 / 144, 144, 0.05 / 3)
    >>> round(low, 3), round(high, 3)
    (-0.048, 0.064)

    Source: Newcombe 1998, method 10, doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I.
    """
    l1, u1 = wilson(one * samples, samples, level)
    l2, u2 = wilson(other * samples, samples, level)
    shift = other - one
    return shift - math.hypot(other - l2, u1 - one), shift + math.hypot(u2 - other, one - l1)
