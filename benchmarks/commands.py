"""What the command line costs: whole processes, from the shell's side.

Run from the root of the repository::

    python -m benchmarks.commands [--quick]

Help, what is in a file, and a barrier with nothing compiled before; then every hostile sample of the
tests, each refused by ``landscape.load`` in a process of its own. Figures are medians over runs; of the
samples the slowest and the largest count.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.curvature import line
from benchmarks.timing import machine, median
from landscape import Checkpoint, save
from trainers.tasks import load_task

LANDSCAPE = [sys.executable, "-m", "landscape"]
NETWORK = {"kind": "mlp", "widths": [32]}
REFUSED = 3
# The peak of this process alone: that of getrusage is inherited from the one that started it.
MEASURED = """
import sys
from pathlib import Path
from landscape import errors, load
code = 0
try:
    load(sys.argv[1])
except errors.CheckpointError as error:
    code = error.exit_code
status = Path("/proc/self/status")
if status.exists():
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    peak = int(lines["VmHWM"].split()[0]) * 1024
else:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS
print(peak, "jax" in sys.modules)
sys.exit(code)
"""


def whole(
    command: Sequence[str], *, expected: int = 0, env: Mapping[str, str] | None = None
) -> tuple[float, str]:
    """Return the seconds and the output of a process that must end with the status expected."""
    began = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}
    )
    seconds = time.perf_counter() - began
    if done.returncode != expected:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}\n{done.stderr}")
    return seconds, done.stdout


def checkpoints(folder: Path) -> list[str]:
    """Write two digits networks as they are before training, and return their paths."""
    task = load_task("digits", NETWORK)
    info = {"task": {"name": "digits"}, "network": NETWORK}
    return [
        str(save(folder / f"{name}.h5", Checkpoint(params=task.init(seed), info=info)))
        for seed, name in enumerate(("a", "b"))
    ]


def commands(pair: list[str], repeats: int) -> None:
    """Time what is quick, warm: after a first run that fills the caches of the system."""
    rows = {
        "landscape --help": (["--help"], ""),
        "landscape barrier --help": (["barrier", "--help"], "< 0.2 s"),
        "landscape info CKPT": (["info", pair[0]], ""),
    }
    for name, (words, goal) in rows.items():
        seconds = [whole([*LANDSCAPE, *words])[0] for _ in range(repeats + 1)][1:]
        line(name, f"{median(seconds):.3f} s", goal)


def cold_barrier(pair: list[str], repeats: int) -> None:
    """Time a barrier with an empty cache of compiled programs."""
    seconds = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            fresh = {"XDG_CACHE_HOME": cache, "JAX_COMPILATION_CACHE_DIR": str(Path(cache) / "xla")}
            seconds.append(whole([*LANDSCAPE, "barrier", *pair, "--quiet"], env=fresh)[0])
    line("landscape barrier A B, digits, 25 points, all splits, cold", f"{median(seconds):.2f} s", "< 6 s")


def refusals(folder: Path, count: int | None) -> None:
    """Refuse each hostile sample, and print the slowest and the largest."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from hostile import SAMPLES

    names = list(SAMPLES)[:count]
    seconds, peaks = {}, {}
    for name in names:
        path = folder / f"{name}.h5"
        SAMPLES[name][0](path)
        seconds[name], out = whole([sys.executable, "-c", MEASURED, str(path)], expected=REFUSED)
        peak, jax = out.split()[-2:]
        if jax != "False":
            raise RuntimeError(f"{name}: jax was imported")
        peaks[name] = int(peak) / 1e6
    slowest, largest = max(seconds, key=seconds.__getitem__), max(peaks, key=peaks.__getitem__)
    line(f"{len(names)} hostile samples: refused, median", f"{median(list(seconds.values())):.2f} s")
    line(f"  the slowest ({slowest})", f"{seconds[slowest]:.2f} s", "< 1 s")
    line(f"  the largest peak ({largest})", f"{peaks[largest]:.0f} MB", "< 200 MB")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Fewer repeats and samples.")
    quick = parser.parse_args().quick
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pair = checkpoints(folder)
        commands(pair, 3 if quick else 11)
        cold_barrier(pair, 1 if quick else 5)
        refusals(folder, 12 if quick else None)


if __name__ == "__main__":
    main()
