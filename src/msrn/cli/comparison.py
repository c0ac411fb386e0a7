"""Before and after of one's own pictures: a page with a slider over each, at 1:1."""

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from msrn.system.atomic import write_atomically

if TYPE_CHECKING:
    from msrn.batch import Outcome

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Before and after</title>
<link rel="icon" href="data:,">
<style>
  :root {{ color-scheme: light dark }}
  body {{ margin: 0; padding: 1.5rem; font: 16px/1.5 system-ui, sans-serif }}
  h1 {{ margin: 0; font-size: 1.6rem }}
  figure {{ margin: 1.5rem 0 0 }}
  figcaption {{ overflow-wrap: anywhere }}
  .view {{ max-width: 100%; max-height: 90vh; overflow: auto }}
  .slider {{ position: relative; width: max-content; --at: 50% }}
  .slider img {{ display: block }}
  .slider .before {{ position: absolute; inset: 0; width: 100%; height: 100%;
    clip-path: inset(0 calc(100% - var(--at)) 0 0) }}
  .slider .doubt {{ position: absolute; inset: 0; width: 100%; height: 100%; pointer-events: none; display: none }}
  figure:has(figcaption :checked) .doubt {{ display: block }}
  .slider i {{ position: absolute; inset: 0 auto 0 var(--at); width: 2px; margin-left: -1px; background: #fff;
    box-shadow: 0 0 0 1px #0008; pointer-events: none }}
  .slider input {{ position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize;
    touch-action: pan-x pan-y }}
</style>
<h1>Before and after</h1>
<p>Left of the line: as it came; right of it: restored, each pixel as one of the page. Drag the line, scroll the rest.
The page shows the files where they are: move them together.</p>
{figures}
<script>
  for (const input of document.querySelectorAll(".slider input"))
    input.addEventListener("input", () => input.parentElement.style.setProperty("--at", input.value + "%"));
</script>
</html>
"""
_FIGURE = """<figure><figcaption><b>{name}</b> {note}{switch}</figcaption>
<div class="view"><div class="slider">
<img src="{after}" alt="{name}, restored"><img class="before" src="{before}" alt="{name}, as it came">{doubt}<i></i>
<input type="range" min="0" max="100" step="0.1" value="50" aria-label="before or after, {name}">
</div></div></figure>"""
_SWITCH = ' <label><input type="checkbox"> where it may be wrong (white: by {white:g} grey levels and more)</label>'
_DOUBT = '<img class="doubt" src="{address}" alt="{name}, likely errors">'


def write_comparison(path: Path, outcomes: "Sequence[Outcome]") -> None:
    """Write a page that shows the pictures of a run before and after, by relative addresses of their files.

    Args:
        path: of the page.
        outcomes: of the run, also of what was made before; videos, rasters, failures and what is no file are left
            out.

    Raises:
        OutputError: the page cannot be written.
    """
    made = [each for each in outcomes if each.error is None and each.job.is_picture and each.job.has_files]
    figures = "\n".join(_figure(path, outcome) for outcome in made)
    write_atomically(path, lambda file: file.write(_PAGE.format(figures=figures).encode()))


def _figure(page: Path, outcome: "Outcome") -> str:
    before, after = (_address(page, file) for file in (outcome.job.source, outcome.job.target))
    name, note, heatmap = escape(outcome.job.name), escape(outcome.note), outcome.job.heatmap
    switch = doubt = ""
    if heatmap is not None and heatmap.is_file():
        from msrn.restoration.confidence import WHITE

        switch, doubt = _SWITCH.format(white=WHITE), _DOUBT.format(address=_address(page, heatmap), name=name)
    return _FIGURE.format(name=name, note=note, before=before, after=after, switch=switch, doubt=doubt)


def _address(page: Path, file: Path) -> str:
    """A file's address, relative to the page's."""
    relative = os.path.relpath(file.resolve(), page.resolve().parent)
    return quote(os.fsencode(Path(relative).as_posix()))
