"""Evaluation results as tables: aligned text, Markdown with the paper's numbers beside ours, CSV."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from msrn.evaluation.literature import Published, find
from msrn.network.catalogue import CATALOGUE

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
    title = f"{data_name(result)} {level_name(result)}, {result['weights'] or 'degraded input'}"
    return f"{title}\n{align(shown, ['image', *keys])}\n{significance(result)}".rstrip()


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """One row per result: degraded, ours, the paper's and the difference in PSNR; below, how sure differences are."""
    lines = [
        "| method | images | level | degraded | restored | MemNet, paper | Δ PSNR |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        paper = reference(result)
        cells = [
            f"`{method_name(result)}`" if result["weights"] else method_name(result),
            data_name(result),
            level_name(result),
            pair(result["baseline"]),
            f"**{pair(result['mean'])}**",
            "–" if paper is None else pair({"psnr": paper.psnr, "ssim": paper.ssim}),
            "–" if paper is None else f"{result['mean']['psnr'] - paper.psnr:+.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    sure = [f"\n{data_name(r)} {level_name(r)}: {significance(r)}" for r in results if "difference" in r]
    return "\n".join([*lines, *sure])


def significance(result: dict[str, Any]) -> str:
    """How a result differs from that of the first weights, if it was compared."""
    if "difference" not in result:
        return ""
    compared = result["difference"]
    parts = [
        f"{key.upper().replace('_', '-')} {value['difference']:+.{digits}f}"
        f" (95 % interval {value['low']:+.{digits}f} to {value['high']:+.{digits}f})"
        for key, value in compared["scores"].items()
        for digits in (_DIGITS[key] + 1,)
    ]
    return f"{method_name(result)} against {without_hash(compared['against'])}: {', '.join(parts)}"


def as_json(results: Sequence[dict[str, Any]]) -> str:
    """The one result, or a list of several, as JSON; the infinite PSNR of equal images becomes null."""
    return json.dumps(
        _finite(results[0] if len(results) == 1 else list(results)), indent=2, ensure_ascii=False, allow_nan=False
    )


def reference(result: dict[str, Any]) -> Published | None:
    """The paper's row beside a result: only where the same was measured."""
    return None if result["color"] else find(result["task"], result["data"], result["level"])


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


def pair(scores: Mapping[str, float | None]) -> str:
    """PSNR / SSIM as the literature prints them."""
    ssim = scores["ssim"]
    return f"{scores['psnr']:.2f} / {'–' if ssim is None else f'{ssim:.4f}'}"


def level_name(result: dict[str, Any]) -> str:
    """The level as the literature writes it: ×3, σ 30, q10."""
    return _LEVEL[result["task"]].format(result["level"])


def data_name(result: dict[str, Any]) -> str:
    """Which images, and how many of them where some could not be scored."""
    scored, failed = len(result["images"]), len(result["failures"])
    name = f"{result['data']}, colour" if result["color"] else str(result["data"])
    return f"{name} ({scored} of {scored + failed} images)" if failed else name


def method_name(result: dict[str, Any]) -> str:
    """What was scored, as tables show it."""
    return without_hash(result["weights"] or "degraded input")


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


def _shown(key: str, value: Any) -> str:
    return f"{value:.{_DIGITS[key]}f}" if key in _DIGITS else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
