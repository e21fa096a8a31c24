"""The page of a run: what survives pruning, by method, and where the weights are left."""

from __future__ import annotations

from pathlib import Path

from landscape.plots import Page
from landscape.results import provenance
from trainers.reports.page_parts import (
    accuracy_cards,
    accuracy_section,
    accuracy_table,
    diagnostics_section,
    layers_section,
    ranks_section,
)
from trainers.runs import Run

__all__ = ["write_run_page"]


def write_run_page(run: Run, path: str | Path, *, plotlyjs: str = "embed", force: bool = False) -> list[Path]:
    """Write a page on what is finished of a run; return every file.

    Raises
    ------
    OutputExistsError
        If the page is there and `force` is false.
    """
    page = Page(f"Sparse tickets: {run.config.name}", _introduction(run))
    page.cards(accuracy_cards(run))
    accuracy_section(page, run)
    layers_section(page, run)
    diagnostics_section(page, run)
    ranks_section(page, run)
    page.section("Numbers")
    accuracy_table(page, run)
    seeds = [f"init {s.init}, train {s.train}, mask {s.mask}" for s in run.config.seeds]
    page.provenance(
        {
            **provenance(seed=run.config.seeds[0].train, dtype="float32", digests={}),
            "seeds": "; ".join(seeds),
            "methods": ", ".join(run.methods),
        }
    )
    return page.write(Path(path), plotlyjs=plotlyjs, force=force)


def _introduction(run: Run) -> str:
    config = run.config
    kind = config.network.get("kind", "a network")
    return (
        f"{config.task}, {kind}; {len(run.methods)} methods, {len(run.seeds)} runs of each, "
        f"{len(config.pruning.schedule)} levels"
    )
