"""``landscape align``: a permuted network comes back, as a checkpoint that other commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.main import run
from landscape import Checkpoint, load, save
from trainers.tasks import load_task

NETWORK = {"kind": "mlp", "widths": [4]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of the digits task, the same with its units permuted, one of another width, one with NaN."""
    folder = tmp_path_factory.mktemp("align")
    info = {"task": {"name": "digits", "options": {}}, "network": NETWORK}
    a = load_task("digits", NETWORK).init(0)
    order = [2, 0, 3, 1]
    inner, outer = a["Dense_0"], a["Dense_1"]
    b = {
        "Dense_0": {
            "kernel": np.asarray(inner["kernel"])[:, order],
            "bias": np.asarray(inner["bias"])[order],
        },
        "Dense_1": {"kernel": np.asarray(outer["kernel"])[order], "bias": outer["bias"]},
    }
    bad = {**a, "Dense_0": {**inner, "bias": np.full(4, np.nan, np.float32)}}
    for name, params in {"a": a, "b": b, "bad": bad}.items():
        save(folder / f"{name}.h5", Checkpoint(params=params, info=info))
    wide = {**NETWORK, "widths": [5]}
    params = load_task("digits", wide).init(0)
    save(folder / "wide.h5", Checkpoint(params=params, info={**info, "network": wide}))
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.mark.parametrize("method", ["weights", "activations"])
def test_a_permuted_network_is_brought_back_as_a_checkpoint(method: str, capsys: Any) -> None:
    given = ["align", "a.h5", "b.h5", "--method", method, "-o", "back.h5", "-o", "back.html", "--force"]
    assert run([*given, "-q"]) == 0
    assert "4 of 4 units" in capsys.readouterr().out
    back, wanted = load("back.h5"), load("a.h5")
    for layer, leaves in wanted.params.items():
        for name, leaf in leaves.items():
            np.testing.assert_array_equal(back.params[layer][name], leaf)
    assert back.info["task"] == wanted.info["task"]
    assert "Units of b.h5 that moved" in Path("back.html").read_text(encoding="utf-8")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["a.h5"], 2),
        (["a.h5", "b.h5", "--method", "luck"], 2),
        (["a.h5", "wide.h5"], 3),
        (["a.h5", "bad.h5"], 3),
        (["a.h5", "missing.h5"], 3),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], status: int) -> None:
    assert run(["align", *arguments, "-o", "never.h5", "-q"]) == status
    assert not Path("never.h5").exists()
