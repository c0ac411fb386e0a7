"""An evaluation as one self-contained HTML page: tables with colours, plots, crops with a before/after slider, error
maps, worst images first. It needs no network to be read, and no library to be made.

:class:`Gallery` collects crops while ``evaluate`` runs; :func:`page` puts everything together.
"""

import base64
import html
import io
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata, resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from msrn.evaluation import plots
from msrn.evaluation.literature import COSTS, STATUS, Published, rows
from msrn.evaluation.results import Evaluation
from msrn.evaluation.tables import data_name, level_name, method_name, pair, reference, significance
from msrn.images.picture import FloatArray, to_uint8
from msrn.system.atomic import write_atomically

_CROP = 160
_SHOWN = 6
"""Images per result, the worst first."""
_BARS = 24
"""Images per plot of gains, the smallest gain first."""
_NEAR = 0.3
"""Decibels below the paper that still count as near it."""


@dataclass(frozen=True)
class _Crop:
    name: str
    squared_error: float
    degraded: str
    restored: str
    clean: str
    error: str


@dataclass
class Gallery:
    """Keeps, for each result, the crops of the worst images, each where the restored one is furthest off."""

    crops: list[list[_Crop]] = field(default_factory=list[list[_Crop]])
    _current: list[_Crop] = field(default_factory=list[_Crop])

    def add(self, name: str, degraded: FloatArray, restored: FloatArray, clean: FloatArray) -> None:
        """Take one image of the current result: ``(C, H, W)`` in [0, 1]."""
        squared_error = float(np.mean((restored - clean) ** 2))
        if len(self._current) == _SHOWN and squared_error <= self._current[-1].squared_error:
            return
        error = np.abs(restored - clean).mean(axis=0)
        top, left = _worst_corner(error)
        window = (..., slice(top, top + _CROP), slice(left, left + _CROP))
        before, after, truth = (_embedded(to_uint8(image)[window]) for image in (degraded, restored, clean))
        crop = _Crop(name, squared_error, before, after, truth, _embedded(_heat(error[window])))
        self._current = sorted([*self._current, crop], key=lambda crop: -crop.squared_error)[:_SHOWN]

    def finish(self) -> None:
        """The current result is complete; the next one begins."""
        self.crops.append(self._current)
        self._current = []

    def discard(self) -> None:
        """The current result failed; the next one begins."""
        self._current = []


def page(results: Sequence[Evaluation], gallery: Gallery, costs: dict[str, int], command: str) -> str:
    """Return the report.

    Args:
        results: from ``evaluate``.
        gallery: filled while they were made, finished once for each.
        costs: multiply-adds per pixel by method, where known, for the scatter plot.
        command: what was typed.
    """
    template = Template(resources.files("msrn.evaluation").joinpath("report.html").read_text(encoding="utf-8"))
    packages = {"python": platform.python_version()} | {
        name: _version(name) for name in ("msrn-pytorch", "torch", "numpy", "pillow")
    }
    cells = _cells(results)
    return template.substitute(
        subject=html.escape(", ".join(dict.fromkeys(method_name(result) for result in results))),
        table="".join(_row(result) for result in results),
        notes="".join(dict.fromkeys(_notes(results))),
        field="".join(_field(cell) for cell in cells) + "".join(_costs(cell, costs) for cell in cells),
        sources=html.escape(_sources(cells)),
        gains="".join(_gains(result) for result in results),
        images="".join(_images(result) for result in results),
        crops="".join(_crops(result, crops) for result, crops in zip(results, gallery.crops, strict=True)),
        command=html.escape(command),
        protocols=_items(dict.fromkeys(result.protocol for result in results)),
        methods=_items(dict.fromkeys(result.weights or "degraded input" for result in results), code=True),
        versions=html.escape(", ".join(f"{name} {version}" for name, version in packages.items())),
    )


def write(folder: Path, text: str) -> Path:
    """Write the page as ``index.html`` in a folder and return its path.

    Raises:
        OutputError: it cannot be written.
    """
    path = folder / "index.html"
    write_atomically(path, lambda file: file.write(text.encode(errors="backslashreplace")))
    return path


