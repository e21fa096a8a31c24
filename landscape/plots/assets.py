"""The style sheet and the scripts of a page."""

from __future__ import annotations

import json

from landscape.plots.theme import COLORS, DARK, FONT, GREY, INK

STYLE = f"""
:root {{ color-scheme: light dark; --page: #fff; --ink: {INK}; --quiet: {GREY}; --line: #dfe2e6;
  --soft: #f6f7f9; --accent: {COLORS[0]}; --caption: #4a515b; --alert: #fdf4ee; --rule: #eceef1;
  --shade: rgba(31,35,40,0.22); }}
@media (prefers-color-scheme: dark) {{
  :root {{ --page: {DARK["white"]}; --ink: {DARK[INK]}; --quiet: {DARK[GREY]}; --line: #363d46;
    --soft: #20252b; --accent: {DARK[COLORS[0]]}; --caption: #b9c1cb; --alert: #33261c; --rule: #262b32;
    --shade: rgba(0,0,0,0.65); }}
  .updatemenu-item-rect[style*="rgb(244, 250, 255)"] {{ fill: #363d46 !important; }}
}}
* {{ box-sizing: border-box; }}
html {{ -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }}
body {{ margin: 0; background: var(--page); color: var(--ink); font: 16px/1.6 {FONT}; }}
main {{ max-width: 1040px; margin: 0 auto; padding: 48px 32px 72px; }}
h1 {{ font-size: 34px; line-height: 1.2; letter-spacing: -0.015em; font-weight: 650; margin: 0 0 8px;
  max-width: 26em; text-wrap: balance; }}
h2 {{ font-size: 23px; line-height: 1.3; letter-spacing: -0.01em; font-weight: 650; margin: 64px 0 12px; }}
h3 {{ font-size: 16px; line-height: 1.4; font-weight: 600; margin: 0 0 4px; }}
h1, h2, h3, p, li, figcaption, caption {{ overflow-wrap: anywhere; }}
p, ul {{ max-width: 70ch; margin: 0 0 14px; }}
ul {{ padding-left: 1.2em; }}
li {{ margin: 4px 0; }}
code {{ font: 0.9em ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
  background: var(--soft); border-radius: 4px; padding: 0.1em 0.3em; overflow-wrap: anywhere; }}
a {{ color: var(--accent); text-decoration: underline; text-decoration-thickness: 1px;
  text-underline-offset: 3px; }}
.subtitle {{ font-size: 19px; line-height: 1.5; color: var(--quiet); margin-bottom: 24px; }}
nav {{ font-size: 15px; margin: 0 0 8px; display: flex; flex-wrap: wrap; gap: 4px 20px; }}
.cards {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); margin: 28px 0 36px;
  border-top: 1px solid var(--line); border-bottom: 1px solid var(--line); gap: 0 32px; }}
.card {{ padding: 18px 0; min-width: 0; }}
.card {{ display: flex; flex-direction: column; }}
.card dt {{ font-size: 14.5px; line-height: 1.4; }}
.card dd {{ margin: 2px 0 0; font-size: 13.5px; line-height: 1.45; color: var(--quiet); }}
.card .value {{ order: -1; font-size: 28px; line-height: 1.25; font-weight: 600; letter-spacing: -0.01em;
  margin: 0 0 4px; color: inherit; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }}
.warning {{ border-left: 3px solid {COLORS[1]}; background: var(--alert); padding: 10px 16px;
  margin: 0 0 14px; white-space: pre-line; max-width: 76ch; overflow-wrap: anywhere; }}
figure {{ margin: 28px 0 40px; }}
.pair {{ display: grid; gap: 0 32px;
  grid-template-columns: repeat(auto-fit, minmax(min(400px, 100%), 1fr)); }}
.pair figure {{ min-width: 0; margin-bottom: 16px; }}
.pair > div {{ min-width: 0; }}
@media (min-width: 900px) and (min-height: 640px) {{
  .stays {{ position: sticky; top: 8px; align-self: start; }}
}}
.plot {{ width: 100%; margin: 4px 0 8px; }}
figcaption, caption {{ font-size: 14.5px; line-height: 1.55; color: var(--caption);
  max-width: 78ch; text-align: left; }}
figcaption p {{ margin: 0; max-width: none; }}
.data {{ font-size: 14px; line-height: 1.5; margin: 4px 0 0; color: var(--quiet); }}
.tablebox {{ margin: 28px 0 40px; }}
.tablebox.folded {{ margin: 6px 0; }}
summary {{ cursor: pointer; padding: 6px 0; }}
.scroll {{ overflow: auto; border-top: 1px solid var(--ink);
  border-bottom: 1px solid var(--ink); margin: 8px 0; width: fit-content; max-width: 100%; }}
.scroll.long {{ max-height: 640px; }}
.more {{ font-size: 13.5px; color: var(--quiet); margin: -2px 0 4px; }}
.more:empty {{ display: none; }}
table {{ border-collapse: collapse; font-size: 14.5px; line-height: 1.45;
  font-variant-numeric: tabular-nums; }}
th, td {{ padding: 6px 24px 6px 0; text-align: left; vertical-align: top; }}
th:last-child, td:last-child {{ padding-right: 8px; }}
thead th {{ font-weight: 600; vertical-align: bottom; border-bottom: 1px solid #9aa1ab;
  position: sticky; top: 0; background: var(--page); z-index: 1; }}
tbody tr + tr > * {{ border-top: 1px solid var(--rule); }}
td.number {{ white-space: nowrap; }}
.number {{ text-align: right; }}
td.text {{ min-width: 5em; max-width: 46ch; overflow-wrap: anywhere; }}
td.short {{ white-space: nowrap; }}
td.path {{ min-width: 14em; }}
table.folds tbody td:first-child {{ position: sticky; left: 0; background: var(--page); max-width: 24ch; }}
.provenance {{ margin-top: 72px; border-top: 1px solid var(--line); padding-top: 20px; font-size: 14px; }}
.provenance summary {{ font-size: 15px; }}
.provenance table {{ width: auto; font-size: 13.5px; }}
.provenance th {{ font-weight: 400; color: var(--quiet); padding: 3px 28px 3px 0; }}
.provenance td {{ padding: 3px 0; overflow-wrap: anywhere; }}
.provenance tbody tr + tr > * {{ border-top: 0; }}
@media (max-width: 640px) {{
  main {{ padding: 28px 16px 48px; }}
  h1 {{ font-size: 27px; }}
  h2 {{ font-size: 20px; margin-top: 48px; }}
  .subtitle {{ font-size: 17px; }}
  .cards {{ grid-template-columns: 1fr 1fr; gap: 0 20px; }}
  .card {{ padding: 12px 0; }}
  .card .value {{ font-size: 22px; }}
  figure, .tablebox {{ margin: 24px 0 32px; }}
  th, td {{ padding-right: 14px; }}
  td.text {{ min-width: 0; white-space: normal; }}
  .scroll.long {{ max-height: none; }}
  .scroll.long-folded {{ max-height: 640px; }}
  .scroll, .scroll table {{ width: 100%; }}
  table.folds thead {{ display: none; }}
  table.folds, table.folds tbody, table.folds tr {{ display: block; }}
  table.folds tr {{ padding: 8px 0; }}
  table.folds tr + tr {{ border-top: 1px solid var(--ink); }}
  table.folds tbody tr td, table.folds tbody tr + tr > *,
  table.folds tbody td:first-child {{ display: flex; justify-content: space-between;
    gap: 16px; position: static; padding: 1px 8px 1px 0; max-width: none; border: 0; text-align: right;
    overflow-wrap: anywhere; white-space: normal; }}
  table.folds td::before {{ content: attr(data-label); color: var(--quiet); text-align: left;
    flex: 0 0 auto; max-width: 50%; }}
  .provenance th {{ display: block; padding: 8px 0 0; }}
  .provenance td {{ display: block; }}
}}
@media print {{
  main {{ max-width: none; padding: 0; }}
  body {{ font-size: 12pt; }}
  h2 {{ break-after: avoid; }}
  figure, .card, tr {{ break-inside: avoid; }}
  .data, nav, .modebar-container {{ display: none !important; }}
  .scroll, .scroll.long, .scroll.long-folded {{ max-height: none; overflow: visible; }}
}}
""".strip()

