"""Commands that look at several files: one bad file does not hide the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cli.shared.explaining import explain
from cli.shared.frame import Outcome, Session
from cli.shared.streams import printable
from cli.shared.text import outline, strict
from landscape.errors import LandscapeError

Look = Callable[[Path], Mapping[str, Any]]


def look_at(session: Session, paths: Sequence[Path], look: Look) -> Outcome:
    """Return what `look` says of every path; the first refusal decides the exit status."""
    blocks, records, first = [], [], None
    for path in paths:
        try:
            found = look(path)
        except (LandscapeError, OSError) as error:
            said = explain(error)
            records.append({"path": str(path), "status": "refused", "error": said.to_dict()})
            if first is None:
                first = error
            else:
                session.say(f"error: {said.what}")
        else:
            records.append({"path": str(path), "status": "ok", **strict(found)})
            blocks.append(f"{printable(path)}\n{outline({k: v for k, v in found.items() if k != 'path'}, 2)}")
    code = 0 if first is None else explain(first).exit_code
    return Outcome(text="\n".join(blocks), data={"files": records}, error=first, exit_code=code)
