"""The sweep in slices, and its comparison with what was published."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import sweep
from trainers.config.published import published_accuracies
from trainers.runs import open_run


def test_a_sweep_in_slices_is_the_sweep(tmp_path: Path) -> None:
    config = sweep.configured("smoke", [0], ["es-snr"], ["runtime.chunk_seconds=0.001"])
    folder = tmp_path / "sliced"
    _, finished = sweep.slice_of(config, folder, seconds=0.0)
    assert not finished
    assert "goes on" in sweep.report(config, folder, sweep.Clock(), finished=False)[0]
    clock, finished = sweep.slice_of(config, folder, seconds=600.0)
    assert finished
    assert clock.rate is not None
    lines = sweep.report(config, folder, clock, finished=True)
    assert lines[0] == "2 of 2 checkpoints, finished"
    whole, _ = tmp_path / "whole", sweep.slice_of(config, tmp_path / "whole", seconds=600.0)
    assert sweep.accuracies(open_run(folder)) == sweep.accuracies(open_run(whole))


def test_the_rate_leaves_out_first_chunks_and_gives_the_time_of_the_sweep() -> None:
    config = sweep.configured("paper-mnist", [0, 1], ["es-snr"], [])
    (line,) = sweep.timings(config, 200.0)
    assert line == "es-snr: 20.0 s per level of 2 seeds together, 20 levels 6.7 minutes"
    clock = sweep.Clock()
    clock.start("level 1")
    clock.advance(2)
    assert clock.rate is None
    clock.advance(10)
    clock.start("level 2")
    clock.advance(5)
    assert clock.steps == 10


def test_accuracies_stand_beside_the_published_ones() -> None:
    assert published_accuracies("mnist", "es", "snr") == {1.0: 0.982, 0.044: 0.977, 0.0144: 0.936}
    assert published_accuracies("fashion_mnist", "es", "snr") == {1.0: 0.853, 0.0144: 0.82}
    assert published_accuracies("digits", "es", "snr") == {}
    schedule = sweep.configured("paper-mnist", [0], ["es-snr"], []).resolved("es-snr").pruning.schedule
    found = {at: sweep._at(published_accuracies("mnist", "es", "snr"), at) for at in schedule}
    assert [value for value in found.values() if value] == [0.982, 0.977, 0.936]
    assert found[schedule[-1]] == pytest.approx(0.936)
    assert sweep._beside(0.9331, 0.936).endswith("goal 0.933: reached")
    assert sweep._beside(0.9329, 0.936).endswith("goal 0.933: missed")
