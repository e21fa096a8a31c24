"""The page of the quickstart: what was trained, what survives pruning, and what lies between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape._stats import wilson_interval
from landscape.plots import figure_of
from landscape.plots.page import Page
from landscape.plots.ticket_barriers import barrier_levels_figure, barrier_pairs_figure
from landscape.plots.tickets import density_figure, sweep_figure
from landscape.provenance import provenance

if TYPE_CHECKING:
    from trainers.quickstart import BarrierRow, Quickstart

_NAMES = {
    "es-snr": "Evolution, signal-to-noise",
    "es-magnitude": "Evolution, magnitude",
    "es-random": "Evolution, random",
    "gd-magnitude": "Gradient descent, magnitude",
    "gd-random": "Gradient descent, random",
}
_SHORT = {"es": "Evolution", "gd": "Gradient descent"}


def write_page(story: Quickstart, *, plotlyjs: str = "embed", force: bool = False) -> list[Path]:
    """Write the page and its tables; return every file."""
    page = Page(
        "Sparse tickets on the digits, and the landscape between them",
        "Iterative pruning by evolution strategies and by gradient descent, with loss barriers",
    )
    page.cards(_cards(story))
    page.text(_introduction(story))
    _tickets(page, story)
    _levels(page, story)
    _runs(page, story)
    _layers(page, story)
    _tables(page, story)
    page.provenance(_provenance(story))
    return page.write(story.page, plotlyjs=plotlyjs, force=force)


def _name(method: str) -> str:
    return _NAMES.get(method, method)


def _percent(density: float) -> str:
    return f"{100 * density:.3g} %"


def _cards(story: Quickstart) -> list[tuple[str, str, str]]:
    last = story.last_level
    density = _percent(story.run.config.pruning.schedule[last])
    cards = []
    for method in story.run.methods:
        value = float(story.run.accuracies(method, last).mean())
        dense = float(story.run.accuracies(method, 0).mean())
        cards.append(
            (f"{_name(method)}, {density} left", f"{100 * value:.1f} %", f"dense {100 * dense:.1f} %")
        )
    return cards


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


def _tickets(page: Page, story: Quickstart) -> None:
    run, count = story.run, story.num_test
    densities = list(run.config.pruning.schedule)
    curves = []
    for method in run.methods:
        values = np.stack([run.accuracies(method, level) for level in range(len(densities))], axis=1)
        interval = [wilson_interval(float(mean) * count, count) for mean in values.mean(0)]
        curves.append({"name": _name(method), "densities": densities, "values": values, "interval": interval})
    page.section("What survives pruning")
    page.figure(
        sweep_figure(curves, metric="test accuracy", reference=("chance", 0.1)),
        f"Test accuracy of the final weights. Lines are means over {len(run.seeds)} runs, faint markers the "
        f"single runs; bands are 95 % Wilson intervals for {count} test images around the mean. With so few "
        "runs no interval over runs is drawn.",
        "accuracy",
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
            "panel": f"{_percent(row.density)} of the weights",
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
            f"{_name(row.method)}: the path between two dense runs, {row.kind.removeprefix('runs, ')}.",
            f"path-{row.method}-{row.kind.split()[-2]}",
        )


def _examples(rows: Sequence[BarrierRow]) -> list[BarrierRow]:
    """Return the first dense pair from two initialisations of each method."""
    chosen: dict[str, BarrierRow] = {}
    for row in rows:
        if row.levels == (0, 0) and row.kind.endswith("two initialisations"):
            chosen.setdefault(row.method, row)
    return list(chosen.values())


def _layers(page: Page, story: Quickstart) -> None:
    run = story.run
    layers = []
    for method in run.methods:
        infos = [
            [run.infos[method, seed, level]["layers"] for seed in run.seeds]
            for level in range(story.last_level + 1)
        ]
        layers.append(
            {layer: [float(np.mean([i[layer] for i in level])) for level in infos] for layer in infos[0][0]}
        )
    page.section("Where the weights are left")
    page.figure(
        density_figure(layers, list(run.config.pruning.schedule), [_name(method) for method in run.methods]),
        "Density of each layer, mean over runs, against the density of the whole network. One threshold is "
        "set over all layers, so that scores decide how much each layer keeps; random pruning keeps them "
        "even.",
        "density",
    )


def _tables(page: Page, story: Quickstart) -> None:
    run, schedule = story.run, story.run.config.pruning.schedule
    headers = ["method", "weights left", *(f"run {i + 1}" for i in range(len(run.seeds))), "mean"]
    rows: list[list[object]] = []
    for method in run.methods:
        for level in sorted({0, story.last_level // 2, story.last_level - 1, story.last_level}):
            values = run.accuracies(method, level)
            rows.append([_name(method), _percent(schedule[level]), *map(float, values), float(values.mean())])
    page.section("Numbers")
    page.table(headers, rows, "Test accuracy", "accuracies")
    means = [[_name(method), kind, value] for (method, kind), value in sorted(story.mean_barriers().items())]
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
