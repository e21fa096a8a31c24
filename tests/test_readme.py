"""The README runs as it stands, and so do the examples."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def environment() -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}


# The shell reads the tour as it stands, expands its patterns, and stops at the first command that fails. Two
# commands are processes of their own; the others hand their arguments to the test, which runs them in its own
# process, since a start of Python and jax takes longer than most of them.
SHELL = """\
set -e
landscape() {
    case $1 in
        info | diff) command landscape "$@" >&2 ;;
        *) printf '%s\\0' "$@"; echo; read -r status; return "$status" ;;
    esac
}
"""


def test_the_shell_tour_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tour = next(block for block in blocks("sh") if "landscape train" in block)
    monkeypatch.chdir(tmp_path)
    shell = subprocess.Popen(
        ["bash", "-c", SHELL + tour.replace("source .venv/bin/activate\n", "")],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        assert shell.stderr is not None
        for line in shell.stdout:
            shell.stdin.write(f"{run(line.split(chr(0))[:-1])}\n")
            shell.stdin.flush()
        own = shell.stderr.read()
    printed = capsys.readouterr()
    assert shell.returncode == 0, (own + printed.err)[-2000:]
    assert (tmp_path / "barrier.html").stat().st_size > 1e6
    assert '"barrier_above_chord"' in printed.out


def test_the_python_tour_of_the_readme_runs(tmp_path: Path) -> None:
    script = "\n".join(blocks("python"))
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "barrier above chord" in done.stdout


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_every_example_runs(example: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(ROOT / "examples" / example),
        str(tmp_path / "a.h5"),
        str(tmp_path / "b.h5"),
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout


def test_every_file_that_the_readme_names_is_there() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
