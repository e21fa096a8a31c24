"""Smoothed traces of many networks, search distributions against smoothed diagonals, and the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import episodes
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stopping import Stopped, Stopping

import landscape
from cli.main import run
from landscape import Checkpoint, Problem, load_result, save
from landscape.curvature import smoothed_cost
from landscape.errors import CheckpointError, ConfigurationError
from landscape.plots.points import points_of
from landscape.plots.report import report_page

CURVED = np.geomspace(0.1, 100, 40)


def bowl(params: Any, batch: Any) -> jax.Array:
    return 0.5 * jnp.sum(jnp.asarray(CURVED, params["w"].dtype) * params["w"] ** 2) + 0 * batch


BOWL = Problem(bowl, train=np.zeros(2, np.float32), differentiable=False, name="bowl")


def networks() -> list[Checkpoint]:
    """Return the weights of the pole at three sizes, as levels of one run, with a search distribution."""
    params = episodes.balancing()
    grown = [jax.tree.map(lambda x, f=f: (x * f).astype(np.float32), params) for f in (1.0, 1.1, 1.2)]
    return [
        Checkpoint(
            params=one,
            std=jax.tree.map(lambda x: 0.05 + 0.1 * np.abs(x), one),
            info={"method": "es-snr", "seed": 0, "level": level},
        )
        for level, one in enumerate(grown)
    ]


def test_a_table_holds_the_trace_of_every_network(tmp_path: Path) -> None:
    problem, given = episodes.pole(), networks()
    more: dict[str, Any] = {"radius": 0.1, "relative_error": 0.3}
    table = landscape.smoothed_table(problem, given, names=["a", "b", "c"], **more)
    for checkpoint, record in zip(given, table.records, strict=True):
        alone = landscape.smoothed_trace(problem, checkpoint, **more)
        assert record["trace"]["value"] == alone.value
        assert record["trace"]["interval"] == list(alone.interval)
        assert record["num_pairs"] == alone.num_pairs
    again = load_result(table.save(tmp_path / "table.h5"))
    assert str(again) == str(table)
    assert "smoothed_hessian (radius 0.1) of train, 24 examples, 3 checkpoints" in str(again)
    assert [row["quantity"] for row in points_of(again)] == ["smoothed trace"] * 12
    assert len(again.plot().data) > 3
    assert "smoothed by noise" in report_page({"table": again}).html(plotlyjs="cdn")
    single = landscape.smoothed_table(problem, given[:1], **more)
    assert "before them as a pilot" in str(single)
    assert "radius 0.1" in report_page({"table": single}).html(plotlyjs="cdn")
    assert (
        len(landscape.smoothed_table(problem, given[:1], per_layer=False, **more).records[0]["per_layer"])
        == 0
    )


@pytest.mark.parametrize("setting", [{"names": ["a"]}, {"form": "cube"}, {"radius": 0.0}, {"max_pairs": 0}])
def test_a_table_refuses_settings_that_mean_nothing(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        landscape.smoothed_table(BOWL, [{"w": np.ones(40)}, {"w": np.ones(40)}], **{"radius": 0.1, **setting})
    with pytest.raises(ConfigurationError, match="nothing to measure"):
        landscape.smoothed_table(BOWL, [], radius=0.1)


def test_a_stopped_table_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    given = [{"w": np.full(40, size, np.float32)} for size in (0.0, 1.0)]
    more: dict[str, Any] = {"radius": 0.3, "relative_error": 0.2}
    whole = landscape.smoothed_table(BOWL, given, **more)
    folder = tmp_path / "kept"
    with pytest.raises(Stopped):
        landscape.smoothed_table(BOWL, given, resume=folder, progress=Stopping(149), **more)
    assert list(folder.glob("network-*/pairs.h5"))
    with pytest.raises(CheckpointError, match="another computation"):
        landscape.smoothed_table(BOWL, given, resume=folder, seed=2, **more)
    again = landscape.smoothed_table(BOWL, given, resume=folder, **more)
    assert [r["trace"] for r in again.records] == [r["trace"] for r in whole.records]
    assert not folder.exists()


def test_a_search_distribution_that_follows_the_curvature_is_found_without_derivatives() -> None:
    """On a quadratic 1/σ² ∝ H_ii is ideal; a flat distribution, and a shuffled one, do not follow."""
    params = {"w": np.zeros(40, np.float32)}
    ideal = Checkpoint(params=params, std={"w": (CURVED**-0.5).astype(np.float32)})
    shuffled = np.random.default_rng(0).permutation(CURVED)
    other = Checkpoint(params=params, std={"w": (shuffled**-0.5).astype(np.float32)})
    found = landscape.scale_curvature(BOWL, [ideal, other], smoothed=0.5, num_probes=4000)
    follows, not_so = (record for record in found.records if record["layer"] == "all")
    assert found.method == "smoothed"
    assert follows["linear_corrected"] > 0.9
    assert follows["linear_corrected"] > follows["linear"]
    assert follows["rank"] > 0.5
    assert abs(not_so["linear"]) < 0.5
    exact = landscape.scale_curvature(Problem(bowl, train=np.zeros(2, np.float32)), ideal)
    assert follows["linear_corrected"] == pytest.approx(exact.records[0]["linear"], abs=0.1)
    assert "Hessian diagonal (smoothed)" in str(found)


def test_the_estimate_counts_passes_alone() -> None:
    given = networks()
    found = smoothed_cost(episodes.pole(), given, relative_error=0.1)
    assert round(found.parts["trace"].passes) == 4 * 500
    assert (found.parts["trace"].gradients, found.networks) == (0, 3)
    capped = smoothed_cost(episodes.pole(), given, relative_error=0.01, max_pairs=300, form="sphere")
    assert capped.parts["trace"].passes == 2 * 300
    assert smoothed_cost(episodes.pole(), given, num_pairs=400).parts["diagonal"].passes == 800


# -- the command -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(Path(__file__).parent / "episodes.py", tmp_path)
    for name, checkpoint in zip("ab", networks(), strict=False):
        save(tmp_path / f"{name}.h5", checkpoint)
    monkeypatch.chdir(tmp_path)
    return tmp_path


POLE = ["--problem", "episodes.py:pole", "-q"]


def test_the_command_measures_control_policies(folder: Path, capsys: Any) -> None:
    given = ["curvature", "a.h5", "b.h5", *POLE, "--smoothed", "0.1", "--relative-error", "0.3"]
    assert run([*given, "-o", "s.h5", "-o", "s.html", "--json"]) == 0
    form = json.loads(capsys.readouterr().out)
    assert form["data"]["matrix"] == "smoothed_hessian"
    assert form["config"]["radius"] == 0.1
    assert form["data"]["records"][1]["trace"]["method"] == "gaussian"
    assert not (folder / "s.partial").exists()
    assert run(["curvature", "--config", "s.h5", *POLE, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["records"] == form["data"]["records"]
    assert run(["curvature", "a.h5", *POLE, "--smoothed", "0.1", "--scale", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["method"] == "smoothed"
    assert run(["curvature", "a.h5", *POLE, "--smoothed", "0.1", "--dry-run"]) == 0
    assert "8,000 passes" in capsys.readouterr().out


@pytest.mark.faults
def test_the_command_names_what_to_do_without_derivatives(folder: Path, capsys: Any) -> None:
    assert run(["curvature", "a.h5", *POLE]) == 3
    assert "landscape curvature CKPT --smoothed RADIUS" in capsys.readouterr().err
    assert run(["curvature", "a.h5", *POLE, "--dry-run"]) == 3
    assert "--smoothed RADIUS" in capsys.readouterr().err
    for wrong, said in (
        (["--smoothed", "0.1", "--top", "3"], "--top: not with --smoothed"),
        (["--smoothed", "0.1", "--density"], "--density: not with --smoothed"),
        (["--form", "sphere"], "--form: only with --smoothed"),
        (["--smoothed", "0"], "--smoothed"),
    ):
        assert run(["curvature", "a.h5", *POLE, *wrong]) == 2
        assert said in capsys.readouterr().err
