"""Files whose digests are right and whose content is not: refused by name, exit 3, never called a bug."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.main import run as command_line
from landscape import Checkpoint, problem_of
from landscape.errors import InputError
from landscape.files.hdf5.writing import write
from landscape.files.strict_json import load_json

pytestmark = pytest.mark.faults
PARAMS = {"a": {"kernel": np.ones((3, 2), np.float32)}}
MASKS: dict[str, Any] = {
    "negative": ("mask/a/kernel", np.full((3, 2), -1, np.int8)),
    "two": ("mask/a/kernel", np.full((3, 2), 2, np.int8)),
    "half": ("mask/a/kernel", np.full((3, 2), 0.5, np.float32)),
    "huge": ("mask/a/kernel", np.full((3, 2), 1e300)),
    "shape": ("mask/a/kernel", np.ones((2, 3), np.int8)),
    "of nothing": ("mask/b/kernel", np.ones((3, 2), np.int8)),
}


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("command", ["info", "verify"])
def test_a_mask_that_no_reader_takes_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, kind: str
) -> None:
    name, values = MASKS[kind]
    sound = {"params/a/kernel": PARAMS["a"]["kernel"], "mask/a/kernel": np.ones((3, 2), bool)}
    bad = {"params/a/kernel": sound["params/a/kernel"], name: values}
    for path, arrays, code in ((tmp_path / "a.h5", sound, 0), (tmp_path / "b.h5", bad, 3)):
        texts = {"info": "{}", "config": "{}"}
        write(path, schema="landscape-checkpoint", version=(1, 0), arrays=arrays, texts=texts, attrs={})
        assert command_line([command, str(path)]) == code
    said = capsys.readouterr().err
    assert name in said
    assert "bug" not in said


@pytest.mark.parametrize(
    ("info", "field"),
    [
        ({"task": {"name": "digits", "options": [1, 2]}}, "task.options"),
        ({"task": {"name": {"name": "digits"}}}, "task.name"),
        ({"task": {"name": "digits"}, "network": "mlp"}, "network"),
        ({"task": {"name": "digits"}, "network": {"kind": "mlp", "widths": [8] * 20_000}}, "network.widths"),
    ],
)
def test_a_task_or_network_that_is_none_is_refused_before_it_is_built(info: Any, field: str) -> None:
    with pytest.raises(InputError, match=field.replace(".", r"\.")):
        problem_of(Checkpoint(params=PARAMS, info=info))


@pytest.mark.parametrize("text", ["1e999", "-1e999", '{"a": [1e400]}'])
def test_a_number_beyond_all_floats_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        load_json(text)
