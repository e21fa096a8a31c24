"""Barriers before and after an alignment: in results, on pages, in tables and on the command line."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import alignment as planting
from cli.main import run
from landscape import Checkpoint, Problem, align, barrier_matrix, load_result, loss_barrier, save
from landscape.errors import ConfigurationError, NonFiniteError
from landscape.plots.points import points_of
from landscape.plots.report import page_of
from trainers.tasks import load_task

SMALL: dict[str, Any] = {"num_points": 5, "num_resamples": 50}


def _trio() -> tuple[Problem, list[Any]]:
    """Return a network, a permuted copy with a little noise, and another network."""
    problem, a, b = planting.planted("residual", 6, 3)
    rng = np.random.default_rng(0)
    b = {name: leaf + 0.01 * rng.normal(size=leaf.shape).astype(np.float32) for name, leaf in b.items()}
    return problem, [a, b, planting.parameters("residual", 6, 8)]


@pytest.mark.parametrize("method", ["weights", "activations"])
def test_the_aligned_path_is_that_of_the_aligned_network_and_the_one_before_is_kept(method: str) -> None:
    problem, (a, b, _) = _trio()
    found = loss_barrier(problem, a, b, align=method, **SMALL)
    plain = loss_barrier(problem, a, b, **SMALL)
    moved = align(problem, a, b, method=method)
    after = loss_barrier(problem, a, moved.params, **SMALL)
    np.testing.assert_array_equal(found.losses["train"]["loss"], after.losses["train"]["loss"])
    assert found.barrier_above_chord == after.barrier_above_chord
    assert found.aligned is not None
    before = found.aligned["before"]
    np.testing.assert_array_equal(before["losses"]["train"]["loss"], plain.losses["train"]["loss"])
    assert before["barrier_above_mean"] == plain.barrier_above_mean
    assert found.aligned["moved"] == moved.moved
    assert found.config["align"] == method
    assert found.provenance["digests"]["b"] == plain.provenance["digests"]["b"]
    assert plain.aligned is None


def test_a_matrix_holds_what_its_pairs_were_and_equals_pairwise_calls() -> None:
    problem, networks = _trio()
    names = ["a", "b", "c"]
    found = barrier_matrix(problem, networks, align="weights", names=names, **SMALL)
    plain = barrier_matrix(problem, networks, names=names, **SMALL)
    assert found.aligned is not None
    unaligned = found.unaligned()
    np.testing.assert_array_equal(unaligned.matrix(), plain.matrix())
    np.testing.assert_array_equal(unaligned.distances, plain.distances)
    assert found.names == plain.names
    assert found.relations == plain.relations
    np.testing.assert_array_equal(found.pairs, plain.pairs)
    assert found.distances[0] < 0.1 * plain.distances[0]  # the noisy copy stands beside the first again
    assert len(found.aligned["moved"]) == 2
    for shares in found.aligned["moved"].values():
        assert shares.shape == (3,)
        assert shares[0] == 0
        assert shares[1] > 0
    assert found.config["pairs"] == "all"
    assert len(found.provenance["digests"]["networks"]) == 3
    assert len(found.provenance["digests"]["aligned"]) == 2


def test_aligned_results_come_back_from_disk_and_are_drawn_with_both_paths(tmp_path: Path) -> None:
    problem, networks = _trio()
    one = loss_barrier(problem, *networks[:2], align="weights", symmetry="permutation", **SMALL)
    many = barrier_matrix(problem, networks, align="weights", names=["a", "b", "c"], **SMALL)
    for name, result in {"one": one, "many": many}.items():
        result.save(tmp_path / f"{name}.h5")
        again = load_result(tmp_path / f"{name}.h5")
        assert again.to_dict() == result.to_dict()
        assert "before alignment" in str(again)
        assert "aligned by" in str(again)
        page_of(again).write(tmp_path / f"{name}.html", plotlyjs="cdn")
        assert "Units that moved" in (tmp_path / f"{name}.html").read_text(encoding="utf-8")
        rows = points_of(again)
        assert {row["name"].endswith("before alignment") for row in rows} == {True, False}
    page = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert "train before alignment" in page
    assert "Barriers before and after" in (tmp_path / "many.html").read_text(encoding="utf-8")


def test_two_equal_networks_stay_equal_and_three_on_a_line_are_measured() -> None:
    problem, (a, b, _) = _trio()
    same = loss_barrier(problem, a, a, align="weights", **SMALL)
    assert same.identical
    assert same.barrier_above_chord == 0
    middle = {name: (a[name] + b[name]) / 2 for name in a}
    found = barrier_matrix(problem, [a, middle, b], align="activations", names=["a", "m", "b"], **SMALL)
    assert np.isfinite(found.matrix()).all()


def test_a_matrix_that_was_stopped_goes_on(tmp_path: Path) -> None:
    problem, networks = _trio()
    options: dict[str, Any] = {**SMALL, "align": "weights", "names": ["a", "b", "c"]}
    whole = barrier_matrix(problem, networks, **options)

    class Stop:
        def __init__(self) -> None:
            self.points = 0

        def start(self, label: str, total: int | None = None) -> None: ...

        def advance(self, n: int = 1, **fields: Any) -> None:
            self.points += n
            if self.points > 12:
                raise KeyboardInterrupt

        def note(self, text: str) -> None: ...

        def stop(self) -> None: ...

    with pytest.raises(KeyboardInterrupt):
        barrier_matrix(problem, networks, **options, resume=tmp_path / "kept", progress=Stop())
    assert list((tmp_path / "kept").glob("*.h5"))
    again = barrier_matrix(problem, networks, **options, resume=tmp_path / "kept")
    np.testing.assert_array_equal(again.matrix(), whole.matrix())
    np.testing.assert_array_equal(again.unaligned().matrix(), whole.unaligned().matrix())


@pytest.mark.faults
def test_what_cannot_be_aligned_before_a_path_is_refused() -> None:
    problem, (a, b, _) = _trio()
    with pytest.raises(ConfigurationError, match="align"):
        loss_barrier(problem, a, b, align="luck", **SMALL)
    with pytest.raises(ConfigurationError, match="symmetry"):
        barrier_matrix(problem, [a, b], align="weights", symmetry="mirror", **SMALL)
    bad = {**b, "in": np.full_like(b["in"], np.nan)}
    with pytest.raises(NonFiniteError):
        loss_barrier(problem, a, bad, align="weights", **SMALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three networks of the digits task."""
    folder = tmp_path_factory.mktemp("aligned")
    network = {"kind": "mlp", "widths": [5]}
    info = {"task": {"name": "digits", "options": {}}, "network": network}
    for seed, name in enumerate("abc"):
        params = load_task("digits", network).init(seed)
        save(folder / f"{name}.h5", Checkpoint(params=params, info=info))
    return folder


