"""A real browser without a window: opens a page, reports what it drew and what it complained of."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--enable-logging=stderr",
    "--v=0",
    "--virtual-time-budget=60000",
)

# Errors are caught from the first line of the page on; the report goes to the frame around it, because
# a window without a screen is never narrower than 500 pixels and a frame can be.
CATCH = """<script>
window.__errors = [];
window.addEventListener("error", function (e) { window.__errors.push(String(e.message || e.target)); }, true);
window.addEventListener("unhandledrejection", function (e) { window.__errors.push(String(e.reason)); });
["error", "warn"].forEach(function (kind) {
  var old = console[kind];
  console[kind] = function () {
    window.__errors.push([].join.call(arguments, " "));
    old.apply(console, arguments);
  };
});
</script>"""
REPORT = """<script>
window.addEventListener("load", function () { setTimeout(async function () {
  var plots = [].slice.call(document.querySelectorAll(".plot"));
  var page = document.documentElement;
  var answer = null;
  try { answer = await (async function () { %s })(); } catch (error) { window.__errors.push(String(error)); }
  parent.postMessage(JSON.stringify({
    errors: window.__errors,
    plots: plots.length,
    drawn: plots.filter(function (plot) {
      var svg = plot.querySelector("svg.main-svg");
      return plot.classList.contains("js-plotly-plot") && svg && svg.getBoundingClientRect().width > 50;
    }).length,
    width: window.innerWidth,
    content_width: page.scrollWidth + window.innerWidth - page.clientWidth,
    widest_plot: Math.max.apply(null, [0].concat(plots.map(function (plot) {
      var svg = plot.querySelector("svg.main-svg");
      return svg ? svg.getBoundingClientRect().right : 0;
    }))),
    text: document.body.innerText,
    answer: answer
  }), "*");
}, 1500); });
</script>"""
FRAME = """<!doctype html><meta charset="utf-8">
<iframe style="border:0" width="{width}" height="900"></iframe>
<pre id="report"></pre><script>
window.addEventListener("message", function (e) {{
  document.getElementById("report").textContent = e.data;
}});
document.querySelector("iframe").src = "{page}";
</script>"""


@dataclasses.dataclass(frozen=True)
class Report:
    """What a browser says of a page."""

    errors: list[str]
    plots: int
    drawn: int
    width: int
    content_width: int
    widest_plot: float
    text: str
    answer: Any


def find_browser() -> str:
    """Return the path of a browser; the test is skipped, by name, without one."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip(f"no browser is installed ({', '.join(NAMES)}): this test needs one")


def open_page(page: Path, folder: Path, *, width: int = 1280, script: str = "return null;") -> Report:
    """Open `page` at `width` pixels and run `script`, the body of a function, after it is drawn."""
    browser = find_browser()
    text = page.read_text(encoding="utf-8")
    assert "<head>" in text
    watched = page.with_name(f"watched-{page.name}")  # beside the page: its relative links hold
    instrumented = text.replace("<head>", f"<head>{CATCH}", 1)
    watched.write_text(instrumented.replace("</body>\n</html>", f"{REPORT % script}</body>\n</html>"))
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(width=width, page=watched.resolve().as_uri()), encoding="utf-8")
    command = [
        browser,
        *FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={max(width, 500) + 40},1000",
        "--dump-dom",
        frame.resolve().as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    dom = done.stdout.decode("utf-8", "replace")
    found = re.search(r'<pre id="report">(.*?)</pre>', dom, re.DOTALL)
    complaints = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if "CONSOLE" in line]
    assert found is not None, f"the browser gave no report: {dom[:300]} {complaints}"
    assert found[1], f"the page never said it was drawn: {complaints}"
    report = json.loads(html.unescape(found[1]))
    return Report(**{**report, "errors": [*report["errors"], *complaints]})
