"""What `make check` chooses, and what one run of the tests leaves to the next."""

from __future__ import annotations

import os
import time
import zlib
from pathlib import Path

import changed
import program_cache


def test_a_changed_room_brings_the_tests_that_import_from_it() -> None:
    found = changed.chosen(["landscape/surfaces/slices.py"])
    assert "tests/test_surfaces.py" in found
    assert "tests/test_hdf5.py" not in found
    assert "tests/test_architecture.py" in found


def test_names_of_the_package_are_followed_to_their_rooms() -> None:
    """``from landscape import loss_barrier`` is an import from connectivity."""
    assert "landscape.connectivity" in changed.rooms_by_test(Path(__file__).parent)["test_barrier"]


def test_a_changed_helper_brings_the_tests_that_import_it() -> None:
    found = changed.chosen(["tests/small_runs.py"])
    assert "tests/test_tickets.py" in found
    assert "tests/test_barrier.py" not in found


def test_what_every_test_rests_on_brings_them_all() -> None:
    assert changed.chosen(["tests/conftest.py", "README.md"]) == ["tests"]


def test_what_no_test_imports_brings_the_tests_that_read_it() -> None:
    assert "tests/test_readme.py" in changed.chosen(["README.md"])
    assert "tests/test_readme.py" in changed.chosen(["examples/own_model.py"])


def test_damaged_and_old_programs_are_removed_and_others_kept(tmp_path: Path) -> None:
    folder = program_cache.prepare(tmp_path)
    whole = zlib.compress(b"program" * 100)
    for name, data in (("whole", whole), ("torn", whole[:-3]), ("empty", b""), ("old", whole)):
        (folder / name).write_bytes(data)
    month = time.time() - 30 * 24 * 3600
    os.utime(folder / "old", (month, month))
    assert program_cache.prepare(tmp_path) == folder
    assert [entry.name for entry in folder.iterdir()] == ["whole"]
