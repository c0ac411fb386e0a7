"""An evaluation as one self-contained HTML page: tables with colours, plots, crops with a before/after slider, error
maps, worst images first. It needs no network to be read, and no library to be made.

:class:`Gallery` collects crops while ``evaluate`` runs; :func:`page` puts everything together.
"""

import base64
import html
import io
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata, resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from msrn.degrade import to_uint8
from msrn.files import write_atomically
from msrn.picture import FloatArray
from msrn.published import PUBLISHED, find
from msrn.tables import level_name, method_name, pair

_CROP = 160
_SHOWN = 6
"""Images per result, the worst first."""


@dataclass(frozen=True)
class _Crop:
    name: str
    psnr: float
    degraded: str
    restored: str
    clean: str
    error: str


@dataclass
class Gallery:
    """Keeps, for each result, the crop of every image where the restored one is furthest off."""

    crops: list[list[_Crop]] = field(default_factory=list[list[_Crop]])

    def start(self) -> None:
        """Begin the next result."""
        self.crops.append([])

    def add(self, name: str, degraded: FloatArray, restored: FloatArray, clean: FloatArray) -> None:
        """Take one image of the current result: planes ``(1, H, W)`` in [0, 1]."""
        error = np.abs(restored - clean)[0]
        top, left = _worst_corner(error)
        window = (0, slice(top, top + _CROP), slice(left, left + _CROP))
        difference = float(np.mean((restored - clean) ** 2))
        before, after, truth = (_embedded(to_uint8(image)[window]) for image in (degraded, restored, clean))
        psnr = float("inf") if difference == 0 else -10 * float(np.log10(difference))
        heat = _embedded(_heat(error[window[1:]]))
        self.crops[-1].append(_Crop(name, psnr, before, after, truth, heat))


def page(results: Sequence[dict[str, Any]], gallery: Gallery, costs: dict[str, int], command: str) -> str:
    """Return the report.

    Args:
        results: from ``evaluate``.
        gallery: filled while they were made, one ``start`` for each.
        costs: multiply-adds per pixel by method, where known, for the scatter plot.
        command: what was typed.
    """
    template = Template(resources.files("msrn").joinpath("report.html").read_text(encoding="utf-8"))
    versions = {"python": platform.python_version(), **{name: _version(name) for name in ("torch", "numpy", "pillow")}}
    return template.substitute(
        command=html.escape(command),
        versions=html.escape(", ".join(f"{name} {version}" for name, version in versions.items())),
        weights="".join(f"<li><code>{html.escape(name)}</code></li>" for name in _names(results)),
        table=_table(results),
        bars="".join(_bars(result) for result in results),
        scatter=_scatter(results, costs),
        crops="".join(_crops(result, crops) for result, crops in zip(results, gallery.crops, strict=True)),
    )


def write(folder: Path, text: str) -> Path:
    """Write the page as ``index.html`` in a folder and return its path.

    Raises:
        OutputError: it cannot be written.
    """
    path = folder / "index.html"
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def _table(results: Sequence[dict[str, Any]]) -> str:
    rows: list[str] = []
    for result in results:
        paper = find(result["task"], result["data"], result["level"])
        cells = [
            method_name(result),
            result["data"],
            level_name(result),
            pair(result["baseline"]),
            pair(result["mean"]),
        ]
        row = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        if paper is None:
            row += "<td>–</td><td>–</td>"
        else:
            difference = result["mean"]["psnr"] - paper.psnr
            kind = "above" if difference >= 0 else "near" if difference >= -0.3 else "below"
            ssim = "" if paper.ssim is None else f" / {paper.ssim:.4f}"
            row += f'<td>{paper.psnr:.2f}{ssim}</td><td class="{kind}">{difference:+.2f}</td>'
        rows.append(f"<tr>{row}</tr>")
    return "".join(rows)


def _bars(result: dict[str, Any]) -> str:
    """Gain in PSNR over the degraded input, image by image, largest last."""
    gains = sorted((row["psnr"] - row["baseline"]["psnr"], row["name"]) for row in result["images"])
    largest = max(max(abs(gain) for gain, _ in gains), 1e-9)
    height, parts = 18, list[str]()
    for index, (gain, name) in enumerate(gains):
        y, length = index * height, abs(gain) / largest * 380
        kind = "gain" if gain >= 0 else "loss"
        parts.append(
            f'<text x="150" y="{y + 13}" text-anchor="end">{html.escape(name[:24])}</text>'
            f'<rect x="156" y="{y + 2}" width="{length:.1f}" height="{height - 4}" class="{kind}"/>'
            f'<text x="{162 + length:.1f}" y="{y + 13}">{gain:+.2f}</text>'
        )
    title = f"{method_name(result)}, {result['data']} {level_name(result)}: gain over the degraded input, dB"
    return _figure(title, len(gains) * height, "".join(parts))


