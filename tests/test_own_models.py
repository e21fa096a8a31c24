"""Networks of the kinds that users have reach every number by a file and a problem alone."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import landscape
from cli.main import run

EXAMPLES = Path(__file__).parent.parent / "examples"
FORMATS = {
    "batch_norm.py": ".h5",
    "models/nnx_network.py": ".h5",
    "models/equinox_network.py": ".h5",
    "models/transformer.py": ".h5",
    "models/torch_state_dict.py": ".safetensors",
    "models/two_outputs.py": ".npz",
    "models/residual_network.py": ".h5",
}
LARGE = "models/residual_network.py"


def saved(example: dict[str, Any], folder: Path, ending: str) -> tuple[list[Any], list[str]]:
    """Save two untrained networks as the example does; return both and their files."""
    paths = [str(folder / f"{name}{ending}") for name in "ab"]
    networks = [example["train"](seed, steps=0) for seed in range(2)]
    for network, path in zip(networks, paths, strict=True):
        if ending == ".npz":
            np.savez(path, **network)
        elif ending == ".safetensors":
            example["save_file"](example["state_dict"](network), path)
        elif isinstance(network, dict) and "batch_stats" in network:
            landscape.save(path, landscape.Checkpoint(**network))
        else:
            landscape.save(path, landscape.Checkpoint(params=network))
    return networks, paths


def answer(capsys: pytest.CaptureFixture[str], *command: str) -> dict[str, Any]:
    """Return the data that a command prints as JSON."""
    assert run([*command, "--json"]) in (0, 4)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)["data"]
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_networks_of_users_reach_every_number_by_file_and_problem(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = runpy.run_path(str(EXAMPLES / name))
    networks, (a, b) = saved(example, tmp_path, FORMATS[name])
    own = ["--problem", f"{EXAMPLES / name}:problem"]
    barrier = answer(capsys, "barrier", a, b, *own, "--points", "3", "--no-refine", "--batch-stats", "keep")
    by_hand = [loss_of(example, network) for network in networks]
    np.testing.assert_allclose(np.take(barrier["losses"]["train"]["loss"], [0, 2]), by_hand, rtol=1e-5)
    if name == LARGE:  # its products take a minute to compile
        return
    few = [*own, "--examples", "16"]
    curvature = answer(capsys, "curvature", a, *few, "--top", "1", "--tolerance", "0.1", "--no-trace")
    record = curvature["records"][0]
    assert record["residuals"][0] <= 0.1 * abs(record["eigenvalues"][0])
    flatness = answer(capsys, "flatness", a, *few, "--measures", "sam,fisher_rao")
    assert {one["measure"]: one["status"] for one in flatness["records"]} == {"sam": "ok", "fisher_rao": "ok"}


def loss_of(example: dict[str, Any], network: Any) -> float:
    """Return the (weighted) mean loss over the training data, by one call of the example's own function."""
    problem = example["problem"]()
    data = example["data"](0, problem.num_examples("train"))
    weights = None if problem.weights is None else np.asarray(problem.weights(data), np.float64)
    if isinstance(network, dict) and "batch_stats" in network:
        network = (network["params"], network["batch_stats"])
    return float(np.average(np.asarray(example["loss"](network, data), np.float64), weights=weights))
