"""The style sheet and the script of a page."""

from __future__ import annotations

from landscape.plots.theme import COLORS, FONT, GREY, INK

STYLE = f"""
:root {{ --ink: {INK}; --quiet: {GREY}; --line: #dfe2e6; --soft: #f6f7f9; --accent: {COLORS[0]}; }}
* {{ box-sizing: border-box; }}
html {{ -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }}
body {{ margin: 0; background: #fff; color: var(--ink); font: 16px/1.6 {FONT}; }}
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
.warning {{ border-left: 3px solid {COLORS[1]}; background: #fdf4ee; padding: 10px 16px; margin: 0 0 14px;
  white-space: pre-line; max-width: 76ch; overflow-wrap: anywhere; }}
figure {{ margin: 28px 0 40px; }}
.pair {{ display: grid; gap: 0 32px;
  grid-template-columns: repeat(auto-fit, minmax(min(400px, 100%), 1fr)); }}
.pair figure {{ min-width: 0; margin-bottom: 16px; }}
.pair > div {{ min-width: 0; }}
@media (min-width: 900px) and (min-height: 640px) {{
  .stays {{ position: sticky; top: 8px; align-self: start; }}
}}
.plot {{ width: 100%; margin: 4px 0 8px; }}
figcaption, caption {{ font-size: 14.5px; line-height: 1.55; color: #4a515b;
  max-width: 78ch; text-align: left; }}
figcaption p {{ margin: 0; max-width: none; }}
.data {{ font-size: 14px; line-height: 1.5; margin: 4px 0 0; color: var(--quiet); }}
.tablebox {{ margin: 28px 0 40px; }}
.tablebox.folded {{ margin: 6px 0; }}
summary {{ cursor: pointer; padding: 6px 0; }}
.scroll {{ overflow-x: auto; max-height: 640px; overflow-y: auto; border-top: 1px solid var(--ink);
  border-bottom: 1px solid var(--ink); margin: 8px 0; width: fit-content; max-width: 100%; }}
table {{ width: max-content; border-collapse: collapse; font-size: 14.5px; line-height: 1.45;
  font-variant-numeric: tabular-nums; }}
th, td {{ padding: 6px 28px 6px 0; text-align: left; vertical-align: top; }}
th:last-child, td:last-child {{ padding-right: 8px; }}
thead th {{ white-space: nowrap; font-weight: 600; border-bottom: 1px solid #9aa1ab;
  position: sticky; top: 0; background: #fff; }}
tbody tr + tr > * {{ border-top: 1px solid #eceef1; }}
.number {{ text-align: right; white-space: nowrap; }}
td.text {{ min-width: 7em; max-width: 46ch; overflow-wrap: anywhere; }}
.provenance {{ margin-top: 72px; border-top: 1px solid var(--line); padding-top: 20px; font-size: 14px; }}
.provenance h2 {{ font-size: 17px; margin: 0 0 10px; }}
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
  th, td {{ padding-right: 18px; }}
  .provenance th {{ display: block; padding: 8px 0 0; }}
  .provenance td {{ display: block; }}
}}
@media print {{
  main {{ max-width: none; padding: 0; }}
  body {{ font-size: 12pt; }}
  h2 {{ break-after: avoid; }}
  figure, .card, tr {{ break-inside: avoid; }}
  .data, nav, .modebar-container {{ display: none !important; }}
  .scroll {{ max-height: none; overflow: visible; }}
}}
""".strip()

# Touch: without a drag mode, a finger on a plot scrolls the page. The observer also hears of changes of
# width that are none of the window's: a printed page, a scroll bar that appears. Nothing is sent anywhere.
SCRIPT = """
(function () {
  var specifications = document.querySelectorAll("script.figure");
  var watcher = window.ResizeObserver && new ResizeObserver(function (entries) {
    entries.forEach(function (entry) {
      var plot = entry.target;
      var drawn = plot._fullLayout && plot._fullLayout.width;
      if (drawn && plot.clientWidth && Math.abs(drawn - plot.clientWidth) > 1) { Plotly.Plots.resize(plot); }
    });
  });
  var touch = window.matchMedia && window.matchMedia("(pointer: coarse)").matches;
  var hovers = window.matchMedia && window.matchMedia("(hover: hover)").matches;
  var roomy = document.documentElement.clientWidth >= 640;
  specifications.forEach(function (node) {
    var figure = JSON.parse(node.textContent);
    var target = document.getElementById(node.getAttribute("data-for"));
    if (touch) { figure.layout.dragmode = false; }
    Plotly.newPlot(target, figure.data, figure.layout, {
      responsive: true,
      displaylogo: false,
      displayModeBar: hovers && roomy ? "hover" : false,
      plotlyServerURL: "",
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "sendDataToCloud", "sendChartToCloud"],
      toImageButtonOptions: { format: "svg", filename: target.id }
    }).then(function () { if (watcher) { watcher.observe(target); } });
  });
})();
""".strip()
