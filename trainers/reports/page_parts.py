"""Parts of the pages that show runs: scores and layer densities against weights remaining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landscape.plots import Page, density_figure, sweep_figure
from landscape.results import FEW_SEEDS
from trainers.reports.ranks import final_rank_correlations
from trainers.runs import Run

_NAMES = {
    "es-snr": "Evolution, signal-to-noise",
    "es-magnitude": "Evolution, magnitude",
    "es-random": "Evolution, random",
    "gd-snr": "Gradient descent, signal-to-noise",
    "gd-magnitude": "Gradient descent, magnitude",
    "gd-random": "Gradient descent, random",
}


# How pages call what trains.
TRAINERS = {"es": "evolution", "gd": "gradient descent", "ppo": "policy gradient"}
_MOST_BANDS = 3  # of methods in one panel


def method_name(method: str) -> str:
    """Return how a page calls a method."""
    return _NAMES.get(method, method)


def percent(density: float) -> str:
    """Return a density as a percentage of three digits."""
    return f"{100 * density:.3g} %"


def _scores(run: Run, method: str, level: int) -> np.ndarray:
    """Return the headline score of every seed."""
    split, metric = run.headline
    return run.accuracies(method, level, split=split, metric=metric)


def finished_levels(run: Run, method: str) -> list[int]:
    """Return the levels of a method that all seeds have finished."""
    levels = [set(run.levels(method, seed)) for seed in run.seeds]
    return sorted(set.intersection(*levels) & set(range(len(run.schedule(method)))))


def accuracy_cards(run: Run) -> list[tuple[str, str, str]]:
    """Return (title, mean score at the last finished level, what it is, when dense) of every method.

    Each score has its 95 % interval behind it, in brackets, where `Run.score` has one.
    """
    cards = []

    def as_text(level: int) -> str:
        mean, interval = run.score(method, level) or (float("nan"), None)
        scale, digits, unit = (100, ".1f", " %") if run.headline[1] == "accuracy" else (1, ".4g", "")
        ends = "" if interval is None else f" [{', '.join(f'{scale * end:{digits}}' for end in interval)}]"
        return f"{scale * mean:{digits}}{ends}{unit}"

    for method in run.methods:
        levels = finished_levels(run, method)
        if not levels:
            continue
        title = f"{method_name(method)}, {percent(run.schedule(method)[levels[-1]])} left"
        cards.append((title, as_text(levels[-1]), f"{_label(run)}; dense {as_text(levels[0])}"))
    return cards


def accuracy_section(page: Page, run: Run) -> None:
    """Add the curves of test accuracy against weights remaining."""
    num_test = run.num_examples(run.headline[0])
    curves = []
    for method in run.methods:
        levels = finished_levels(run, method)
        if not levels:
            continue
        values = np.stack([_scores(run, method, level) for level in levels], axis=1)
        densities = [run.schedule(method)[level] for level in levels]
        curve = {
            "name": method_name(method),
            "method": method,
            "densities": densities,
            "values": values,
            "panel": _panel(run, method),
        }
        if len(run.seeds) < FEW_SEEDS and (found := _intervals(run, method, levels)):
            curve["interval"] = found
        curves.append(curve)
    page.section("What survives pruning")
    figure = sweep_figure(curves, metric=_label(run), reference=_chance(run))
    page.figure(figure, _caption(run, num_test), run.headline[1])


def _intervals(run: Run, method: str, levels: Sequence[int]) -> list[tuple[float, float]]:
    """Return the interval of every mean, or an empty list where there is not one of each."""
    scores = [run.score(method, level) for level in levels]
    found = [score[1] for score in scores if score is not None and score[1] is not None]
    return found if len(found) == len(levels) else []


def _panel(run: Run, method: str) -> str:
    """Return the panel of a method: bands of many methods are grouped by what trains."""
    trainers = [run.config.resolved(name).trainer for name in run.methods]
    if len(trainers) <= _MOST_BANDS or len(set(trainers)) < 2:
        return ""
    return f"Trained by {TRAINERS[run.config.resolved(method).trainer]}"


def _label(run: Run) -> str:
    return " ".join(run.headline)


def _chance(run: Run) -> tuple[str, float] | None:
    """Return what a network that has learnt nothing scores, by name."""
    if run.config.task in ("digits", "mnist", "fashion_mnist", "kmnist"):
        return "chance", 1 / 10
    stored = [info["constant_policy"] for info in run.infos.values() if "constant_policy" in info]
    value = stored[0].get(run.headline[0]) if stored else None
    return None if value is None else ("the best constant policy", value)


def _caption(run: Run, num_test: int) -> str:
    label = _label(run)
    lines = f"{label[:1].upper()}{label[1:]} of the final weights, {len(run.seeds)} runs per method."
    if len(run.seeds) >= FEW_SEEDS:
        return lines
    few = "With so few runs no interval over runs is drawn."
    if num_test and run.headline[1] == "accuracy":
        return f"{lines} {few} Intervals are Wilson's for {num_test:,} examples, around the mean."
    if any("standard_errors" in info for info in run.infos.values()):
        return f"{lines} {few} Intervals are normal ones of {num_test:,} episodes, around the mean."
    return f"{lines} {few}"


def layers_section(page: Page, run: Run) -> None:
    """Add the density of each layer against that of the network."""
    layers, densities = [], []
    methods = [method for method in run.methods if finished_levels(run, method)]
    for method in methods:
        levels = finished_levels(run, method)
        infos = [[run.infos[method, seed, level]["layers"] for seed in run.seeds] for level in levels]
        found = {
            layer: [float(np.mean([i[layer] for i in level])) for level in infos] for layer in infos[0][0]
        }
        layers.append(found)
        densities.append([run.schedule(method)[level] for level in levels])
    page.section("Where the weights are left")
    page.figure(
        density_figure(layers, densities, [method_name(m) for m in methods], methods=methods),
        "Density of each layer, mean over runs, against the density of the whole network. With one threshold "
        "over all layers, the default, scores decide how much each layer keeps; random pruning keeps them "
        "even, up to chance.",
        "density",
    )


def accuracy_table(page: Page, run: Run) -> None:
    """Add the table of test accuracies at a few levels."""
    headers = [
        "method",
        "weights left",
        "mean",
        "95 % interval",
        *(f"run {i + 1}" for i in range(len(run.seeds))),
    ]
    rows: list[list[object]] = []
    for method in run.methods:
        levels = finished_levels(run, method)
        last = len(levels) - 1
        for place in sorted({0, last // 2, last - 1, last} & set(range(len(levels)))):
            values = _scores(run, method, levels[place])
            weights = percent(run.schedule(method)[levels[place]])
            mean, interval = run.score(method, levels[place]) or (None, None)
            rows.append([method_name(method), weights, mean, interval, *map(float, values)])
    label = _label(run)
    name = "accuracies" if run.headline[1] == "accuracy" else f"{run.headline[1]}s"
    page.table(headers, rows, f"{label[:1].upper()}{label[1:]}", name)


def diagnostics_section(page: Page, run: Run) -> None:
    """Add a table of what masks and scores say at a few levels, means over seeds."""
    headers = [
        "method",
        "weights left",
        "on paths",
        "of all parameters",
        "rank correlation",
        "overlap",
        "by chance",
    ]
    rows: list[list[object]] = []
    for method in run.methods:
        levels = finished_levels(run, method)
        for level in sorted({*levels[1::3], *levels[-1:]} - {0}):
            infos = [run.infos[method, seed, level] for seed in run.seeds]
            rows.append([method_name(method), percent(run.schedule(method)[level]), *_diagnosed(infos)])
    if not rows:
        return
    page.section("What the masks say")
    page.table(headers, rows, "Densities, ranks and overlaps", "diagnostics")
    page.text(
        "**On paths**: weights on a path of surviving weights from an input to an output. **Rank "
        "correlation**: Spearman's, of the scores with those of the first level over the weights that the "
        "level has left. **Overlap**: Jaccard index of the masks of two runs, and what random masks of the "
        "same layer densities would have. Means over runs."
    )


def ranks_section(page: Page, run: Run) -> None:
    """Add a table of how scores rank beside those of the first level, by layer, over the last survivors.

    Scores that are a user's function are left out: drawing a page never runs user code.
    """
    rows: list[list[object]] = []
    for method in run.methods:
        score = run.config.resolved(method).score
        if score is None or ":" in score:
            continue
        for found in final_rank_correlations(run, method):
            place = [method_name(method), found.layer, percent(found.density)]
            rows.append([*place, found.mean, found.interval, *found.values])
    if not rows:
        return
    seeds = [f"run {i + 1}" for i in range(len(run.seeds))]
    page.section("Do the ranks last?")
    page.table(
        ["method", "layer", "weights left", "mean", "95 % interval", *seeds],
        rows,
        "Rank correlation with the first level, over the weights that survive to the end",
        "ranks",
    )
    page.text(
        "Spearman's rank correlation of the scores of each level with those of the first, over the weights "
        "that the last level has left (figure 7 of Lange & Sprekeler 2023). Intervals are Student's, of the "
        "mean over runs, for five or more runs."
    )


def _pairs(infos: Sequence[Mapping[str, Any]]) -> dict[frozenset[int], Mapping[str, float]]:
    """Return the overlap of every two seeds once: the seed that was trained later stores it."""
    return {
        frozenset({int(info["seeds"]["train"]), int(other)}): pair
        for info in infos
        for other, pair in info.get("overlap", {}).items()
    }


def _diagnosed(infos: Sequence[Mapping[str, Any]]) -> list[object]:
    """Return the mean of every diagnostic over seeds, None where it is not stored."""
    pairs = list(_pairs(infos).values())
    found = [
        [info.get("effective_density") for info in infos],
        [info.get("density_all") for info in infos],
        [info.get("rank_correlation", {}).get("all") for info in infos],
        [pair["jaccard"] for pair in pairs],
        [pair["by_chance"] for pair in pairs],
    ]
    known = [[value for value in values if value is not None] for values in found]
    return [float(np.mean(values)) if values else None for values in known]