def _cells(results: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """Results of one data set and level together."""
    cells: dict[tuple[object, ...], list[Evaluation]] = {}
    for result in results:
        cells.setdefault(result.cell, []).append(result)
    return list(cells.values())


def _row(result: Evaluation) -> str:
    paper, mean = reference(result), result.mean
    cells = [
        f"<th>{html.escape(method_name(result))}",
        f"<td>{html.escape(data_name(result))}",
        f"<td>{level_name(result)}",
        f"<td>{pair(result.baseline)}",
        f"<td><b>{pair(mean)}</b>",
        f"<td>{result.gain:+.2f}",
    ]
    if paper is None:
        cells.append("<td>–<td>–<td>–")
    else:
        decibels = mean.psnr - paper.psnr
        kind = "above" if decibels >= 0 else "near" if decibels >= -_NEAR else "below"
        similarity = "–" if paper.ssim is None else f"{mean.ssim - paper.ssim:+.4f}"
        cells.append(f'<td>{pair(paper)}<td class="{kind}">{decibels:+.2f}<td class="{kind}">{similarity}')
    cells.append(f"<td>{f'{result.speed:.2f}' if result.speed else '–'}")
    return f"<tr>{''.join(cells)}</tr>"


def _notes(results: Sequence[Evaluation]) -> Iterable[str]:
    """How sure differences are, and what could not be scored."""
    for result in results:
        if result.comparison:
            yield f'<p class="sure">{html.escape(f"{_place(result)}: {significance(result)}")}</p>'
    for result in results:
        for failure in result.failures:
            lost = f"{_place(result)}: {failure.name} could not be scored: {failure.error}"
            yield f'<p class="lost">{html.escape(lost)}</p>'


def _field(cell: Sequence[Evaluation]) -> str:
    """Ours among what others published: gain over the degraded input."""
    base = cell[0].baseline.psnr
    marks = [
        plots.Mark(method_name(result), result.mean.psnr - base, _decibels(result.mean.psnr), "ours") for result in cell
    ]
    for row in _published(cell[0]):
        label = f"{row.method}, {row.source.rpartition(' ')[2]}"
        kind = "paper" if row.method.startswith("MemNet") else "peer"
        marks.append(plots.Mark(label, row.psnr - base, _decibels(row.psnr), kind))
    if len(marks) < 2:
        return ""
    title = f"{_place(cell[0])}: what is gained over the degraded input's {_decibels(base)}"
    return plots.bars(title, sorted(marks, key=lambda mark: -mark.value))


def _costs(cell: Sequence[Evaluation], costs: dict[str, int]) -> str:
    """PSNR against multiply-adds per pixel, ours and the published methods whose cost is known."""
    marks = [
        plots.Mark(method_name(r), r.mean.psnr, f"{r.mean.psnr:.2f}", "ours", costs[r.weights] / 1e6)
        for r in cell
        if r.weights in costs
    ]
    for row in _published(cell[0]) if marks else ():
        if row.method in COSTS:
            kind = "paper" if row.method.startswith("MemNet") else "peer"
            marks.append(plots.Mark(row.method, row.psnr, f"{row.psnr:.2f}", kind, COSTS[row.method] / 1e6))
    if len(marks) < 2 or not all(np.isfinite(mark.value) for mark in marks):
        return ""
    title = f"{_place(cell[0])}: PSNR in dB against cost"
    return plots.scatter(title, marks, "million multiply-adds per pixel")


def _published(result: Evaluation) -> list[Published]:
    return [] if result.color else rows(result.task, result.data, result.level)


def _sources(cells: Sequence[Sequence[Evaluation]]) -> str:
    """Where the published numbers come from, and how sure they are."""
    found = [row for cell in cells for row in _published(cell[0])]
    return "; ".join(dict.fromkeys(f"{row.method}: {row.source} ({STATUS[row.status]})" for row in found))


def _gains(result: Evaluation) -> str:
    """Gain over the degraded input, image by image, the smallest first."""
    if result.weights is None:
        return ""
    marks = [
        plots.Mark(
            row.name, row.gain, f"{row.gain:+.2f}, to {row.restored.psnr:.2f}", "ours" if row.gain >= 0 else "loss"
        )
        for row in result.images
    ]
    shown = sorted(marks, key=lambda mark: mark.value)[:_BARS]
    which = "" if len(shown) == len(marks) else f", the {_BARS} smallest of {len(marks)}"
    return plots.bars(f"{_title(result)}: gain in dB{which}", shown)


def _images(result: Evaluation) -> str:
    """Every image and every score, folded away."""
    keys = list(result.mean.named())
    head = "".join(f"<th>{key.upper().replace('_', '-')}<th>degraded" for key in keys)
    body = "".join(
        f"<tr><th>{html.escape(row.name)}"
        + "".join(f"<td>{row.restored.named()[key]:.4f}<td>{row.baseline.named()[key]:.4f}" for key in keys)
        for row in sorted(result.images, key=lambda row: row.restored.psnr)
    )
    return (
        f"<details><summary>{html.escape(_title(result))}: all {len(result.images)} images</summary>"
        f'<div class="wide"><table><thead><tr><th>image{head}</thead><tbody>{body}</tbody></table></div></details>'
    )


def _crops(result: Evaluation, crops: Sequence[_Crop]) -> str:
    scores = {row.name: row for row in result.images}
    cases: list[str] = []
    for crop in sorted(crops, key=lambda crop: scores[crop.name].restored.psnr):
        name, row = html.escape(crop.name), scores[crop.name]
        views = [("original", crop.clean), ("error", crop.error)]
        others = "".join(
            f'<figure><img src="{data}" alt="{name}, {view}"><figcaption>{view}</figcaption></figure>'
            for view, data in views
        )
        cases.append(
            f"<article><h4>{name} <span>{pair(row.baseline)} → <b>{pair(row.restored)}</b></span></h4>"
            '<div class="views">'
            f'<figure><div class="slider"><img src="{crop.restored}" alt="{name}, restored">'
            f'<img class="before" src="{crop.degraded}" alt="{name}, degraded"><i></i>'
            f'<input type="range" min="0" max="100" step="0.1" value="50" aria-label="degraded or restored, {name}">'
            f"</div><figcaption><span>degraded</span><span>restored</span></figcaption></figure>{others}</div></article>"
        )
    return f"<h3>{html.escape(_title(result))}</h3>{''.join(cases)}" if cases else ""


def _title(result: Evaluation) -> str:
    return f"{_place(result)}, {method_name(result)}"


def _place(result: Evaluation) -> str:
    return f"{result.data} {level_name(result)}{', colour' if result.color else ''}"


def _decibels(value: float) -> str:
    return f"{value:.2f} dB"


def _items(texts: Iterable[str], *, code: bool = False) -> str:
    before, after = ("<li><code>", "</code></li>") if code else ("<li>", "</li>")
    return "".join(f"{before}{html.escape(text)}{after}" for text in texts)


def _worst_corner(error: NDArray[Any]) -> tuple[int, int]:
    """Corner of the crop with the largest mean error, on a grid of half crops."""
    height, width = (max(0, length - _CROP) for length in error.shape)
    step = _CROP // 2
    corners = [(y, x) for y in {*range(0, height + 1, step), height} for x in {*range(0, width + 1, step), width}]
    return max(sorted(corners), key=lambda c: float(error[c[0] : c[0] + _CROP, c[1] : c[1] + _CROP].mean()))


def _heat(error: NDArray[Any]) -> NDArray[np.uint8]:
    """Black over red to yellow at an error of 32 grey levels and more, as ``(3, H, W)``."""
    share = np.clip(error * 255 / 32, 0, 1)
    red, green = np.clip(share * 2, 0, 1), np.clip(share * 2 - 1, 0, 1)
    return (np.stack([red, green, np.zeros_like(red)]) * 255).astype(np.uint8)


def _embedded(pixels: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
