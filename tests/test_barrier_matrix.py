"""Barriers between many networks: each pair alone, patterns of pairs, and going on after a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stopping import Stopped, Stopping

from landscape import Checkpoint, Metric, Problem, barrier_matrix, load_result, loss_barrier, save
from landscape.connectivity import PATTERNS
from landscape.connectivity.relations import chosen_pairs, record_of, relation
from landscape.errors import (
    ArchitectureMismatchError,
    CheckpointError,
    ConfigurationError,
    InputError,
    NonFiniteError,
)

X = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
Y = np.sin(X.sum(axis=1)).astype(np.float32)


def _loss(params: Any, batch: Any) -> Any:
    import jax.numpy as jnp

    return (jnp.tanh(batch[0] @ params["w"]) @ params["v"] - batch[1]) ** 2


def _problem() -> Problem:
    close = Metric(lambda params, batch: _loss(params, batch) < 0.1, higher_is_better=True)
    return Problem(_loss, train=(X, Y), test=(X[:11], Y[:11]), metrics={"close": close})


def _network(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"w": rng.normal(size=(3, 5)).astype(np.float32), "v": rng.normal(size=5).astype(np.float32)}


NETWORKS = [_network(seed) for seed in range(4)]


def test_every_pair_is_what_its_own_barrier_says_to_the_bit() -> None:
    problem = _problem()
    found = barrier_matrix(problem, NETWORKS, num_points=7, num_resamples=300)
    for position, (i, j) in enumerate(found.pairs):
        alone = loss_barrier(problem, NETWORKS[i], NETWORKS[j], num_points=7, num_resamples=300, refine=False)
        for split in ("train", "test"):
            for metric in ("loss", "close"):
                np.testing.assert_array_equal(
                    found.losses[split][metric][position], alone.losses[split][metric]
                )
                for definition in ("above_chord", "above_mean"):
                    mine = found.barriers[split][metric][definition][position]
                    assert mine == alone.barriers[split][metric][definition]
        assert tuple(found.intervals["above_chord"][position]) == alone.interval_above_chord
        assert tuple(found.intervals["above_mean"][position]) == alone.interval_above_mean
        assert found.alpha_max["above_chord"][position] == alone.alpha_max["above_chord"]


def test_ends_are_evaluated_once() -> None:
    found = barrier_matrix(_problem(), NETWORKS, num_points=7, num_resamples=20)
    assert found.stats["evaluations"] == 2 * (6 * 5 + 4)  # splits · (pairs · inner points + networks)


def test_the_matrix_is_symmetric_with_nothing_on_its_diagonal_and_gaps_where_nothing_was_measured() -> None:
    whole = barrier_matrix(_problem(), NETWORKS, num_points=5, num_resamples=20)
    matrix = whole.matrix()
    np.testing.assert_array_equal(matrix, matrix.T)
    assert (np.diag(matrix) == 0).all()
    assert sorted(whole.order()) == [0, 1, 2, 3]
    part = barrier_matrix(_problem(), NETWORKS, pairs=[(2, 0), (1, 3)], num_points=5, num_resamples=20)
    assert part.pairs.tolist() == [[0, 2], [1, 3]]
    assert np.isnan(part.matrix()[0, 1])
    assert part.matrix()[2, 0] == matrix[0, 2]
    assert part.matrix(metric="close", split="test").shape == (4, 4)
    with pytest.raises(ConfigurationError, match="nothing measured"):
        part.matrix(metric="error")


def test_networks_of_one_cluster_stand_together_in_the_order_of_the_dendrogram() -> None:
    wells = Problem(lambda p, batch: (p["w"] ** 2 - 1) ** 2 + 0 * batch, train=np.zeros(4, np.float32))
    given = [{"w": np.float32(w)} for w in (-1, 1, -1.01, 1.01, -0.99)]
    found = barrier_matrix(wells, given, num_points=9, num_resamples=20)
    signs = [np.sign(given[i]["w"]) for i in found.order()]
    assert signs in ([-1, -1, -1, 1, 1], [1, 1, -1, -1, -1])


def test_identical_networks_have_no_barrier_and_say_so() -> None:
    found = barrier_matrix(_problem(), [NETWORKS[0], NETWORKS[0], NETWORKS[1]], num_points=5)
    assert found.identical.tolist() == [True, False, False]
    assert found.barriers["train"]["loss"]["above_chord"][0] == 0
    assert found.distances[0] == 0


def _info(method: str, init: int, train: int, level: int) -> dict[str, Any]:
    return {"method": method, "seeds": {"init": init, "train": train}, "level": level}


RUN = [
    _info("es", 0, 0, 0),
    _info("es", 0, 0, 1),
    _info("es", 0, 0, 2),
    _info("es", 0, 1, 0),
    _info("es", 2, 2, 0),
    _info("gd", 0, 0, 1),
]


def test_patterns_choose_the_pairs_that_their_words_say() -> None:
    records = [record_of(str(i), info, None) for i, info in enumerate(RUN)]
    assert chosen_pairs("levels", records) == [(0, 1), (1, 2)]
    assert chosen_pairs("dense", records) == [(0, 1), (0, 2)]
    assert chosen_pairs("one-init", records) == [(0, 3)]
    assert chosen_pairs("two-inits", records) == [(0, 4), (3, 4)]
    assert chosen_pairs("methods", records) == [(1, 5)]
    assert chosen_pairs(["methods", "levels"], records) == [(0, 1), (1, 2), (1, 5)]
    assert len(chosen_pairs("all", records)) == 15
    assert relation(records[0], records[2]) == "dense"
    assert relation(records[0], record_of("x", None, None)) == "other"


@pytest.mark.faults
def test_pairs_that_mean_nothing_are_refused() -> None:
    records = [record_of(str(i), info, None) for i, info in enumerate(RUN)]
    with pytest.raises(ConfigurationError, match="unknown pattern 'seeds'"):
        chosen_pairs("seeds", records)
    with pytest.raises(InputError, match="none of the 1"):
        chosen_pairs("levels", records[:1])
    for wrong in ([(0, 0)], [(0, 9)], [(0,)], [3], [(0.5, 1)]):
        with pytest.raises(ConfigurationError, match="pairs"):
            chosen_pairs(wrong, records)
    assert "all" in PATTERNS


def test_a_stopped_matrix_goes_on_and_is_the_uninterrupted_one(tmp_path: Path) -> None:
    folder, options = tmp_path / "kept", {"num_points": 5, "num_resamples": 50}
    with pytest.raises(Stopped):
        barrier_matrix(_problem(), NETWORKS, resume=folder, progress=Stopping(12), **options)
    assert len(list(folder.iterdir())) == 2
    resumed = barrier_matrix(_problem(), NETWORKS, resume=folder, **options)
    whole = barrier_matrix(_problem(), NETWORKS, **options)
    assert resumed.to_dict()["data"] == whole.to_dict()["data"]
    assert not folder.exists()
    with pytest.raises(Stopped):
        barrier_matrix(_problem(), NETWORKS, resume=folder, progress=Stopping(12), **options)
    with pytest.raises(CheckpointError, match="another computation"):
        barrier_matrix(_problem(), NETWORKS[:3], resume=folder, **options)


def test_a_matrix_comes_back_from_disk_and_has_one_row_per_number(tmp_path: Path) -> None:
    paths = []
    for i, (network, info) in enumerate(zip(NETWORKS, RUN, strict=False)):
        paths.append(save(tmp_path / f"{i}.h5", Checkpoint(params=network, info=info)))
    found = barrier_matrix(_problem(), paths, num_points=5, num_resamples=50)
    assert [record["method"] for record in found.records] == ["es"] * 4
    found.save(tmp_path / "m.h5")
    again = load_result(tmp_path / "m.h5")
    assert again.to_dict() == found.relative_to(tmp_path).to_dict()  # names of files are relative
    assert str(again) == str(found)
    headers, rows = found.table()
    assert len(rows) == 6 * 2 * 2 * 2
    assert {len(row) for row in rows} == {len(headers)}
    chord = [row for row in rows if row[headers.index("low")] is not None]
    assert len(chord) == 6 * 2


@pytest.mark.faults
def test_row_10_and_12_networks_that_do_not_fit_are_refused_before_anything_is_measured() -> None:
    with pytest.raises(ArchitectureMismatchError):
        barrier_matrix(_problem(), [*NETWORKS, {"w": NETWORKS[0]["w"]}])
    broken = {**NETWORKS[0], "v": np.full(5, np.inf, np.float32)}
    with pytest.raises(NonFiniteError):
        barrier_matrix(_problem(), [*NETWORKS, broken])
    with pytest.raises(InputError, match="at least two"):
        barrier_matrix(_problem(), NETWORKS[:1])
    with pytest.raises(ConfigurationError, match="names"):
        barrier_matrix(_problem(), NETWORKS, names=["a"])


@pytest.mark.faults
def test_row_13_a_pair_whose_path_overflows_has_no_barrier_and_the_others_do() -> None:
    import jax.numpy as jnp

    problem = Problem(lambda p, batch: jnp.exp(p["w"] ** 2) + 0 * batch, train=np.zeros(4, np.float32))
    given = [{"w": np.float32(w)} for w in (0, 1, 20)]
    found = barrier_matrix(problem, given, num_points=5, num_resamples=20)
    assert found.status == "incomplete"
    assert np.isfinite(found.barriers["train"]["loss"]["above_chord"]).tolist() == [True, False, False]
    assert np.isnan(found.intervals["above_chord"][1]).all()
