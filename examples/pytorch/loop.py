"""A plain PyTorch loop that saves its network as it trains, and what is measured of it.

    python examples/pytorch/loop.py
    landscape curvature last.h5 --problem examples/pytorch/loop.py:problem --top 5 -o curvature.html

The module is taken as it is: its loss, its names, its running statistics. Needs PyTorch: pip install
"ticketscape[torch]".
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

import landscape


def network() -> Any:
    """Return a network with batch normalisation."""
    return nn.Sequential(
        nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2)
    )


def data(seed: int, count: int) -> tuple[Any, Any]:
    """Return points in the plane, and whether each lies inside a ring."""
    points = 2 * torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) - 1
    radius = points.norm(dim=1)
    return points, ((radius > 0.4) & (radius < 0.9)).long()


def right(output: Any, target: Any) -> Any:
    """Return whether each example is classified as it should be [B]."""
    return output.argmax(1) == target


def problem() -> landscape.Problem:
    """Return the problem of the module."""
    accuracy = landscape.Metric(right, higher_is_better=True)
    return landscape.torch_problem(
        network(),
        nn.CrossEntropyLoss(),
        train=data(0, 800),
        test=data(1, 400),
        metrics={"accuracy": accuracy},
    )


def train(seed: int, folder: Path, epochs: int = 20) -> Path:
    """Train by Adam on batches of 100, and save every tenth epoch."""
    torch.manual_seed(seed)
    module, (points, inside) = network(), data(0, 800)
    optimiser = torch.optim.Adam(module.parameters(), 1e-2)
    for epoch in range(1, epochs + 1):
        for chosen in torch.randperm(len(points)).split(100):
            optimiser.zero_grad()
            nn.functional.cross_entropy(module(points[chosen]), inside[chosen]).backward()
            optimiser.step()
        if epoch % 10 == 0:
            path = landscape.save(folder / f"seed-{seed}-epoch-{epoch:02d}.h5", module)
    return path


def main(paths: list[str]) -> None:
    """Train two networks, and measure them."""
    folder = Path(paths[0]) if paths else Path(tempfile.mkdtemp())
    own, (a, b) = problem(), (train(seed, folder) for seed in (0, 1))
    print(landscape.loss_barrier(own, a, b, num_points=11))
    operator = landscape.hessian(own, a)
    print(landscape.top_eigenpairs(operator, 3))
    print(f"second derivatives: {own.derivatives['second']}")


if __name__ == "__main__":
    main(sys.argv[1:2])
