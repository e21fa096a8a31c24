"""A Lightning callback that measures the top of the Hessian's spectrum as a network trains.

    trainer = lightning.Trainer(callbacks=[HessianTop(own, every=5)])

`own` is the problem of the LightningModule: `landscape.torch_problem(module, loss, train=…)`. The class needs
nothing of Lightning but the names of its hooks, and the example below calls them from a loop of its own, so
that it runs without Lightning too. Needs PyTorch: pip install "ticketscape[torch]".
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import landscape

try:
    from lightning.pytorch.callbacks import Callback
except ImportError:  # the same hooks, called by `main`
    Callback = object


class HessianTop(Callback):  # type: ignore[misc,unused-ignore]
    """Measures the largest eigenvalues of the Hessian on the training data after some epochs.

    Parameters
    ----------
    problem : Problem
        Made by `landscape.torch_problem` of the same module.
    count : int
        How many eigenvalues.
    every : int
        Epochs between two measurements.
    """

    def __init__(self, problem: Any, *, count: int = 3, every: int = 1) -> None:
        self.problem = problem
        self.count = count
        self.every = every
        self.found: dict[int, Any] = {}

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure, and log each eigenvalue with its residual."""
        epoch = trainer.current_epoch
        if (epoch + 1) % self.every:
            return
        pairs = landscape.top_eigenpairs(
            landscape.hessian(self.problem, pl_module), self.count, tolerance=1e-3
        )
        self.found[epoch] = pairs
        log = getattr(pl_module, "log", None)
        if log is not None:
            for number, value in enumerate(pairs.eigenvalues, start=1):
                log(f"hessian/eigenvalue-{number}", float(value))


class _Trainer:
    """Stands for Lightning's trainer."""

    current_epoch = 0


def main() -> None:
    """Train a small network, and print the largest eigenvalues along the way."""
    torch.manual_seed(0)
    x = torch.randn(256, 4)
    y = (x[:, 0] * x[:, 1] > 0).long()
    module = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))
    watch = HessianTop(landscape.torch_problem(module, nn.CrossEntropyLoss(), train=(x, y)), every=10)
    optimiser, trainer = torch.optim.SGD(module.parameters(), 0.2), _Trainer()
    for trainer.current_epoch in range(30):
        for chosen in torch.randperm(len(x)).split(32):
            optimiser.zero_grad()
            nn.functional.cross_entropy(module(x[chosen]), y[chosen]).backward()
            optimiser.step()
        watch.on_train_epoch_end(trainer, module)
    for epoch, pairs in watch.found.items():
        print(f"after epoch {epoch + 1}: " + ", ".join(f"{value:.3f}" for value in pairs.eigenvalues))


if __name__ == "__main__":
    main()
