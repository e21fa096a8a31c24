"""One way to write an estimate in every printed result: ``value ± standard error [low, high]``, said once."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from stored_samples import samples

from cli.shared.text import keyed
from landscape.flatness.results import FlatnessMeasure
from landscape.results import Result, with_error
from landscape.results.result import _MODULES

NAMES = (*sorted(_MODULES), "barrier, incomplete")
BRACKETS = re.compile(r"\[[^\[\]]+, [^\[\]]+\]")


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    return samples()


def test_a_value_is_followed_by_its_error_and_its_interval() -> None:
    assert with_error(1.5) == "1.5"
    assert with_error(1.5, 0.25) == "1.5 ± 0.25"
    assert with_error(1.5, interval=(1, 2)) == "1.5 [1, 2]"
    assert with_error(1.5, 0.25, (1.0, 2.0)) == "1.5 ± 0.25 [1, 2]"


@pytest.mark.parametrize("name", NAMES)
def test_every_printed_result_says_once_what_its_signs_mean(name: str, results: dict[str, Result]) -> None:
    rows = results[name].printed()
    keys = [value for label, value in rows if label == "errors"]
    texts = "\n".join(value for label, value in rows if label != "errors")
    assert len(keys) == bool("±" in texts or BRACKETS.search(texts))
    assert "standard error)" not in texts
    assert "% interval" not in texts
    for key in keys:
        assert ("± standard error" in key) == ("±" in texts)
        assert bool(re.search(r"\[low, high\] \S+ % interval", key)) == bool(BRACKETS.search(texts))
        assert key in str(results[name])


@pytest.mark.parametrize("name", NAMES)
def test_a_residual_is_not_written_like_a_standard_error(name: str, results: dict[str, Result]) -> None:
    for label, value in results[name].printed():
        assert "± is" not in value
        if label.startswith("λ"):
            assert re.search(r"\(residual \S+", value)
            assert "±" not in value


def test_the_key_names_the_coverage_that_was_asked_for(results: dict[str, Result]) -> None:
    norm: Any = results["trace"]
    assert "[low, high] 80 % interval" in str(dataclasses.replace(norm, confidence=0.8))


def test_nothing_two_sided_stands_beside_a_lower_bound() -> None:
    found = FlatnessMeasure(
        name="keskar_subspace",
        value=2.0,
        standard_error=0.5,
        interval=(1.0, 3.0),
        label="lower bound",
        dim=3,
        loss=0.1,
        parameter_norm=1.0,
        stats={},
        provenance={},
        config={},
        status="ok",
    )
    assert "keskar subspace  ≥ 2 (best that was found)" in str(found)
    assert "±" not in str(found)
    assert "[" not in str(found)


def test_lines_of_training_commands_say_once_what_brackets_are() -> None:
    rows = [("es-snr, test accuracy", "0.2292 [0.1887, 0.2753] at 100 %"), ("page", "x.html")]
    assert keyed(rows) == [*rows, ("errors", "[low, high] 95 % interval")]
    assert keyed(rows[1:]) == rows[1:]
