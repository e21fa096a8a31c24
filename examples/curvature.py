"""Curvature of a network of your own: eigenvalues with residuals, and the trace of every layer.

    python examples/curvature.py a.h5 b.h5
    landscape curvature a.h5 b.h5 --problem examples/own_model.py:problem --density -o curvature.html

The same seed gives bit-identical numbers.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import landscape

sys.path.append(str(Path(__file__).parent))
import own_model


def params(seed: int) -> Any:
    """Return a random network of the example's shape."""
    rng = np.random.default_rng(seed)
    hidden = {"kernel": rng.normal(size=(2, 16)), "bias": rng.normal(size=16)}
    output = {"kernel": 0.3 * rng.normal(size=(16, 1)), "bias": np.zeros(1)}
    tree = {"hidden": hidden, "output": output}
    return {name: {key: x.astype(np.float32) for key, x in leaves.items()} for name, leaves in tree.items()}


def main(paths: list[str]) -> None:
    """Measure one network closely, and two side by side."""
    problem = own_model.problem()
    operator = landscape.hessian(problem, params(0))
    print(landscape.top_eigenpairs(operator, 3))
    print(landscape.trace(operator, num_groups=8))
    networks = [landscape.Checkpoint(params=params(seed)) for seed in range(len(paths))]
    for path, network in zip(paths, networks, strict=True):
        landscape.save(path, network, force=True)
    print(landscape.curvature_table(problem, paths, k=2))


if __name__ == "__main__":
    main(sys.argv[1:] or ["a.h5", "b.h5"])