def test_the_command_writes_both_paths_and_the_moved_units(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(folder)
    scaled = ["--symmetry", "permutation", "--symmetry", "scale"]
    options = ["--points", "3", "--resamples", "50", "--align", "weights", "-q", "--force"]
    files = ["-o", "pair.html", "-o", "pair.csv", "-o", "pair.h5"]
    assert run(["barrier", "a.h5", "b.h5", *options, *files, *scaled]) == 0
    out = capsys.readouterr().out
    assert "moved, Dense_0/bias[0]" in out
    assert "before alignment" in out
    with (folder / "pair.csv").open(encoding="utf-8") as file:
        names = {row["name"] for row in csv.DictReader(file)}
    assert len(names) == 2
    again = ["barrier", "--config", "pair.h5", "-q", "-o", "again.h5", "--force"]
    assert run(again) == 0
    first, second = (load_result(folder / name) for name in ("pair.h5", "again.h5"))
    assert second.config["symmetry"] == ["permutation", "scale"]
    assert first.to_dict()["data"] == second.to_dict()["data"]
    assert run(["barrier", "a.h5", "b.h5", "c.h5", *options, "-o", "matrix.html", "-o", "matrix.csv"]) == 0
    assert "of 5 units per network" in capsys.readouterr().out
    assert "before alignment" in (folder / "matrix.csv").read_text(encoding="utf-8")


def test_a_dry_run_counts_both_paths(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(folder)
    assert run(["barrier", "a.h5", "b.h5", "--align", "weights", "--dry-run"]) == 0
    assert "losses, train, after" in capsys.readouterr().out
