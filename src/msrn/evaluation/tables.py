"""Evaluation results as tables: aligned text, Markdown with the paper's numbers beside ours, CSV."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from msrn.evaluation.literature import LiteratureScore, score_of
from msrn.evaluation.results import Evaluation, ImageScores, Scores
from msrn.network.catalogue import CATALOGUE

_DIGITS = {"psnr": 2, "ssim": 4, "psnr_b": 2}
_LEVEL = {"sr": "×{:g}", "denoise": "σ {:g}", "jpeg": "q{:g}"}


def text(result: Evaluation) -> str:
    """One result, image by image, with the means and the degraded input at the end."""
    rows = [(image.name, image.restored) for image in result.images] + [("mean", result.mean)]
    if result.weights is not None:
        rows.append(("degraded", result.baseline))
    shown = [{"image": name, **{key: _shown(key, v) for key, v in scores.named().items()}} for name, scores in rows]
    title = f"{data_name(result)} {level_name(result)}, {result.weights or 'degraded input'}"
    return f"{title}\n{align(shown, ['image', *result.mean.named()])}\n{significance(result)}".rstrip()


def markdown(results: Sequence[Evaluation]) -> str:
    """One row per result: degraded, ours, the paper's and the difference in PSNR; below, how sure differences are."""
    lines = [
        "| method | images | level | degraded | restored | MemNet, paper | Δ PSNR |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        paper = reference(result)
        cells = [
            f"`{method_name(result)}`" if result.weights else method_name(result),
            data_name(result),
            level_name(result),
            pair(result.baseline),
            f"**{pair(result.mean)}**",
            "–" if paper is None else pair(paper),
            "–" if paper is None else f"{result.mean.psnr - paper.psnr:+.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    sure = [f"\n{data_name(r)} {level_name(r)}: {significance(r)}" for r in results if r.comparison]
    return "\n".join([*lines, *sure])


def significance(result: Evaluation) -> str:
    """How a result differs from that of the first method, if it was compared."""
    if result.comparison is None:
        return ""
    parts = [
        f"{key.upper().replace('_', '-')} {value.difference:+.{digits}f}"
        f" (95 % interval {value.low:+.{digits}f} to {value.high:+.{digits}f})"
        for key, value in result.comparison.scores.items()
        for digits in (_DIGITS[key] + 1,)
    ]
    other = without_hash(result.comparison.against or "degraded input")
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
    return _LEVEL[result.task].format(result.level)


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


def align(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """Align some columns of some rows under their names."""
    cells = [list(columns)] + [[str(row[column]) for column in columns] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)


def _shown(key: str, value: float) -> str:
    return f"{value:.{_DIGITS[key]}f}"
