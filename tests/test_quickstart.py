"""The quickstart tells the story of whatever it was configured to train."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from trainers import resolve
from trainers.reports import run_quickstart
from trainers.reports.quickstart import Quickstart
from trainers.reports.quickstart_page import _introduction
from trainers.reports.story import BarrierRow, barrier_mean

if TYPE_CHECKING:
    from landscape import Barrier

SMALL = [
    "network.widths=[4]",
    "pruning.levels=2",
    "evolution.population_size=8",
    "evolution.generations=4",
    "evolution.batch_size=32",
    "gradient.epochs=1",
    "runtime.chunk_seconds=0.05",
]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Quickstart:
    """Methods by strategy, by optimiser and by a table with densities of its own."""
    methods = [
        "methods=['snes-snr', 'es-random', 'adam-magnitude', 'late']",
        "method={late={algorithm='es', score='magnitude', pruning={densities=[1.0, 0.3, 0.1]}}}",
        "seeds=[{init=0, train=0}, {init=0, train=1}]",
    ]
    return run_quickstart(tmp_path_factory.mktemp("story"), overrides=[*SMALL, *methods], plotlyjs="cdn")


def test_any_legal_method_is_told_by_its_name(story: Quickstart) -> None:
    page = story.page.read_text(encoding="utf-8")
    for name in ("snes-snr", "adam-magnitude", "late"):
        assert name in page
    assert "Evolution (snes, 8 members, 4 generations per level) never sees a gradient; it prunes by" in page
    assert "Gradient descent (adam, 1 epoch per level) prunes by magnitude" in page


def test_every_method_has_the_densities_of_its_own_schedule(story: Quickstart) -> None:
    accuracy = story.to_dict()["accuracy"]
    assert list(accuracy["late"]) == ["1", "0.3", "0.1"]
    assert list(accuracy["snes-snr"]) == ["1", "0.7"]
    assert all(len(values) == 2 for levels in accuracy.values() for values in levels.values())


def test_barriers_are_measured_for_methods_that_prune_by_a_score(story: Quickstart) -> None:
    assert story.methods_with_barriers == ["snes-snr", "adam-magnitude", "late"]
    with (story.page.parent / "barriers.csv").open(encoding="utf-8") as file:
        rows = [(row["method"], row["kind"], row["level_a"], row["level_b"]) for row in csv.DictReader(file)]
    assert rows.count(("late", "successive levels", "1", "2")) == 2
    assert ("late", "runs, one initialisation", "2", "2") in rows
    assert not any(row[0] == "es-random" for row in rows)


def some_rows(values: list[list[float]], *, seeds: list[tuple[int, int]]) -> list[BarrierRow]:
    """Rows of barriers with the intervals value ± 0.1."""
    return [
        BarrierRow(
            method="es-snr",
            kind="successive levels",
            seeds=pair,
            levels=(level, level + 1),
            density=0.5,
            barrier=cast(
                "Barrier",
                SimpleNamespace(barrier_above_chord=value, interval_above_chord=(value - 0.1, value + 0.1)),
            ),
        )
        for pair, own in zip(seeds, values, strict=True)
        for level, value in enumerate(own)
    ]


def test_a_mean_barrier_of_five_runs_has_students_interval_over_runs() -> None:
    """Means of the runs are 1 to 5, so the interval is 3 ± t(4) · sqrt(2.5 / 5)."""
    found = barrier_mean(
        some_rows([[k - 0.5, k + 0.5] for k in range(1, 6)], seeds=[(k, k) for k in range(5)])
    )
    half = 2.7764451052 * np.sqrt(0.5)
    assert (found.value, found.over, found.count) == (3.0, "runs", 10)
    assert found.interval == pytest.approx((3 - half, 3 + half))


def test_a_mean_barrier_of_few_runs_or_of_pairs_has_the_interval_over_examples() -> None:
    for seeds in ([(0, 0), (1, 1)], [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3)]):
        found = barrier_mean(some_rows([[0.2 * k] for k in range(len(seeds))], seeds=seeds))
        middle = 0.1 * (len(seeds) - 1)
        assert found.over == "examples"
        assert found.value == pytest.approx(middle)
        assert found.interval == pytest.approx((middle - 0.1, middle + 0.1))


def test_mean_barriers_are_quoted_with_their_intervals(story: Quickstart) -> None:
    lines = dict(story.rows())
    (head, *rows) = read_csv(story.page.with_name("quickstart-data") / "barriers.csv")
    assert head == ["method", "between", "barriers", "mean barrier", "low", "high", "interval over"]
    assert len(rows) == len(story.mean_barriers()) > 0
    for (method, kind), mean in story.mean_barriers().items():
        assert mean.interval is not None
        low, high = mean.interval
        assert low <= mean.value <= high
        assert f"{mean.value:.3g} [{low:.3g}, {high:.3g}]" in lines[f"barrier {method}, {kind}"]
        assert [method, kind, low, high] in [[*row[:2], float(row[4]), float(row[5])] for row in rows]


def read_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def test_a_story_of_one_level_and_one_seed_has_no_barriers_to_show(tmp_path: Path) -> None:
    changes = [*SMALL, "pruning.levels=1", "seeds=[0]", "methods=['es-random']"]
    story = run_quickstart(tmp_path / "story", overrides=changes, plotlyjs="cdn")
    page = story.page.read_text(encoding="utf-8")
    assert "What survives pruning" in page
    assert "independent runs" not in page
    assert not story.barriers


@pytest.mark.parametrize(
    ("preset", "changes", "words"),
    [
        (
            "quickstart",
            [],
            "A small network (32 hidden units) learns the 8×8 digits, is pruned, **rewound",
        ),
        ("quickstart", ["network.widths=[]"], "A linear classifier learns the 8×8 digits"),
        ("mnist-short", [], "LeNet-300-100 learns MNIST"),
        ("mnist-short", ["task=kmnist"], "learns Kuzushiji-MNIST"),
        ("quickstart", ["pruning.rewind=none"], "is pruned and trained again, 11 times over"),
        ("quickstart", ["evolution.strategy=pgpe"], "Evolution (pgpe, 128 members"),
        ("quickstart", [], "search distribution, or prunes at random. Gradient descent (adam, 20 epochs"),
    ],
)
def test_the_introduction_says_what_the_configuration_says(
    preset: str, changes: list[str], words: str
) -> None:
    assert words in _introduction(resolve(preset, overrides=changes))
