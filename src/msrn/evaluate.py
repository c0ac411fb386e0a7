"""Scores on a folder of clean images, by the exact protocols of the literature (``docs/protocol.md``).

========  ======================================================================================================
sr        Luminance (studio, ``uint8``) cropped to a multiple of the scale, reduced and enlarged by MATLAB's
          bicubic ``imresize`` in double; output and truth rounded to ``uint8``; ``scale`` pixels shaved off.
denoise   Gray; seeded noise added, neither clipped nor rounded; scored unrounded.
jpeg      Luminance (studio), a gray JPEG of the given quality; scored unrounded, PSNR-B as well.
========  ======================================================================================================
"""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from msrn.color import Range
from msrn.data import list_images, load_plane
from msrn.degrade import Bicubic, GaussianNoise, Jpeg, multiple_of, to_uint8
from msrn.errors import ImageError, MSRNError, UsageError
from msrn.methods import Method, WeightsMethod, check_output
from msrn.metrics import psnr, psnr_b, ssim
from msrn.picture import FloatArray, Task

Result = dict[str, Any]

PROTOCOL = {
    "sr": "MATLAB bicubic in double, uint8 luminance, border of `scale` pixels shaved",
    "denoise": "gray, unclipped Gaussian noise seeded by image name, unrounded",
    "jpeg": "uint8 luminance as gray JPEG, unrounded",
}


class Pair(NamedTuple):
    """One test case: both planes float64 ``(1, H, W)`` in [0, 1]."""

    degraded: FloatArray
    clean: FloatArray


def check_level(task: Task, level: float) -> None:
    """Raise :class:`UsageError` unless ``level`` is a scale, σ or quality the task's protocol knows."""
    if task == "sr" and (level != int(level) or level < 2):
        raise UsageError(f"the scale must be a whole number of at least 2, got {level:g}")
    if task == "denoise" and not (math.isfinite(level) and level >= 0):
        raise UsageError(f"the noise level σ must be at least 0, got {level:g}")
    if task == "jpeg" and (level != int(level) or not 1 <= level <= 100):
        raise UsageError(f"the JPEG quality must be a whole number from 1 to 100, got {level:g}")


def color_range(task: Task) -> Range:
    """Range of the luminance that colour images are scored on."""
    return "full" if task == "denoise" else "studio"


def load_pair(path: Path, task: Task, level: float) -> Pair:
    """Read a clean image and degrade it as the task's protocol says."""
    plane = load_plane(path, 1, color_range(task))
    if task == "sr":
        clean = multiple_of(plane, int(level)).astype(np.float64) / 255
        return Pair(Bicubic().apply(clean, level), clean)
    clean = plane.astype(np.float64) / 255
    if task == "jpeg":
        return Pair(Jpeg().apply(clean, level), clean)
    seed = int.from_bytes(hashlib.sha256(path.stem.encode()).digest()[:8], "big")
    return Pair(GaussianNoise().apply(clean, level, np.random.default_rng(seed)), clean)


def score(image: FloatArray, clean: FloatArray, task: Task, level: float) -> dict[str, float]:
    """Compare two ``(1, H, W)`` planes in [0, 1] as the task's protocol says."""
    if task == "sr":
        border = int(level)
        inside = (0, slice(border, -border), slice(border, -border))
        image8, clean8 = to_uint8(image)[inside], to_uint8(clean)[inside]
        return {"psnr": psnr(image8, clean8), "ssim": ssim(image8, clean8)}
    image, clean = image[0] * 255, clean[0] * 255
    scores = {"psnr": psnr(image, clean), "ssim": ssim(image, clean)}
    if task == "jpeg":
        scores["psnr_b"] = psnr_b(image, clean)
    return scores


def evaluate(
    task: Task,
    level: float,
    folder: Path,
    method: Method | None = None,
    progress: Callable[[int, int], None] | None = None,
    observe: Callable[[Path, FloatArray, FloatArray, FloatArray], None] | None = None,
) -> Result:
    """Score a method (or, without one, the degraded input itself) on all images of a folder.

    Args:
        task: which degradation and protocol.
        level: scale, σ or quality.
        folder: clean images.
        method: what restores; weights must be for the task.
        progress: called with (images done, images in all).
        observe: called with (path, degraded, restored, clean) of each image that was scored.

    Returns:
        ``{"task", "level", "data", "images": [{"name", "psnr", "ssim", …}], "mean": {…}, "baseline": {…},
        "protocol", "weights", "failures": [{"name", "error"}], "seconds", "megapixels_per_second"}``; ``baseline`` is
        the mean of the degraded input, ``seconds`` what restoring alone took. An image that cannot be scored is a
        failure; the means are over the others.

    Raises:
        UsageError: the level, the weights or the folder does not fit.
        ImageError: not one image could be scored.
    """
    check_level(task, level)
    if isinstance(method, WeightsMethod) and method.restorer.weights.card.task != task:
        raise UsageError(f"these weights are for {method.restorer.weights.card.task!r}, not for {task!r}")
    images: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    seconds, pixels = 0.0, 0
    paths = list_images([folder])
    for done, path in enumerate(paths, start=1):
        try:
            degraded, clean = load_pair(path, task, level)
            started = time.perf_counter()
            restored = degraded if method is None else method(degraded, path.name)
            seconds += time.perf_counter() - started
            pixels += degraded.size
            if method is not None:
                check_output(restored, degraded, method, path.name)
            baseline = score(degraded, clean, task, level)
            images.append({"name": path.name, **score(restored, clean, task, level), "baseline": baseline})
            if observe is not None:
                observe(path, degraded, restored, clean)
        except MSRNError as error:
            failures.append({"name": path.name, "error": str(error)})
        if progress:
            progress(done, len(paths))
    if not images:
        raise ImageError(f"no image of {folder} could be scored: {failures[0]['error']}")
    return {
        "task": task,
        "level": level,
        "data": folder.resolve().name,
        "images": images,
        "mean": _mean(images),
        "baseline": _mean([row["baseline"] for row in images]),
        "protocol": PROTOCOL[task],
        "weights": None if method is None else method.name,
        "failures": failures,
        "seconds": seconds,
        "megapixels_per_second": pixels / 1e6 / seconds if method is not None and seconds else None,
    }


def compare(first: Result, second: Result, metric: str = "psnr", draws: int = 10_000) -> dict[str, float]:
    """Mean difference (first minus second) with its 95 % bootstrap interval over the images both have.

    Raises:
        UsageError: the results are not of one task, level and data set, or share no image.
    """
    keys = ("task", "level", "data")
    if any(first[key] != second[key] for key in keys):
        raise UsageError("only results of one task, level and data set can be compared")
    other = {row["name"]: row[metric] for row in second["images"]}
    pairs = [row[metric] - other[row["name"]] for row in first["images"] if row["name"] in other]
    if not pairs:
        raise UsageError("the results have no image in common")
    differences = np.array(pairs)
    rng = np.random.default_rng(0)
    means = differences[rng.integers(len(pairs), size=(draws, len(pairs)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"difference": float(differences.mean()), "low": float(low), "high": float(high)}


def _mean(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key not in ("name", "baseline")}
