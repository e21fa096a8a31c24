"""The page of the quickstart: what was trained, what survives pruning, and what lies between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landscape.plots import figure_of
from landscape.plots.page import Page
from landscape.plots.ticket_barriers import barrier_levels_figure, barrier_pairs_figure
from landscape.provenance import provenance
from trainers._page_parts import (
    accuracy_cards,
    accuracy_section,
    accuracy_table,
    layers_section,
    method_name,
    percent,
)

if TYPE_CHECKING:
    from trainers.quickstart import BarrierRow, Quickstart

_SHORT = {"es": "Evolution", "gd": "Gradient descent"}


def write_page(story: Quickstart, *, plotlyjs: str = "embed", force: bool = False) -> list[Path]:
    """Write the page and its tables; return every file."""
    page = Page(
        "Sparse tickets on the digits, and the landscape between them",
        "Iterative pruning by evolution strategies and by gradient descent, with loss barriers",
    )
    page.cards(accuracy_cards(story.run))
    page.text(_introduction(story))
    accuracy_section(page, story.run)
    _levels(page, story)
    _runs(page, story)
    layers_section(page, story.run)
    _tables(page, story)
    page.provenance(_provenance(story))
    return page.write(story.page, plotlyjs=plotlyjs, force=force)


def _introduction(story: Quickstart) -> str:
    config = story.run.config
    seeds = ", ".join(f"run {i + 1} from initialisation {s.init}" for i, s in enumerate(config.seeds))
    widths = ", ".join(str(width) for width in config.network.get("widths", []))
    return (
        f"A small network ({widths} hidden units) learns the 8×8 digits, is pruned, **rewound to its "
        f"initialisation**, and trained again, {len(config.pruning.schedule)} times over. Evolution "
        f"({config.evolution.strategy}, {config.evolution.population_size} members, "
        f"{config.evolution.generations} generations a level) never sees a gradient; it prunes by the ratio "
        "of mean to standard deviation of its search distribution, or at random. Gradient descent "
        f"({config.gradient.optimizer}) prunes by magnitude. There are {len(config.seeds)} runs of each: "
        f"{seeds}. Runs from one initialisation differ in minibatches and search noise alone."
    )


def _levels(page: Page, story: Quickstart) -> None:
    series = []
    for method in story.methods_with_barriers:
        rows = [row for row in story.barriers if row.method == method and row.kind == "successive levels"]
        seeds = sorted({row.seeds[0] for row in rows})
        by_seed = [[row for row in rows if row.seeds[0] == seed] for seed in seeds]
        series.append(
            {
                "name": _SHORT[method.split("-")[0]],
                "densities": [row.density for row in by_seed[0]],
                "values": [[row.barrier.barrier_above_chord for row in one] for one in by_seed],
                "intervals": [[row.barrier.interval_above_chord for row in one] for one in by_seed],
            }
        )
    page.section("Does a level stay in the basin of the one before?")
    page.figure(
        barrier_levels_figure(series, quantity="barrier in training loss (above the chord)"),
        "Loss barrier on the straight path between the networks of two successive levels of one run. Zero "
        "means that the sparser network is linearly connected to the denser one. Error bars are conservative "
        "95 % intervals for the population that the training images stand for; on the images themselves each "
        "value is exact up to the grid of the path.",
        "levels",
    )


def _runs(page: Page, story: Quickstart) -> None:
    rows = [row for row in story.barriers if row.kind != "successive levels"]
    pairs = [
        {
            "method": _SHORT[row.method.split("-")[0]],
            "group": row.kind.removeprefix("runs, "),
            "value": row.barrier.barrier_above_chord,
            "interval": row.barrier.interval_above_chord,
            "label": " → ".join(row.barrier.endpoints),
            "panel": f"{percent(row.density)} of the weights",
        }
        for row in rows
    ]
    page.section("Do independent runs meet?")
    page.figure(
        barrier_pairs_figure(pairs, quantity="barrier in training loss (above the chord)"),
        "Barriers between runs of one method. Two runs from *one initialisation* differ in minibatches and "
        "search noise (the instability of Frankle et al. 2020); runs from *two initialisations* also differ "
        "in where they start and, when sparse, in their masks. Whether the initialisation is shared decides "
        "the outcome.",
        "runs",
    )
    for row in _examples(rows):
        page.figure(
            figure_of(row.barrier),
            f"{method_name(row.method)}: the path between two dense runs, {row.kind.removeprefix('runs, ')}.",
            f"path-{row.method}-{row.kind.split()[-2]}",
        )


def _examples(rows: Sequence[BarrierRow]) -> list[BarrierRow]:
    """Return the first dense pair from two initialisations of each method."""
    chosen: dict[str, BarrierRow] = {}
    for row in rows:
        if row.levels == (0, 0) and row.kind.endswith("two initialisations"):
            chosen.setdefault(row.method, row)
    return list(chosen.values())


def _tables(page: Page, story: Quickstart) -> None:
    page.section("Numbers")
    accuracy_table(page, story.run)
    means = [
        [method_name(method), kind, value] for (method, kind), value in sorted(story.mean_barriers().items())
    ]
    page.table(
        ["method", "between", "mean barrier"], means, "Barriers in training loss above the chord", "barriers"
    )


def _provenance(story: Quickstart) -> Mapping[str, Any]:
    first = story.barriers[0].barrier.provenance if story.barriers else {}
    seeds = [f"init {s.init}, train {s.train}, mask {s.mask}" for s in story.run.config.seeds]
    return {
        **provenance(seed=0, dtype="float32", digests={"data": first.get("digests", {}).get("data", "")}),
        "seeds": "; ".join(seeds),
        "command": "landscape quickstart",
    }
