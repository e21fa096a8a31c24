"""The report in a real browser: no console error, every plot drawn, wide and narrow."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import open_page
from plot_samples import ODD_NAME, SHOWN_NAME, a_barrier, a_sweep, some_layers, some_levels, some_pairs

from landscape.plots import Page, density_figure, sweep_figure, write_html
from landscape.plots.connectivity.barrier import barrier_figure
from landscape.plots.tickets.sweeps import barrier_levels_figure, barrier_pairs_figure


def whole_page(name: str = "es seed 0") -> Page:
    page = Page(f"Tickets of {name}", name)
    page.text(f"A page about {name}.", plain=True).cards([("accuracy", "91.4 %", "of `nothing`")])
    page.figure(sweep_figure(a_sweep(name), reference=("chance", 0.1)), "Sweep.", "sweep")
    page.figure(density_figure(*some_layers(name)), "Density.", "density")
    page.figure(barrier_figure(a_barrier(names=(name, "es seed 1"))), "Barrier.", "barrier")
    page.figure(barrier_figure(a_barrier(overflow=True)), "Overflow.", "overflow")
    page.figure(barrier_levels_figure(some_levels(name)), "Levels.", "levels")
    page.figure(barrier_pairs_figure(some_pairs(name)), "Pairs.", "pairs")
    page.table([f"column {i}" for i in range(20)], [[name, *range(19)]], "A wide table", "wide")
    return page.provenance({"digests": {"a": "0123456789abcdef" * 4}, "name": name})


@pytest.mark.parametrize("width", [1280, 390])
def test_page_draws_every_plot_without_an_error_or_a_sideways_scroll(tmp_path: Path, width: int) -> None:
    page, *_ = whole_page().write(tmp_path / "page.html")
    seen = open_page(page, tmp_path, width=width)
    assert seen.errors == []
    assert seen.drawn == seen.plots == 6
    assert seen.width == width
    assert seen.content_width <= seen.width
    assert seen.widest_plot <= seen.width


def test_page_with_the_library_beside_it_draws(tmp_path: Path) -> None:
    page, *_ = write_html(sweep_figure(a_sweep()), tmp_path / "a b#c.html", plotlyjs="directory")
    seen = open_page(page, tmp_path)
    assert seen.errors == []
    assert seen.drawn == seen.plots == 1


# plotly answers a call for a hover at most every 50 ms, so each is waited for.
HOVER = """
var pause = function () { return new Promise(function (done) { setTimeout(done, 150); }); };
var drawn = [].map.call(document.querySelectorAll(".plot svg"), function (svg) { return svg.textContent; });
var said = {};
for (const plot of document.querySelectorAll(".plot")) {
  said[plot.id] = [];
  for (const [i, trace] of plot.data.entries()) {
    if (trace.hoverinfo === "skip" || !trace.x || trace.x[0] === null) { continue; }
    var subplot = (trace.xaxis || "x") + (trace.yaxis || "y");
    Plotly.Fx.hover(plot, [{ curveNumber: i, pointNumber: 0 }], subplot);
    await pause();
    said[plot.id].push(plot.querySelector(".hoverlayer").textContent);
    Plotly.Fx.unhover(plot);
  }
}
return {
  said: said,
  drawn: drawn.join(" "),
  obeyed: window.obeyed === true,
  images: document.querySelectorAll("img").length,
  links: document.querySelectorAll(".plot svg a").length
};
"""


@pytest.mark.faults
def test_33_tags_and_control_characters_are_text_in_the_page_and_on_hover(tmp_path: Path) -> None:
    page, *_ = whole_page(ODD_NAME).write(tmp_path / "page.html")
    seen = open_page(page, tmp_path, script=HOVER)
    assert seen.errors == []
    assert seen.drawn == seen.plots == 6
    assert SHOWN_NAME in seen.text
    assert not seen.answer["obeyed"]
    assert seen.answer["images"] == seen.answer["links"] == 0
    assert SHOWN_NAME in seen.answer["drawn"]
    for plot in ("plot-sweep", "plot-density", "plot-barrier", "plot-levels", "plot-pairs"):
        assert any(SHOWN_NAME in text for text in seen.answer["said"][plot]), plot


def test_hover_gives_four_significant_digits(tmp_path: Path) -> None:
    barrier = a_barrier(refined_alphas=[0.5], refined_losses=[0.41234567])
    page, *_ = write_html(barrier_figure(barrier), tmp_path / "barrier.html")
    seen = open_page(page, tmp_path, script=HOVER)
    said = " ".join(seen.answer["said"]["plot-barrier"])
    assert "train loss 0.02 " in said.replace("α", " α")
    assert "accuracy 0.97" in said
    assert "refined loss 0.4123" in said