def _scatter(results: Sequence[dict[str, Any]], costs: dict[str, int]) -> str:
    """PSNR against multiply-adds per pixel, one plot per data set and level with a known cost."""
    plots: list[str] = []
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for result in results:
        if str(result["weights"]) in costs:
            groups.setdefault((result["task"], result["data"], result["level"]), []).append(result)
    for (task, data, level), group in groups.items():
        points = [(costs[str(r["weights"])] / 1e6, r["mean"]["psnr"], method_name(r)) for r in group]
        peers = [row for row in PUBLISHED if (row.task, row.data, row.level) == (task, str(data).lower(), level)]
        paper = [row for row in peers if row.method == "MemNet"]
        points += [(2.888832, row.psnr, "MemNet, paper") for row in paper]
        plots.append(_plot(points, f"{data} {level_name(group[0])}: PSNR against million multiply-adds per pixel"))
    return "".join(plots)


def _plot(points: Sequence[tuple[float, float, str]], title: str) -> str:
    logs = [np.log10(cost) for cost, _, _ in points]
    scores = [score for _, score, _ in points]
    low, high = min(logs) - 0.2, max(logs) + 0.2
    bottom, top = min(scores) - 0.2, max(scores) + 0.2
    parts: list[str] = []
    for (cost, score, name), log in zip(points, logs, strict=True):
        x, y = 60 + (log - low) / (high - low) * 400, 180 - (score - bottom) / (top - bottom) * 160
        label = html.escape(f"{name[:28]}: {score:.2f} dB at {cost:.3g} M")
        parts.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="5"/><text x="{x + 8:.0f}" y="{y + 4:.0f}">{label}</text>')
    return _figure(title, 200, '<path d="M50 10V185H590" class="axis"/>' + "".join(parts))


def _figure(title: str, height: int, content: str) -> str:
    caption = f"<figcaption>{html.escape(title)}</figcaption>"
    return f'<figure>{caption}<svg viewBox="0 0 600 {height}">{content}</svg></figure>'


def _crops(result: dict[str, Any], crops: Sequence[_Crop]) -> str:
    figures: list[str] = []
    for crop in sorted(crops, key=lambda crop: crop.psnr)[:_SHOWN]:
        name = html.escape(crop.name)
        figures.append(
            f'<div class="case"><div class="slider"><img src="{crop.restored}" alt="{name}, restored">'
            f'<img class="before" src="{crop.degraded}" alt="{name}, degraded">'
            f'<input type="range" min="0" max="100" value="50" aria-label="degraded or restored, {name}"></div>'
            f'<img src="{crop.clean}" alt="{name}, original"><img src="{crop.error}" alt="{name}, error">'
            f"<p>{name}, {crop.psnr:.2f} dB unrounded</p></div>"
        )
    title = html.escape(f"{method_name(result)}, {result['data']} {level_name(result)}")
    return f"<h3>{title}</h3>{''.join(figures)}"


def _worst_corner(error: NDArray[Any]) -> tuple[int, int]:
    """Corner of the crop with the largest mean error, on a grid of half crops."""
    height, width = (max(0, length - _CROP) for length in error.shape)
    step = _CROP // 2
    corners = [(y, x) for y in {*range(0, height + 1, step), height} for x in {*range(0, width + 1, step), width}]
    return max(sorted(corners), key=lambda c: float(error[c[0] : c[0] + _CROP, c[1] : c[1] + _CROP].mean()))


def _heat(error: NDArray[Any]) -> NDArray[np.uint8]:
    """Black over red to yellow at an error of 32 grey levels and more, as ``(H, W, 3)``."""
    share = np.clip(error * 255 / 32, 0, 1)
    red, green = np.clip(share * 2, 0, 1), np.clip(share * 2 - 1, 0, 1)
    return (np.stack([red, green, np.zeros_like(red)], axis=-1) * 255).astype(np.uint8)


def _embedded(pixels: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _names(results: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(str(result["weights"] or "degraded input") for result in results))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
