"""The quickstart tells the story of whatever it was configured to train."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from trainers import resolve
from trainers.reports import run_quickstart
from trainers.reports.quickstart import Quickstart
from trainers.reports.quickstart_page import _introduction

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
