"""A user's script, which pyright checks against the installed wheel: `reveal_type` is compared with the comment."""

from typing import TYPE_CHECKING, reveal_type

import torch

import steepest as sd


def main() -> None:
    """Trains, asks, and passes two wrong arguments, which the checker must find."""
    x = torch.linspace(-1, 1, 60)[:, None]
    net = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    task = sd.Task(net, (x, torch.sin(3 * x)), torch.nn.functional.mse_loss, validation=(x, torch.sin(3 * x)))
    reveal_type(task)  # Task
    run = sd.fit(task, "adam", 0.03, batch_size=20, epochs=5)
    reveal_type(run)  # Run
    reveal_type(run.status)  # str
    reveal_type(sd.diagnose(run))  # Diagnosis
    for step in sd.descend(task, sd.momentum(beta=0.9), lr=0.1, batch_size="full", steps=3):
        reveal_type(step)  # Step
        reveal_type(step.loss)  # float
    reveal_type(sd.optim.AdamW(net.parameters(), lr=1e-3))  # AdamW
    if TYPE_CHECKING:
        sd.fit(task, "adam", 0.03, epoch=5)  # error
        sd.fit(task, "adam", lr=[0.03])  # error


if __name__ == "__main__":
    main()
