"""Evaluations and benchmarks as self-contained HTML pages, from the templates beside this module."""

import platform
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from msrn.evaluation import plots, tables
from msrn.evaluation.gallery import Crop, Gallery
from msrn.evaluation.literature import COSTS, STATUS, LiteratureScore, scores_on
from msrn.evaluation.plots import Kind, Mark, Plot
from msrn.evaluation.results import Benchmark, Evaluation, ImageScores
from msrn.evaluation.tables import method_name
from msrn.system.atomic import write_atomically
from msrn.system.extras import installed_version, missing
from msrn.system.machine import cores, processor

_BARS = 24
"""Images per plot of gains, the smallest gain first."""
_NEAR = 0.3
"""Decibels below the paper that still count as near it."""

_PACKAGES = ("msrn-pytorch", "torch", "numpy", "pillow")


def write_report(
    folder: Path, results: Sequence[Evaluation], galleries: Sequence[Gallery], costs: dict[str, int], command: str
) -> Path:
    """Write evaluations as ``index.html`` in a folder and return its path.

    Args:
        folder: made where it is missing.
        results: from ``evaluate``.
        galleries: one for each result.
        costs: multiply-adds per pixel by method, where known, for the plot of PSNR against cost.
        command: what was typed.

    Raises:
        OutputError: it cannot be written.
        UsageError: Jinja2 or matplotlib is not installed.
    """
    cells: dict[tuple[object, ...], list[Evaluation]] = {}
    for result in results:
        cells.setdefault(result.cell, []).append(result)
    peers = {cell: _literature(members[0]) for cell, members in cells.items()}
    drawn = [_among_others(members, peers[cell]) for cell, members in cells.items()]
    drawn += [_by_cost(members, peers[cell], costs) for cell, members in cells.items()]
    scores = [score for found in peers.values() for score in found]
    page = render(
        "report.html",
        tables=tables,
        near=_NEAR,
        results=results,
        methods=dict.fromkeys(map(method_name, results)),
        failures=dict.fromkeys(
            f"{tables.case_name(result)}: {failure.name} could not be scored: {failure.error}"
            for result in results
            for failure in result.failures
        ),
        others=[plot for plot in drawn if plot is not None],
        sources=dict.fromkeys(f"{score.method}: {score.source} ({STATUS[score.status]})" for score in scores),
        gains=[_gains(result) for result in results if result.weights is not None],
        galleries=[(r, _with_scores(r, gallery.crops)) for r, gallery in zip(results, galleries, strict=True)],
        command=command,
        machine=f"{processor()}, {cores()} cores, {platform.platform()}",
        versions={"python": platform.python_version(), **{name: installed_version(name) for name in _PACKAGES}},
    )
    path = folder / "index.html"
    _write(path, page)
    return path


def write_benchmark(path: Path, result: Benchmark) -> None:
    """Write a benchmark: its table, and beside each row its speed as a bar, compared with the fastest on that size.

    Raises:
        OutputError: it cannot be written.
        UsageError: Jinja2 is not installed.
    """
    groups = {(row.network, row.side) for row in result.rows}
    seconds = {
        group: [r.seconds_per_megapixel for r in result.rows if (r.network, r.side) == group] for group in groups
    }
    speeds = [100 * min(seconds[row.network, row.side]) / row.seconds_per_megapixel for row in result.rows]
    _write(path, render("benchmark.html", tables=tables, result=result, speeds=speeds))


def render(template: str, **values: object) -> str:
    """The page that a template and its values make; everything put into it is escaped.

    Raises:
        UsageError: Jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise missing("making a page", "Jinja2", "train") from error
    templates = jinja2.Environment(loader=jinja2.PackageLoader("msrn.evaluation"), autoescape=True)
    return templates.get_template(template).render(values)


def check_packages(what: str = "a report") -> None:
    """Raise :class:`UsageError` where a package that a report needs is not installed; before hours of scoring."""
    for package, name in (("jinja2", "Jinja2"), ("matplotlib", "matplotlib")):
        if find_spec(package) is None:
            raise missing(what, name, "train")


def _write(path: Path, page: str) -> None:
    """Write a page; what is no Unicode in it, as in some file names, is written as its code."""
    write_atomically(path, lambda file: file.write(page.encode(errors="backslashreplace")))


def _literature(result: Evaluation) -> list[LiteratureScore]:
    return [] if result.color else scores_on(result.task, result.data, result.level)


def _kind(score: LiteratureScore) -> Kind:
    return "paper" if score.method.startswith("MemNet") else "peer"


def _among_others(cell: Sequence[Evaluation], peers: Sequence[LiteratureScore]) -> Plot | None:
    """Comparable results among the literature's: gain over the degraded input. None if there is nothing to compare."""
    base = cell[0].baseline.psnr
    marks = [Mark(method_name(r), r.mean.psnr - base, f"{r.mean.psnr:.2f} dB", "ours") for r in cell]
    for peer in peers:
        label = f"{peer.method}, {peer.source.rpartition(' ')[2]}"
        marks.append(Mark(label, peer.psnr - base, f"{peer.psnr:.2f} dB", _kind(peer)))
    title = f"{tables.case_name(cell[0])}: what is gained over the degraded input's {base:.2f} dB"
    return plots.bars(title, sorted(marks, key=lambda mark: -mark.value)) if len(marks) > 1 else None


def _by_cost(cell: Sequence[Evaluation], peers: Sequence[LiteratureScore], costs: dict[str, int]) -> Plot | None:
    """PSNR against multiply-adds per pixel, of comparable results and the literature's. None where no cost is known."""
    ours = [(r, costs[r.weights]) for r in cell if r.weights in costs]
    marks = [Mark(method_name(r), r.mean.psnr, f"{r.mean.psnr:.2f}", "ours", cost / 1e6) for r, cost in ours]
    for peer in peers:
        if peer.method in COSTS:
            marks.append(Mark(peer.method, peer.psnr, f"{peer.psnr:.2f}", _kind(peer), COSTS[peer.method] / 1e6))
    if not ours or len(marks) < 2 or not all(np.isfinite(mark.value) for mark in marks):
        return None
    return plots.scatter(
        f"{tables.case_name(cell[0])}: PSNR in dB against cost", marks, "million multiply-adds per pixel"
    )


def _gains(result: Evaluation) -> Plot:
    """Gain over the degraded input, image by image, the smallest first."""
    shown = sorted(result.images, key=lambda image: image.gain)[:_BARS]
    marks = [
        Mark(i.name, i.gain, f"{i.gain:+.2f}, to {i.restored.psnr:.2f}", "ours" if i.gain >= 0 else "loss")
        for i in shown
    ]
    which = "" if len(shown) == len(result.images) else f", the {_BARS} smallest of {len(result.images)}"
    return plots.bars(f"{tables.full_name(result)}: gain in dB{which}", marks)


def _with_scores(result: Evaluation, crops: Sequence[Crop]) -> list[tuple[Crop, ImageScores]]:
    """Crops, each with its image's scores, the worst image first."""
    scores = {image.name: image for image in result.images}
    return sorted(((crop, scores[crop.name]) for crop in crops), key=lambda both: both[1].restored.psnr)
