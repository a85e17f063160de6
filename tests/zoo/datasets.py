"""Small synthetic data with something to learn."""

import torch
from torch import Tensor


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def table(n: int = 320, features: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features [n, f], and a smooth function of them with noise [n, 1]."""
    g = generator(seed)
    x = torch.randn(n, features, generator=g)
    y = torch.sin(x[:, :1] * 1.5) + 0.5 * x[:, 1:2] * x[:, 2:3] + x[:, 3:4] + 0.1 * torch.randn(n, 1, generator=g)
    return x, y


def classes(n: int = 320, features: int = 6, k: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features [n, f] around k centres, and the centre's number [n]."""
    g = generator(seed)
    y = torch.randint(k, (n,), generator=g)
    centres = 1.5 * torch.randn(k, features, generator=generator(99))
    return centres[y] + torch.randn(n, features, generator=g), y


def images(n: int = 256, side: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images [n, 1, s, s] with a bar, and whether it lies or stands [n]."""
    g = generator(seed)
    x, y = 0.5 * torch.randn(n, 1, side, side, generator=g), torch.randint(2, (n,), generator=g)
    place = torch.randint(side, (n,), generator=g)
    for i in range(n):
        if y[i]:
            x[i, 0, place[i]] += 2.0
        else:
            x[i, 0, :, place[i]] += 2.0
    return x, y


def series(n: int = 256, length: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Series [n, l, 1], and the next value [n, 1]."""
    g = generator(seed)
    phase, speed = 6.3 * torch.rand(n, 1, generator=g), 0.3 + 0.5 * torch.rand(n, 1, generator=g)
    wave = torch.sin(phase + speed * torch.arange(length + 1.0)) + 0.05 * torch.randn(n, length + 1, generator=g)
    return wave[:, :-1, None], wave[:, -1:]


def words(n: int = 256, length: int = 12, vocabulary: int = 16, seed: int = 0) -> Tensor:
    """Texts [n, l] of a language in which the next word mostly follows from the last one."""
    g = generator(seed)
    text = torch.zeros(n, length, dtype=torch.long)
    text[:, 0] = torch.randint(1, vocabulary, (n,), generator=g)
    for t in range(1, length):
        usual = (3 * text[:, t - 1] + 1) % (vocabulary - 1) + 1
        other = torch.randint(1, vocabulary, (n,), generator=g)
        text[:, t] = torch.where(torch.rand(n, generator=g) < 0.8, usual, other)
    return text


def texts(n: int = 256, longest: int = 10, vocabulary: int = 16, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Padded texts [n, l] with 0 as padding, their lengths [n], and whether low words prevail [n]."""
    g = generator(seed)
    lengths = torch.randint(3, longest + 1, (n,), generator=g)
    x = torch.randint(1, vocabulary, (n, longest), generator=g)
    x = x * (torch.arange(longest) < lengths[:, None])
    low = ((x > 0) & (x < vocabulary // 2)).sum(1)
    return x, lengths, (2 * low > lengths).long()
