"""A word that is not in its list is answered with the nearest one, from Python as on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import landscape
from landscape import Problem
from landscape.errors import LandscapeError, did_you_mean, nearest
from trainers.config import resolve

PROBLEM = Problem(lambda p, batch: (batch @ p["w"]) ** 2, train=np.eye(2, dtype=np.float32))
A, B = {"w": np.array([1, 2], np.float32)}, {"w": np.array([2, 1], np.float32)}

CHOICES: dict[str, Callable[[], Any]] = {
    "gauss_newton": lambda: landscape.curvature_table(PROBLEM, [A], matrix="Gauss-Newton"),
    "largest": lambda: landscape.top_eigenpairs(np.eye(3), 1, which="larger"),
    "hutch++": lambda: landscape.trace(np.eye(3), method="hutchpp"),
    "recompute": lambda: landscape.loss_barrier(PROBLEM, A, B, batch_stats="recomputed"),
    "float64": lambda: landscape.loss_barrier(PROBLEM, A, B, dtype="Float64"),
    "bezier": lambda: landscape.connect(PROBLEM, A, B, curve="bézier"),
    "one-init": lambda: landscape.barrier_matrix(PROBLEM, [A, B], pairs="one_init"),
    "eigenvectors": lambda: landscape.loss_line(PROBLEM, A, directions="eigen-vectors"),
    "weights": lambda: landscape.align(PROBLEM, A, B, method="weight"),
    "adaptive_l2": lambda: landscape.flatness_table(PROBLEM, [A], measures=["adaptive-L2"]),
    "train": lambda: PROBLEM.per_example(A, "training"),
    "magnitude": lambda: resolve("smoke", overrides=["methods=['es-magnitud']"]),
    "cosine": lambda: resolve("smoke", overrides=["gradient.schedule=cosin"]),
}


@pytest.mark.parametrize("word", CHOICES)
def test_a_word_that_is_not_in_its_list_is_answered_with_the_nearest(word: str) -> None:
    with pytest.raises(LandscapeError) as caught:
        CHOICES[word]()
    assert "id you mean" in str(caught.value)
    assert word in str(caught.value).partition("id you mean")[2]


def test_hyphens_and_capitals_do_not_count_and_far_words_get_no_answer() -> None:
    assert nearest("Two Inits", ["one-init", "two-inits"]) == "two-inits"
    assert nearest("zzz", ["one-init", "two-inits"]) is None
    assert did_you_mean("zzz", ["a"]) is None
    assert did_you_mean("TRUE", ["true"]) == "Did you mean true?"
