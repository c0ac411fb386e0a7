"""Evaluation results as tables: aligned text, Markdown with the paper's numbers beside ours, CSV."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from msrn.published import find

_DIGITS = {"psnr": 2, "ssim": 4, "psnr_b": 2}
_LEVEL = {"sr": "×{:g}", "denoise": "σ {:g}", "jpeg": "q{:g}"}


def text(result: dict[str, Any]) -> str:
    """One result, image by image, with the means and the degraded input at the end."""
    keys = list(result["mean"])
    rows = [{"image": row["name"], **{key: row[key] for key in keys}} for row in result["images"]]
    rows.append({"image": "mean", **result["mean"]})
    if result["weights"] is not None:
        rows.append({"image": "degraded", **result["baseline"]})
    shown = [{key: _shown(key, value) for key, value in row.items()} for row in rows]
    title = (
        f"{result['data']} {_LEVEL[result['task']].format(result['level'])}, {result['weights'] or 'degraded input'}"
    )
    return f"{title}\n{align(shown, ['image', *keys])}"


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """One row per result: degraded, ours, the paper's and the difference in PSNR."""
    lines = [
        "| method | images | level | degraded | restored | MemNet, paper | Δ PSNR |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        paper = find(result["task"], result["data"], result["level"])
        reference, difference = "–", "–"
        if paper is not None:
            ssim = "–" if paper.ssim is None else f"{paper.ssim:.4f}"
            reference = f"{paper.psnr:.2f} / {ssim}"
            difference = f"{result['mean']['psnr'] - paper.psnr:+.2f}"
        cells = [
            method_name(result),
            result["data"],
            level_name(result),
            pair(result["baseline"]),
            f"**{pair(result['mean'])}**",
            reference,
            difference,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def comma_separated(results: Sequence[dict[str, Any]]) -> str:
    """One row per image and one per mean, full precision."""
    keys = list(dict.fromkeys(key for result in results for key in result["mean"]))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["method", "task", "level", "data", "image", *keys, *(f"degraded_{key}" for key in keys)])
    for result in results:
        head = [result["weights"] or "degraded input", result["task"], result["level"], result["data"]]
        means: dict[str, Any] = {"name": "mean", **result["mean"], "baseline": result["baseline"]}
        for row in [*result["images"], means]:
            scores = [row.get(key, "") for key in keys] + [row["baseline"].get(key, "") for key in keys]
            writer.writerow([*head, row["name"], *scores])
    return out.getvalue().rstrip("\n")


def pair(scores: dict[str, float]) -> str:
    """PSNR / SSIM as the literature prints them."""
    return f"{scores['psnr']:.2f} / {scores['ssim']:.4f}"


def level_name(result: dict[str, Any]) -> str:
    """The level as the literature writes it: ×3, σ 30, q10."""
    return _LEVEL[result["task"]].format(result["level"])


def method_name(result: dict[str, Any]) -> str:
    """What was scored, without its hash."""
    return str(result["weights"] or "degraded input").partition(" (sha256")[0]


def align(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """Align some columns of some rows under their names."""
    cells = [list(columns)] + [[str(row[column]) for column in columns] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)


def _shown(key: str, value: Any) -> str:
    return f"{value:.{_DIGITS[key]}f}" if key in _DIGITS else str(value)
