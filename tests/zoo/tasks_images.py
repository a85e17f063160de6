"""Images: convolutions, batch norm, generative models, a vision transformer."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

import steepest as sd
from tests.zoo.case import EVERY, Case
from tests.zoo.datasets import images, table
from tests.zoo.tasks_basic import accuracy, cross_entropy, mse


def convolution() -> sd.Task:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 2))
    return sd.Task(
        net, images(192), nn.CrossEntropyLoss(), validation=images(200, seed=1), metrics={"accuracy": sd.accuracy}
    )


def batch_norm_images() -> sd.Task:
    """The last batch is one image, which is enough for the statistics of its pixels."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 2))
    return sd.Task(
        net, images(161), nn.CrossEntropyLoss(), validation=images(200, seed=1), metrics={"accuracy": sd.accuracy}
    )


def batch_norm_rows() -> sd.Task:
    """The last batch is one row, of which batch norm cannot take a variance."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))
    return sd.Task(net, table(161), nn.MSELoss(), validation=table(64, seed=1))


class Residual(nn.Module):
    """Batch norm beside a skip connection."""

    def __init__(self):
        super().__init__()
        self.norm, self.inside, self.out = nn.BatchNorm1d(6), nn.Linear(6, 6), nn.Linear(6, 1)

    def forward(self, x):
        return self.out(x + torch.tanh(self.inside(self.norm(x))))


def batch_norm() -> sd.Task:
    torch.manual_seed(0)
    return sd.Task(Residual(), table(320), F.mse_loss, validation=table(80, seed=1))


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.mean, self.log_var = nn.Linear(64, 24), nn.Linear(24, 3), nn.Linear(24, 3)
        self.decode = nn.Sequential(nn.Linear(3, 24), nn.ReLU(), nn.Linear(24, 64))

    def forward(self, x):
        h = torch.relu(self.encode(x.flatten(1)))
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean) if self.training else mean
        return self.decode(z).view_as(x), mean, log_var


def elbo(output, x):
    picture, mean, log_var = output
    divergence = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1).mean()
    return F.mse_loss(picture, x, reduction="sum") / len(x) + divergence


def vae() -> sd.Task:
    torch.manual_seed(0)
    x, v = images(256)[0], images(64, seed=1)[0]
    return sd.Task(VAE(), (x, x), elbo, validation=(v, v))


def autoencoder() -> sd.Task:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 64), nn.Unflatten(1, (1, 8, 8))
    )  # fmt: skip
    x, v = images(256)[0], images(64, seed=1)[0]
    return sd.Task(net, (x, x), nn.MSELoss(), validation=(v, v))


class Pictures(Dataset):
    """Rows as Hugging Face's datasets give them."""

    def __init__(self, n: int, seed: int):
        self.x, self.y = images(n, seed=seed)
        self.x = self.x + 0.5 * self.y.view(-1, 1, 1, 1)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return {"pixel_values": self.x[i], "labels": self.y[i]}


def vit() -> sd.Task:
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(
        image_size=8, patch_size=4, num_channels=1, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, num_labels=2, hidden_dropout_prob=0.1,
    )  # fmt: skip
    return sd.Task(
        ViTForImageClassification(config),
        Pictures(192, 0),
        objective=lambda model, batch: model(**batch).loss,
        predict=lambda model, batch: (model(pixel_values=batch["pixel_values"]).logits, batch["labels"]),
        validation=Pictures(64, 1),
        metrics={"accuracy": sd.accuracy},
    )


def vit_accuracy(model, batches):
    hits = [(model(pixel_values=b["pixel_values"]).logits.argmax(1) == b["labels"]).double() for b in batches]
    return torch.cat(hits).mean().item()


def labels(batch):
    return float(len(batch["labels"]))


CASES = (
    Case("convolution", convolution, cross_entropy, metric=accuracy),
    Case("batch norm", batch_norm, mse),
    Case("batch norm of images, last batch of one", batch_norm_images, cross_entropy, metric=accuracy),
    Case(
        "batch norm of rows, last batch of one",
        batch_norm_rows,
        mse,
        refuses={EVERY: (r"batch", "batch norm has no variance of one row; torch raises too")},
    ),
    Case("VAE", vae, lambda m, b: elbo(m(b[0]), b[1]), has_own_noise=True),
    Case("autoencoder", autoencoder, mse),
    Case(
        "ViT of Hugging Face, dict rows",
        vit,
        lambda m, b: m(**b).loss,
        weight=labels,
        metric=vit_accuracy,
        has_own_noise=True,
        rule="momentum",  # Adam makes steps of the rounding errors in the gradient of the keys' bias, which is 0
        lr=1e-2,
        epochs=5,
        races=("momentum", "adam"),
    ),
)
