"""Stored results whose digests are right: what a class does not declare is refused by name, never drawn."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored_samples import HTML, MANY, Stored, changes, reading, samples

from cli.main import run as command_line
from landscape import load_result
from landscape.errors import CheckpointError, InputError
from landscape.files.hdf5 import archive
from landscape.files.hdf5.writing import write
from landscape.plots import figure_of, report_page
from landscape.results import Result
from landscape.results.result import _MODULES, SCHEMA, VERSION

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stored]:
    folder = tmp_path_factory.mktemp("stored")
    return {name: Stored.of(one, folder / f"{i}.h5") for i, (name, one) in enumerate(samples().items())}


NAMES = (*sorted(_MODULES), "barrier, incomplete", "rollout, of images")


def _drawn(result: Result) -> None:
    """Print and draw a result as the commands do; a kind without a figure has only its printed form."""
    str(result)
    try:
        figure_of(result)
    except InputError as error:
        if "no figure" not in str(error):
            raise


# Changes after which a result that loads is drawn as well as printed: drawing is what takes the time.
DRAWN = {"NaN", "infinite", "negative", "removed", "none", "unchanged"}


def _outcome(content: archive.Content, monkeypatch: pytest.MonkeyPatch, change: str = "unchanged") -> str:
    """Return the error of loading, or nothing where loading, printing and drawing went well."""
    monkeypatch.setattr(archive, "read", reading(content))
    try:
        result = load_result("result.h5")
    except CheckpointError as error:
        return str(error)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of NumPy, about numbers that are not
        if change in DRAWN:
            _drawn(result)
        else:
            str(result)
    return ""


def _one_of_each(leaves: dict[str, Any]) -> dict[str, Any]:
    """Return the stored values, of items of one list the last one of each name."""
    last = {re.sub(r"\[\d+\]", "[]", path): path for path in leaves}
    return {path: leaves[path] for path in last.values()}


@pytest.mark.parametrize("name", NAMES)
def test_every_stored_value_is_drawn_or_refused_by_the_name_of_its_field(
    name: str, stored: dict[str, Stored], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _outcome(stored[name].with_meta(), monkeypatch) == ""
    # still the sample that was put in place
    report_page({"a": load_result("result.h5")}).html(plotlyjs="cdn")
    wrong = []
    for path, value in _one_of_each(stored[name].leaves()).items():
        for change, other in changes(value):
            try:
                said = _outcome(stored[name].changed(path, other), monkeypatch, change)
            except Exception as error:
                wrong.append(f"{path}, {change}: {type(error).__name__}: {error}")
                continue
            if said and "cannot be that of a result of kind" not in said:
                wrong.append(f"{path}, {change}: {said}")
    assert not wrong, "\n".join(wrong)


BARRIER = {
    "status": {"status": HTML},
    "status of no barrier": {"status": "indefinite"},
    "warnings": {"warnings": [1]},
    "stats.num_examples": {"stats": {"num_examples": "many"}},
    "provenance": {"provenance": [1]},
    "fields": {"fields": [1]},
    "config.confidence": {"config": {"confidence": 3}},
    "config.higher_is_better": {"config": {"higher_is_better": {"accuracy": "yes"}}},
}


@pytest.mark.parametrize("field", BARRIER)
def test_what_every_result_has_is_checked_too(
    field: str, stored: dict[str, Stored], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = _outcome(stored["barrier"].with_meta(**BARRIER[field]), monkeypatch)
    assert field.partition(" ")[0] in said


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("refined_losses", np.zeros(1), "as refined_alphas has"),
        ("alphas", np.array([0, np.nan, 1]), "finite"),
        ("alphas", np.broadcast_to(0.0, (MANY,)), "at most 1,000,000 numbers"),
        ("losses/train/loss", np.zeros((3, 1)), "1 dimensions"),
        ("num_points", 4, "3 entries, as alphas has"),
        ("split", "validation", "one of losses: test, train"),
        ("interval_above_chord", [2.0, 1.0], "low ≤ high"),
        ("barrier_above_mean", 1e9, "within interval_above_mean"),
    ],
)
def test_the_command_refuses_a_file_by_the_name_of_its_field(
    path: str,
    value: Any,
    expected: str,
    stored: dict[str, Stored],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = stored["barrier"].changed(path, value)
    if path == "interval_above_chord":
        content = stored["barrier"].changed(f"{path}/[0]", 1e9)
    file, page = tmp_path / "barrier.h5", tmp_path / "page.html"
    write(
        file, schema=SCHEMA, version=VERSION, arrays=content.arrays, texts=content.texts, attrs=content.attrs
    )
    assert command_line(["report", str(file), "-o", str(page)]) == 3
    said = capsys.readouterr().err
    assert path.replace("/", ".") in said
    assert expected in said
    assert "bug" not in said
    assert not page.exists()
