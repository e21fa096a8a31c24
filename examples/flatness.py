r"""Whether optima of evolution are flatter than those of gradient descent, scale accounted for.

    landscape train quickstart -o run --set 'seeds=[0,1,2,3,4,5,6,7]' \
        --set 'methods=["es-snr","gd-magnitude"]'
    landscape flatness run/es-snr/seed-*/level-*.h5 run/gd-magnitude/seed-*/level-*.h5 -o flatness.h5
    python examples/flatness.py flatness.h5 answer.html

For every measure and level it prints the ratio of the two methods, then a table of all measures (in Markdown,
at five levels, or at those that follow the files: ``flatness.h5 answer.html 0 3 6 8 10``). Runs of one
seed start from the same weights, so ratios are taken within seeds, and Student's interval of their geometric
mean is over seeds. There is no mean where a seed has no value. Without arguments it trains a run of seconds
and measures little.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

import landscape
from landscape.flatness import MEASURES, title_of
from landscape.plots import FEW_SEEDS, write_html
from landscape.plots.series import remaining_axis
from landscape.plots.theme import numbers, style, swatch
from landscape.results import mean_interval
from trainers import open_run, resolve, train_tickets

PAIRS = [  # raw, and relative to the weights
    ("gaussian", "gaussian_relative"),
    ("sam_ascent", "adaptive_l2"),
    ("pac_bayes", "pac_bayes_magnitude"),
    ("trace", "relative_flatness_normalised"),
]


def small_run(folder: Path) -> Any:
    """Train a run of seconds and measure its tickets by the measures of `PAIRS`."""
    config = resolve("smoke", overrides=['methods=["es-snr", "gd-magnitude"]', "seeds=[0, 1]"])
    run = open_run(folder) if (folder / "run.toml").exists() else train_tickets(config, folder)
    given = [ticket.path for method in run.methods for ticket in run.checkpoints(method=method)]
    return landscape.flatness_table(None, given, measures=[m for pair in PAIRS for m in pair], draws=4)


def ratios(result: Any, measure: str, methods: tuple[str, str]) -> list[dict[str, Any]]:
    """Return, for each level, the geometric mean of the ratio of the two methods and its interval."""
    values: dict[tuple[Any, ...], tuple[float | None, float]] = {}
    for record in result.records:
        if record["measure"] == measure:
            key = (record["method"], record["seed"], record["level"])
            size = abs(float(record["value"])) if record["value"] else None  # beyond what was tried, or 0
            values[key] = (size, float(record["density"]))
    found = []
    for level in sorted({key[2] for key in values}):
        pairs = [
            (values[methods[0], s, level], values[methods[1], s, level])
            for m, s, k in values
            if (m, k) == (methods[0], level) and (methods[1], s, level) in values
        ]
        if not pairs or any(size is None for pair in pairs for size, _ in pair):
            continue
        logs = [math.log(first / second) for (first, _), (second, _) in pairs if first and second]
        ends = mean_interval(logs) if len(logs) >= FEW_SEEDS else None  # fewer: no honest interval
        interval = None if ends is None else tuple(math.exp(end) for end in ends)
        mean = math.exp(math.fsum(logs) / len(logs))
        found.append({"level": level, "density": pairs[0][0][1], "ratio": mean, "interval": interval})
    return found


def markdown(result: Any, methods: tuple[str, str], levels: Sequence[int]) -> str:
    """Return the ratios of every measure as a table in Markdown, one column per level."""
    densities = {r["level"]: float(r["density"]) for r in result.records}
    lines = [
        "| measure | unchanged by rescaling | "
        + " | ".join(f"{100 * densities[level]:.3g} %" for level in levels)
        + " |",
        "| --- " * (2 + len(levels)) + "|",
    ]
    for measure in result.measures:
        found = {row["level"]: row for row in ratios(result, measure, methods)}
        cells = [_cell(found.get(level)) for level in levels]
        lines.append(f"| {_name(result, measure)} | {_unchanged(measure)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _name(result: Any, measure: str) -> str:
    own = [r for r in result.records if r["measure"] == measure]
    # The radius of PAC-Bayes measures is what they find.
    radii = {r["radius"] for r in own}
    radius = f", radius {own[0]['radius']:g}" if len(radii) == 1 and own[0]["radius"] else ""
    size = " (size)" if any((r["value"] or 0) < 0 for r in own) else ""
    return f"{title_of(measure)}{radius}{size}".replace("|", "\\|")  # a bar would end the cell


def _unchanged(measure: str) -> str:
    entry = MEASURES.get(measure)
    if entry is None:
        return "unknown"
    return "yes" if entry.neuron_wise else "by layers" if entry.layer_wise else "no"


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    if row["interval"] is None:
        return f"{row['ratio']:.2f}"
    low, high = row["interval"]
    return f"{row['ratio']:.2f} [{low:.2f}, {high:.2f}]"


def _chosen(levels: Sequence[int], words: Sequence[str]) -> list[int]:
    """Return the levels of the table: those asked for, or five from dense to sparse."""
    if words:
        return [int(word) for word in words]
    last = len(levels) - 1
    return [levels[i] for i in sorted({math.ceil(part * last / 4) for part in range(5)})]


def verdict(row: Mapping[str, Any]) -> str:
    """Return which method is flatter, where the interval of the ratio leaves 1 out."""
    if row["interval"] is None or row["interval"][0] <= 1 <= row["interval"][1]:
        return "undecided"
    # The size of an entropy, which is negative here, falls as the surroundings get flatter.
    return "first sharper" if row["ratio"] > 1 else "first flatter"


def figure(result: Any, methods: tuple[str, str]) -> go.Figure:
    """Return the ratios against weights remaining, raw measures left, scale-relative ones right."""
    titles = [title_of(measure) for pair in PAIRS for measure in pair]
    fig = make_subplots(
        rows=len(PAIRS), cols=2, subplot_titles=titles, shared_yaxes=True, vertical_spacing=0.07
    )
    style(fig, title=f"Sharpness of {methods[0]} over that of {methods[1]}", height=130 + 230 * len(PAIRS))
    densities = []
    for row, pair in enumerate(PAIRS, start=1):
        for col, measure in enumerate(pair, start=1):
            found = ratios(result, measure, methods)
            densities += [entry["density"] for entry in found]
            ends = [entry["interval"] or (entry["ratio"], entry["ratio"]) for entry in found]
            look = swatch(col - 1)
            fig.add_scatter(
                x=[100 * entry["density"] for entry in found],
                y=numbers([entry["ratio"] for entry in found]),
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [high - e["ratio"] for e, (_, high) in zip(found, ends, strict=True)],
                    "arrayminus": [e["ratio"] - low for e, (low, _) in zip(found, ends, strict=True)],
                },
                mode="lines+markers",
                name=title_of(measure),
                line={"color": look["color"], "dash": look["dash"], "width": 2},
                marker={"symbol": look["symbol"], "size": 7},
                row=row,
                col=col,
            )
            fig.add_hline(y=1, line={"color": "#6b7280", "dash": "dot", "width": 1}, row=row, col=col)
    remaining_axis(fig, densities)
    fig.update_xaxes(title_text="")
    fig.update_xaxes(title_text="weights remaining", row=len(PAIRS))
    fig.update_yaxes(type="log", tickvals=[0.25, 0.5, 1, 2, 4, 8], ticktext=["¼", "½", "1", "2", "4", "8"])
    fig.update_layout(showlegend=False)
    return fig


def main(arguments: list[str]) -> None:
    """Print the ratios, and write the figure."""
    stored = bool(arguments) and Path(arguments[0]).is_file()
    result = landscape.load_result(arguments[0]) if stored else small_run(Path("flatness-run"))
    pages = [argument for argument in arguments if argument.endswith(".html")]
    named = list(dict.fromkeys(str(network["method"]) for network in result.networks))
    methods = (named[0], named[1])
    print(f"{methods[0]} over {methods[1]}, geometric mean [95 % interval over seeds]")
    for measure in result.measures:
        for row in ratios(result, measure, methods):
            low, high = row["interval"] or (math.nan, math.nan)
            text = f"{row['ratio']:6.2f} [{low:.2f}, {high:.2f}]"
            print(f"{measure:<24} {100 * row['density']:6.2f} %  {text:<24} {verdict(row)}")
    levels = sorted({record["level"] for record in result.records})
    print()
    print(markdown(result, methods, _chosen(levels, [word for word in arguments[1:] if word.isdigit()])))
    write_html(figure(result, methods), pages[-1] if pages else "flatness-answer.html", force=True)


if __name__ == "__main__":
    main(sys.argv[1:])
