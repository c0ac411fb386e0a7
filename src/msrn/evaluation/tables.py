"""Results as tables: aligned text, Markdown with the paper's numbers beside ours, CSV; the words of every table."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from msrn.evaluation.literature import LiteratureScore, score_of
from msrn.evaluation.results import Benchmark, Evaluation, ImageScores, Measurement, Scores
from msrn.network.catalogue import CATALOGUE
from msrn.types import Task

_DIGITS = {"psnr": 2, "ssim": 4, "psnr_b": 2}
_LEVEL = {"sr": "×{:g}", "denoise": "σ {:g}", "jpeg": "q{:g}", "photo": "σ {:g}, JPEGs", "photo-sr": "×{:g}, JPEGs"}
_COLUMNS = {
    "network": ("network", "{}"),
    "side": ("side", "{}"),
    "what": ("entry", "{}"),
    "type": ("precision", "{}"),
    "s/megapixel": ("seconds_per_megapixel", "{:.2f}"),
    "GFLOP/s": ("gigaflops", "{:.0f}"),
    "of ceiling": ("share", "{:.0%}"),
    "of product": ("product", "{:.0%}"),
    "of copy": ("copy", "{:.0%}"),
    "× plain": ("factor", "{:.1f}"),
    "MiB": ("memory", "{:.0f}"),
    "dB lost": ("loss", "{:.3f}"),
}
"""A benchmark's columns: field of a measurement, and its form, by head."""


def text(result: Evaluation) -> str:
    """One result, image by image, with the means and the degraded input at the end."""
    rows = [(image.name, image.restored) for image in result.images] + [("mean", result.mean)]
    if result.weights is not None:
        rows.append(("degraded", result.baseline))
    shown = [
        {"image": name, **{key: f"{value:.{_DIGITS[key]}f}" for key, value in scores.named().items()}}
        for name, scores in rows
    ]
    title = f"{data_name(result)} {level_name(result)}, {result.weights or 'degraded input'}"
    return f"{title}\n{align(shown, ['image', *result.mean.named()])}\n{significance(result)}".rstrip()


def markdown(results: Sequence[Evaluation]) -> str:
    """One row per result: degraded, ours, the paper's and the difference in PSNR; below, how sure differences are."""
    rows: list[list[str]] = []
    for result in results:
        paper = reference(result)
        method = f"`{method_name(result)}`" if result.weights else method_name(result)
        row = [method, data_name(result), level_name(result), pair(result.baseline), f"**{pair(result.mean)}**"]
        rows.append(row + ([pair(paper), f"{result.mean.psnr - paper.psnr:+.2f}"] if paper else ["–", "–"]))
    head = ["method", "images", "level", "degraded", "restored", "MemNet, paper", "Δ PSNR"]
    sure = [f"\n{case_name(r)}: {significance(r)}" for r in results if r.difference]
    return "\n".join([*_markdown(head, rows), *sure])


def benchmark_markdown(result: Benchmark) -> str:
    """The benchmark as a Markdown table, the machine and the ceilings above it."""
    table = _markdown(list(_COLUMNS), [list(cells(row).values()) for row in result.rows])
    return "\n".join([machine_line(result), "", ceiling_line(result), "", *table])


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def significance(result: Evaluation) -> str:
    """How a result differs from that of the first method, if it was compared."""
    if result.difference is None:
        return ""
    parts: list[str] = []
    for key, each in result.difference.scores.items():
        mean, low, high = (f"{value:+.{_DIGITS[key] + 1}f}" for value in (each.difference, each.low, each.high))
        parts.append(f"{key.upper().replace('_', '-')} {mean} (95 % interval {low} to {high})")
    other = without_hash(result.difference.against or "degraded input")
    return f"{method_name(result)} against {other}: {', '.join(parts)}"


def reference(result: Evaluation) -> LiteratureScore | None:
    """The paper's row beside a result: only where the same was measured."""
    return None if result.color else score_of(result.task, result.data, result.level)


def comma_separated(results: Sequence[Evaluation]) -> str:
    """One row per image and one per mean, full precision."""
    keys = list(dict.fromkeys(key for result in results for key in result.mean.named()))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["method", "task", "level", "data", "image", *keys, *(f"degraded_{key}" for key in keys)])
    for result in results:
        head = [result.weights or "degraded input", result.task, result.level, result.data]
        for image in (*result.images, ImageScores("mean", result.mean, result.baseline)):
            scores = [each.named().get(key, "") for each in (image.restored, image.baseline) for key in keys]
            writer.writerow([*head, image.name, *scores])
    return out.getvalue().rstrip("\n")


def pair(scores: Scores | LiteratureScore) -> str:
    """PSNR / SSIM as the literature prints them."""
    return f"{scores.psnr:.2f} / {'–' if scores.ssim is None else f'{scores.ssim:.4f}'}"


def level_name(result: Evaluation) -> str:
    """The level as the literature writes it: ×3, σ 30, q10."""
    return level_text(result.task, result.level)


def level_text(task: Task, level: float) -> str:
    """A level as the literature writes it: ×3, σ 30, q10."""
    return _LEVEL[task].format(level)


def data_name(result: Evaluation) -> str:
    """Which images, and how many of them where some could not be scored."""
    scored, failed = len(result.images), len(result.failures)
    name = f"{result.data}, colour" if result.color else result.data
    return f"{name} ({scored} of {scored + failed} images)" if failed else name


def method_name(result: Evaluation) -> str:
    """What was scored, as tables show it."""
    return without_hash(result.weights or "degraded input")


def without_hash(name: str) -> str:
    """The name of weights as tables show it: the catalogue's, where they are in it, and no hash."""
    file, _, digest = name.removesuffix(")").partition(" (sha256 ")
    ours = next((row for row in CATALOGUE if row.sha256 == digest), None)
    return file.replace(ours.file.removesuffix(".safetensors"), ours.name) if ours else file


def case_name(result: Evaluation) -> str:
    """Which images and which level: set5 ×3."""
    return f"{result.data}{', colour' if result.color else ''} {level_name(result)}"


def full_name(result: Evaluation) -> str:
    """What was scored on what: set5 ×3, msrn-m4r1s2-sr."""
    return f"{case_name(result)}, {method_name(result)}"


def cells(row: Measurement) -> dict[str, str]:
    """A benchmark's row as tables show it, by the head of the column."""
    shown = {head: (getattr(row, key), form) for head, (key, form) in _COLUMNS.items()}
    return {head: "–" if value is None else form.format(value) for head, (value, form) in shown.items()}


def machine_line(result: Benchmark) -> str:
    """The benchmark's machine in words."""
    machine = result.machine
    return f"{machine.processor}, {machine.cores} cores, {machine.kind}; load before the run {machine.load}"


def ceiling_line(result: Benchmark) -> str:
    """The rates that nothing can exceed, in words: of lone convolutions, matrix products and copies."""
    rates = [f"{c.channels} channels, {c.backend} {c.precision} {c.gigaflops:.0f}" for c in result.ceilings]
    products = "; ".join(f"{precision} {rate:.0f}" for precision, rate in result.products.items())
    return (
        f"Ceilings: lone 3×3 convolutions in GFLOP/s: {'; '.join(rates)}. Matrix products in GFLOP/s: {products}. "
        f"Copying memory: {result.copy:.1f} GB/s"
    )


def align(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """Align some columns of some rows under their names."""
    cells = [list(columns)] + [[str(row[column]) for column in columns] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)
