"""Print the test files of what has changed, for ``make check``.

    python tests/changed.py                  since this branch left main, and what is not committed
    python tests/changed.py --since HEAD~3

A test file is chosen if it has changed, if it imports a helper that has changed, or if it imports from the
room of a module that has changed (the room, not those above it: ``make test`` runs everything). All are
chosen if something has changed that every test rests on.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("landscape", "trainers", "cli")
FOR_ALL = {"tests/conftest.py", "pyproject.toml", "constraints.txt"}
# What no test imports, and the tests that read it.
READ_BY = {"README.md": "test_readme", "CONTRIBUTING.md": "test_registers", "Makefile": "test_registers"}
ALWAYS = {"test_architecture", "test_registers"}  # seconds, and about every module


def git(*arguments: str) -> list[str]:
    """Return the lines that git answers; none where it fails."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []


def changed_files(since: str) -> list[str]:
    """Return the paths that differ from where this branch left `since`, new files among them."""
    base = git("merge-base", since, "HEAD") or ["HEAD"]
    return [*git("diff", "--name-only", base[0]), *git("ls-files", "--others", "--exclude-standard")]


def room_of(module: str) -> str:
    """Return the room of a module: ``landscape.trees`` for ``landscape.trees.layout``."""
    return ".".join(module.split(".")[:2])


def imports(path: Path) -> Iterator[str]:
    """Yield what a file imports: modules, and names that may be rooms (``from landscape import files``)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def public_names(package: str) -> dict[str, str]:
    """Return the room that a package's lazy table takes each name from (``from landscape import load``)."""
    found = {}
    for node in ast.walk(ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.update({f"{package}.{alias.name}": room_of(node.module) for alias in node.names})
    return found


def rooms_by_test(tests: Path) -> dict[str, set[str]]:
    """Return, for each test file, the rooms and the helpers beside it that it imports, helpers followed."""
    public = {name: room for package in PACKAGES for name, room in public_names(package).items()}
    direct = {
        path.stem: {public.get(name, room_of(name)) for name in imports(path)} for path in tests.glob("*.py")
    }
    for _ in direct:  # a helper may import another
        grown = {
            name: found.union(*(direct[h] for h in found & set(direct))) for name, found in direct.items()
        }
        if grown == direct:
            break
        direct = grown
    return {name: found for name, found in direct.items() if name.startswith("test_")}


def touched(paths: Iterable[str]) -> set[str]:
    """Return the rooms and the helpers or tests that changed files are."""
    found = set()
    for path in map(Path, paths):
        parts = path.with_suffix("").parts
        if parts[0] in PACKAGES:
            found.add(".".join(parts[:2]))
        elif parts[0] == "tests":
            found.add(parts[1])
        elif parts[0] == "examples":
            found.add("test_readme")
        found.add(READ_BY.get(str(path), ""))
    return found - {""}


def chosen(paths: list[str]) -> list[str]:
    """Return the test files for changed `paths`."""
    tests = ROOT / "tests"
    if FOR_ALL & set(paths):
        return ["tests"]
    seen = touched(paths)
    names = {name for name, rooms in rooms_by_test(tests).items() if name in seen or rooms & seen}
    return [f"tests/{name}.py" for name in sorted(names | ALWAYS) if (tests / f"{name}.py").exists()]


def main() -> None:
    """Print the chosen files, one per line."""
    parser = argparse.ArgumentParser(description="Print the test files of what has changed.")
    parser.add_argument("--since", default="main", help="revision to compare with (default: main)")
    print("\n".join(chosen(changed_files(parser.parse_args().since))))  # noqa: T201  make reads it


if __name__ == "__main__":
    main()