# Touch: without a drag mode, a finger on a plot scrolls the page. The observer also hears of changes of
# width that no window event reports: a printed page, a new scroll bar. A legend of many lines gets
# more room instead of a scroll bar of its own. Axes of one scale leave room beside or below them: the
# colour bar comes up to them, and the page closes the gap. Nothing is sent anywhere.
_SCRIPT = """
(function () {
  var dark = window.matchMedia && window.matchMedia("(prefers-color-scheme: dark)");
  var touch = window.matchMedia && window.matchMedia("(pointer: coarse)").matches;
  var hovers = window.matchMedia && window.matchMedia("(hover: hover)").matches;
  var roomy = document.documentElement.clientWidth >= 640;
  var swaps = COLORS_OF_A_DARK_PAGE;
  function specification(node) {
    var text = node.textContent;
    if (dark && dark.matches) {
      swaps.forEach(function (swap) { text = text.split(swap[0]).join(swap[1]); });
    }
    var figure = JSON.parse(text);
    if (touch) { figure.layout.dragmode = false; }
    return figure;
  }
  function fit(target, height) {
    var legend = target.querySelector(".infolayer > .legend");
    var taken = legend ? legend.getBoundingClientRect().height : 0;
    var wanted = height + Math.max(0, Math.round(taken - 24));
    if (Math.abs(wanted - target._fullLayout.height) > 4) {
      target.style.height = wanted + "px";
      return Plotly.relayout(target, { height: wanted });
    }
  }
  function gather(target) {
    var full = target._fullLayout, y = full.yaxis;
    if (!y || !y.scaleanchor) { return; }
    var bars = [], spare = Math.round(full._size.h - y._length);
    target.data.forEach(function (trace, i) { if (trace.type === "contour") { bars.push(i); } });
    function beside() {
      var end = target._fullLayout.xaxis.domain[1];
      if (bars.length) { return Plotly.restyle(target, { "colorbar.x": end + 0.02 }, bars); }
    }
    if (spare <= 4) { return Promise.resolve(beside()).then(beside); }  // moved, it leaves the axes more room
    target.style.height = full.height - spare + "px";
    return Plotly.relayout(target, { height: full.height - spare }).then(beside).then(beside);
  }
  var watcher = window.ResizeObserver && new ResizeObserver(function (entries) {
    entries.forEach(function (entry) {
      var plot = entry.target;
      var drawn = plot._fullLayout && plot._fullLayout.width;
      if (drawn && plot.clientWidth && Math.abs(drawn - plot.clientWidth) > 1) { Plotly.Plots.resize(plot); }
    });
  });
  function reveal(target) {
    return function (event) {
      var plots = Array.prototype.slice.call(document.querySelectorAll(".plot"));
      var next = plots[plots.indexOf(target) + 1], chosen = event.points[0].customdata;
      if (!next || !next.data || typeof chosen !== "number") { return; }
      Plotly.restyle(next, { visible: next.data.map(function (_, i) { return i === chosen; }) });
    };
  }
  document.querySelectorAll("script.figure").forEach(function (node) {
    var figure = specification(node), height = figure.layout.height || 440;
    var target = document.getElementById(node.getAttribute("data-for"));
    Plotly.newPlot(target, figure.data, figure.layout, {
      responsive: true,
      displaylogo: false,
      displayModeBar: hovers && roomy ? "hover" : false,
      plotlyServerURL: "",
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "sendDataToCloud", "sendChartToCloud"],
      toImageButtonOptions: { format: "svg", filename: target.id }
    }).then(function () {
      if (figure.frames) { return Plotly.addFrames(target, figure.frames); }
    }).then(function () {
      return fit(target, height);
    }).then(function () {
      return gather(target);
    }).then(function () {
      if (watcher) { watcher.observe(target); }
      if ((figure.layout.meta || {}).click === "next") { target.on("plotly_click", reveal(target)); }
      if (dark && dark.addEventListener) {
        dark.addEventListener("change", function () {
          var other = specification(node);
          other.layout.height = target._fullLayout.height;
          Plotly.react(target, other.data, other.layout).then(function () { return gather(target); });
        });
      }
    });
  });
})();
""".strip()


