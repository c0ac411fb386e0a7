"""An evaluation as one self-contained HTML page: tables with colours, plots, crops with a before/after slider, error
maps, worst images first."""

import platform
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from msrn.evaluation import plots, tables
from msrn.evaluation.gallery import Crop, Gallery
from msrn.evaluation.literature import COSTS, STATUS, LiteratureScore, scores_on
from msrn.evaluation.page import render, write_page
from msrn.evaluation.plots import Kind, Mark, Plot
from msrn.evaluation.results import Evaluation, ImageScores
from msrn.evaluation.tables import method_name
from msrn.system.extras import missing
from msrn.system.machine import cores, processor

_BARS = 24
"""Images per plot of gains, the smallest gain first."""
_NEAR = 0.3
"""Decibels below the paper that still count as near it."""


def write_report(
    folder: Path, results: Sequence[Evaluation], gallery: Gallery, costs: dict[str, int], command: str
) -> Path:
    """Write the report as ``index.html`` in a folder and return its path.

    Args:
        folder: made where it is missing.
        results: from ``evaluate``.
        gallery: filled while they were made, finished once for each.
        costs: multiply-adds per pixel by method, where known, for the plot of PSNR against cost.
        command: what was typed.

    Raises:
        OutputError: it cannot be written.
        UsageError: Jinja2 or matplotlib is not installed.
    """
    path = folder / "index.html"
    write_page(path, _page(results, gallery, costs, command))
    return path


def check_packages() -> None:
    """Raise :class:`UsageError` where a package that the report needs is not installed; before hours of scoring."""
    for package, name in (("jinja2", "Jinja2"), ("matplotlib", "matplotlib")):
        if find_spec(package) is None:
            raise missing("a report", name, "train")


def _page(results: Sequence[Evaluation], gallery: Gallery, costs: dict[str, int], command: str) -> str:
    cells = _cells(results)
    drawn = [_among_others(cell) for cell in cells] + [_by_cost(cell, costs) for cell in cells]
    packages = ("msrn-pytorch", "torch", "numpy", "pillow")
    return render(
        "report.html",
        title="Evaluation report",
        near=_NEAR,
        results=results,
        subject=", ".join(dict.fromkeys(method_name(result) for result in results)),
        differences=[f"{_place(r)}: {tables.significance(r)}" for r in results if r.comparison],
        failures=_failures(results),
        others=[plot for plot in drawn if plot is not None],
        sources=_sources(cells),
        gains=[_gains(result) for result in results if result.weights is not None],
        galleries=[(r, _with_scores(r, crops)) for r, crops in zip(results, gallery.crops, strict=True)],
        command=command,
        protocols=dict.fromkeys(result.protocol for result in results),
        methods=dict.fromkeys(result.weights or "degraded input" for result in results),
        machine=f"{processor()}, {cores()} cores, {platform.platform()}",
        versions=", ".join([f"python {platform.python_version()}", *(f"{name} {_version(name)}" for name in packages)]),
        title_of=_title,
        **{f.__name__: f for f in (method_name, tables.data_name, tables.level_name, tables.pair, tables.reference)},
    )


def _cells(results: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """Comparable results together."""
    cells: dict[tuple[object, ...], list[Evaluation]] = {}
    for result in results:
        cells.setdefault(result.cell, []).append(result)
    return list(cells.values())


def _failures(results: Sequence[Evaluation]) -> list[str]:
    """Every image that could not be scored, once."""
    lost = (
        f"{_place(result)}: {failure.name} could not be scored: {failure.error}"
        for result in results
        for failure in result.failures
    )
    return list(dict.fromkeys(lost))


def _among_others(cell: Sequence[Evaluation]) -> Plot | None:
    """Our results among the literature's: gain over the degraded input. None if there is nothing to compare."""
    base = cell[0].baseline.psnr
    marks = [Mark(method_name(r), r.mean.psnr - base, _decibels(r.mean.psnr), "ours") for r in cell]
    for score in _literature(cell[0]):
        label = f"{score.method}, {score.source.rpartition(' ')[2]}"
        marks.append(Mark(label, score.psnr - base, _decibels(score.psnr), _kind(score)))
    if len(marks) < 2:
        return None
    title = f"{_place(cell[0])}: what is gained over the degraded input's {_decibels(base)}"
    return plots.bars(title, sorted(marks, key=lambda mark: -mark.value))


def _by_cost(cell: Sequence[Evaluation], costs: dict[str, int]) -> Plot | None:
    """PSNR against multiply-adds per pixel, of our methods and the literature's. None where no cost is known."""
    marks = [
        Mark(method_name(result), result.mean.psnr, f"{result.mean.psnr:.2f}", "ours", costs[result.weights] / 1e6)
        for result in cell
        if result.weights in costs
    ]
    for score in _literature(cell[0]) if marks else ():
        if score.method in COSTS:
            marks.append(Mark(score.method, score.psnr, f"{score.psnr:.2f}", _kind(score), COSTS[score.method] / 1e6))
    if len(marks) < 2 or not all(np.isfinite(mark.value) for mark in marks):
        return None
    title = f"{_place(cell[0])}: PSNR in dB against cost"
    return plots.scatter(title, marks, "million multiply-adds per pixel")


def _kind(score: LiteratureScore) -> Kind:
    return "paper" if score.method.startswith("MemNet") else "peer"


def _literature(result: Evaluation) -> list[LiteratureScore]:
    return [] if result.color else scores_on(result.task, result.data, result.level)


def _sources(cells: Sequence[Sequence[Evaluation]]) -> str:
    """Where the literature's scores come from, and how sure they are."""
    found = [score for cell in cells for score in _literature(cell[0])]
    return "; ".join(dict.fromkeys(f"{score.method}: {score.source} ({STATUS[score.status]})" for score in found))


def _gains(result: Evaluation) -> Plot:
    """Gain over the degraded input, image by image, the smallest first."""
    marks = [
        Mark(
            image.name,
            image.gain,
            f"{image.gain:+.2f}, to {image.restored.psnr:.2f}",
            "ours" if image.gain >= 0 else "loss",
        )
        for image in result.images
    ]
    shown = sorted(marks, key=lambda mark: mark.value)[:_BARS]
    which = "" if len(shown) == len(marks) else f", the {_BARS} smallest of {len(marks)}"
    return plots.bars(f"{_title(result)}: gain in dB{which}", shown)


def _with_scores(result: Evaluation, crops: Sequence[Crop]) -> list[tuple[Crop, ImageScores]]:
    """Crops, each with its image's scores, the worst image first."""
    scores = {image.name: image for image in result.images}
    shown = [(crop, scores[crop.name]) for crop in crops]
    return sorted(shown, key=lambda both: both[1].restored.psnr)


def _title(result: Evaluation) -> str:
    return f"{_place(result)}, {method_name(result)}"


def _place(result: Evaluation) -> str:
    return f"{result.data} {tables.level_name(result)}{', colour' if result.color else ''}"


def _decibels(value: float) -> str:
    return f"{value:.2f} dB"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
