"""The quickstart, from the shell: seconds with compilation, and what evolution gains by its score.

Run from the repository root: ``python -m benchmarks.quickstart [--keep FOLDER]``. One process in a new
folder, with an empty cache of compiled programs; installation is not counted. Accuracy is on the test
split, final solution, mean over the replicates.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.timing import machine

SECONDS = 150
POINTS = 0.20


def line(name: str, value: str, goal: str = "") -> None:
    """Print one row."""
    print(f"{name:<58} {value:>12}  {goal}", flush=True)


def run(folder: Path, cache: Path) -> tuple[float, dict[str, Any]]:
    """Return the wall time of ``landscape quickstart``, and what it says as JSON."""
    command = [sys.executable, "-m", "landscape", "quickstart", "--force", "-q", "--json", "-o", str(folder)]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return time.perf_counter() - began, json.loads(done.stdout)["data"]


def mean(values: list[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


def report(seconds: float, data: dict[str, Any]) -> None:
    """Print what was measured beside its goals."""
    line("landscape quickstart, wall time with compilation", f"{seconds:.0f} s", f"<= {SECONDS} s")
    ends = {}
    for method, levels in data["accuracy"].items():
        dense, sparse = max(levels, key=float), min(levels, key=float)
        ends[method] = mean(levels[sparse])
        text = f"{mean(levels[dense]):.3f}, {ends[method]:.3f}"
        line(f"{method}: test accuracy dense, at {100 * float(sparse):.3g} %", text)
    gain = ends["es-snr"] - ends["es-random"]
    line("es-snr minus es-random at the sparsest level", f"{gain:.3f}", f">= {POINTS:.2f}")
    values: dict[str, list[float]] = {}
    for row in data["barriers"]:
        if row["train_loss_above_chord"] is not None:
            values.setdefault(f"{row['method']}, {row['kind']}", []).append(row["train_loss_above_chord"])
    for name, found in values.items():
        line(f"barrier {name}: mean above the chord", f"{mean(found):.3g}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="Folder for checkpoints and page.")
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory() as scratch:
        folder = keep or Path(scratch) / "quickstart"
        if (folder / "run").exists():
            parser.error(f"{folder} holds a run already: the time would not be that of all of it")
        found = run(folder, Path(scratch) / "cache")
    print(machine())  # afterwards: it takes hold of the device
    report(*found)


if __name__ == "__main__":
    main()
