"""The page of the quickstart: what was trained, what survives pruning, and what lies between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landscape.plots import Page, barrier_levels_figure, barrier_pairs_figure, figure_of
from landscape.results import provenance
from trainers.reports.page_parts import (
    TRAINERS,
    accuracy_cards,
    accuracy_section,
    accuracy_table,
    layers_section,
    method_name,
    percent,
)

if TYPE_CHECKING:
    from trainers.config import Method, RunConfig
    from trainers.reports.story import BarrierRow, Quickstart

_TASKS = {
    "digits": "the 8×8 digits",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "kmnist": "Kuzushiji-MNIST",
}
_NETWORKS = {
    "lenet-300-100": "LeNet-300-100",
    "paper-cnn": "The convolutional network of Lange & Sprekeler (2023)",
}


def write_page(story: Quickstart, *, plotlyjs: str = "embed", force: bool = False) -> list[Path]:
    """Write the page and its tables; return every file."""
    config = story.run.config
    trainers = dict.fromkeys(config.resolved(name).trainer for name in config.methods)
    ways = {**TRAINERS, "es": "evolution strategies"}
    page = Page(
        f"Sparse tickets on {_task(config)}, and the landscape between them",
        f"Iterative pruning by {' and by '.join(ways[name] for name in trainers)}, with loss barriers",
    )
    page.cards(accuracy_cards(story.run))
    page.text(_introduction(config))
    accuracy_section(page, story.run)
    _levels(page, story)
    _runs(page, story)
    layers_section(page, story.run)
    _tables(page, story)
    page.provenance(_provenance(story))
    return page.write(story.page, plotlyjs=plotlyjs, force=force)


def _task(config: RunConfig) -> str:
    return _TASKS.get(config.task, config.task)


def _introduction(config: RunConfig) -> str:
    """Return what was done, as the configuration says it."""
    seeds = ", ".join(
        f"run {i + 1} (seed {s.train}) from initialisation {s.init}" for i, s in enumerate(config.seeds)
    )
    groups: dict[Any, list[Method]] = {}
    for method in map(config.resolved, config.methods):
        groups.setdefault(method.training, []).append(method)
    shared = len({s.init for s in config.seeds}) < len(config.seeds)
    sentences = [
        f"{_network(config)} learns {_task(config)}, is pruned{_again(config)}, "
        f"{_count(len(config.pruning.schedule), 'time')} over.",
        *(f"{_trainer(methods[0])} {_pruned(methods)}." for methods in groups.values()),
        f"Runs of each: {seeds}.",
    ]
    if shared:
        sentences.append("Runs from one initialisation differ in minibatches and search noise alone.")
    return " ".join(sentences)


def _network(config: RunConfig) -> str:
    kind, widths = str(config.network.get("kind")), config.network.get("widths")
    if kind != "mlp":
        return _NETWORKS.get(kind, kind)
    hidden = ", ".join(map(str, widths or []))
    return f"A small network ({hidden} hidden units)" if hidden else "A linear classifier"


def _again(config: RunConfig) -> str:
    rewinds = {config.resolved(name).pruning.rewind for name in config.methods}
    where = {"init": ", **rewound to its initialisation**,", "step": ", **rewound to an early step**,"}
    how = ", rewound," if len(rewinds) > 1 else where.get(rewinds.pop(), "")
    return f"{how} and trained again"


def _trainer(method: Method) -> str:
    if method.trainer == "gd":
        return f"Gradient descent ({method.algorithm}, {_count(method.gradient.epochs, 'epoch')} per level)"
    if method.trainer == "ppo":
        return f"Policy gradient ({method.ppo.environment_steps:,} steps of environments per level)"
    es = method.evolution
    size = f"{es.population_size} members, {_count(es.generations, 'generation')} per level"
    return f"Evolution ({method.algorithm}, {size}) never sees a gradient; it"


def _count(number: int, of: str) -> str:
    return f"{number:,} {of}{'s' if number != 1 else ''}"


def _pruned(methods: Sequence[Method]) -> str:
    ways = []
    for method in methods:
        if method.source is not None:
            ways.append(f"trains the tickets of {method.source.method} ({method.name})")
        elif method.score == "snr" and method.trainer == "es":
            ways.append("prunes by the ratio of mean to standard deviation of its search distribution")
        else:
            ways.append("prunes at random" if method.score == "random" else f"prunes by {method.score}")
    return ", or ".join(dict.fromkeys(ways))


def _short_names(story: Quickstart) -> dict[str, str]:
    """Return names for the methods between whose networks barriers were measured.

    Where each has another trainer, that says enough.
    """
    methods = story.methods_with_barriers
    trainers = [story.run.config.resolved(name).trainer for name in methods]
    if len(set(trainers)) < len(trainers):
        return {name: method_name(name) for name in methods}
    return {name: TRAINERS[trainer].capitalize() for name, trainer in zip(methods, trainers, strict=True)}


def _levels(page: Page, story: Quickstart) -> None:
    series = []
    for method, name in _short_names(story).items():
        rows = [row for row in story.barriers if row.method == method and row.kind == "successive levels"]
        if not rows:  # a single level
            continue
        seeds = sorted({row.seeds[0] for row in rows})
        by_seed = [[row for row in rows if row.seeds[0] == seed] for seed in seeds]
        series.append(
            {
                "name": name,
                "method": method,
                "densities": [row.density for row in by_seed[0]],
                "values": [[row.barrier.barrier_above_chord for row in one] for one in by_seed],
                "intervals": [[row.barrier.interval_above_chord for row in one] for one in by_seed],
            }
        )
    if not series:
        return
    page.section("Does a level stay in the basin of the one before?")
    page.figure(
        barrier_levels_figure(series, quantity="barrier in training loss (above the chord)"),
        "Loss barrier on the straight path between the networks of two successive levels of one run. Zero "
        "means that the sparser network is linearly connected to the denser one. Intervals are conservative, "
        "for the population that the training images stand for; on the images themselves each "
        "value is exact up to the grid of the path.",
        "levels",
    )


def _runs(page: Page, story: Quickstart) -> None:
    rows = [row for row in story.barriers if row.kind != "successive levels"]
    if not rows:  # a single seed
        return
    names = _short_names(story)
    pairs = [
        {
            "method": names[row.method],
            "key": row.method,
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
        "Barriers between runs of one method. Two runs from *one "
        "initialisation* differ in minibatches and search noise (the instability of Frankle et al. 2020) "
        "and, when sparse, in the masks that follow from them; runs from *two initialisations* also in where "
        "they start.",
        "runs",
    )
    for row in _examples(rows):
        kind = row.kind.removeprefix("runs, ")
        page.figure(
            figure_of(row.barrier),
            f"{method_name(row.method)}: the path between two dense runs from {kind}.",
            f"path-{row.method}-{kind.split()[0]}",
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
        [method_name(method), kind, mean.count, mean.value, mean.interval, mean.over]
        for (method, kind), mean in sorted(story.mean_barriers().items())
    ]
    if not means:
        return
    headers = ["method", "between", "barriers", "mean barrier", "95 % interval", "interval over"]
    page.table(headers, means, "Barriers in training loss above the chord", "barriers")
    page.text(
        "An interval over examples says how well the training images fix the barriers of these runs; it says "
        "nothing of other runs. With five or more runs, the interval of barriers within runs is Student's "
        "over runs."
    )


def _provenance(story: Quickstart) -> Mapping[str, Any]:
    first = story.barriers[0].barrier.provenance if story.barriers else {}
    seeds = [f"init {s.init}, train {s.train}, mask {s.mask}" for s in story.run.config.seeds]
    return {
        **provenance(seed=0, dtype="float32", digests={"data": first.get("digests", {}).get("data", "")}),
        "seeds": "; ".join(seeds),
        "command": "landscape quickstart",
    }