def _swaps() -> list[tuple[str, str]]:
    """Return what a dark page exchanges in the JSON of a figure: whole colours, and those of tints.

    A text of the user's cannot be mistaken for a colour: its quotes are escaped there.
    """
    whole = [(f'"{light}"', f'"{dark}"') for light, dark in DARK.items()]
    pairs = [(light, dark) for light, dark in DARK.items() if light.startswith("#")]
    tints = [(f'"rgba({_rgb(light)},', f'"rgba({_rgb(dark)},') for light, dark in pairs]
    return [*whole, *tints]


def _rgb(color: str) -> str:
    return ",".join(str(int(color[i : i + 2], 16)) for i in (1, 3, 5))


SCRIPT = _SCRIPT.replace("COLORS_OF_A_DARK_PAGE", json.dumps(_swaps()))

# Says where a table goes on beyond its box; it looks again when the box changes.
SCROLL_SIGNS = """
(function () {
  document.querySelectorAll(".tablebox").forEach(function (box) {
    var inner = box.querySelector(".scroll"), sign = box.querySelector(".more");
    function look() {
      var wide = inner.scrollWidth > inner.clientWidth + 1;
      var tall = inner.scrollHeight > inner.clientHeight + 1;
      sign.textContent = wide && tall ? "Scroll: more to the right \\u2192 and below \\u2193"
        : wide ? "Scroll: more to the right \\u2192" : tall ? "Scroll: more below \\u2193" : "";
    }
    look();
    if (window.ResizeObserver) { new ResizeObserver(look).observe(inner); }
  });
})();
""".strip()
