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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from msrn.color import Range
from msrn.data import list_images, load_plane
from msrn.degrade import Bicubic, GaussianNoise, Jpeg, Task, multiple_of, to_uint8
from msrn.engine import Restorer
from msrn.errors import UsageError
from msrn.metrics import psnr, psnr_b, ssim
from msrn.picture import FloatArray

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


def load_pair(path: Path, task: Task, level: float) -> Pair:
    """Read a clean image and degrade it as the task's protocol says."""
    color_range: Range = "full" if task == "denoise" else "studio"
    plane = load_plane(path, 1, color_range)
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
    folders: Sequence[Path],
    restorer: Restorer | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Score a restorer (or, without one, the degraded input itself) on all images of some folders.

    Args:
        task: which degradation and protocol.
        level: scale, σ or quality.
        folders: clean images.
        restorer: what restores; its weights must be for the task.
        progress: called with (images done, images in all).

    Returns:
        ``{"task", "level", "data", "images": [{"name", "psnr", "ssim", …}], "mean": {…}, "baseline": {…},
        "protocol", "weights"}``; ``baseline`` is the mean of the degraded input.

    Raises:
        UsageError: the level, the weights or a folder does not fit.
        ImageError: an image cannot be read.
    """
    check_level(task, level)
    if restorer is not None and restorer.weights.card.task != task:
        raise UsageError(f"these weights are for {restorer.weights.card.task!r}, not for {task!r}")
    images: list[dict[str, Any]] = []
    baselines: list[dict[str, float]] = []
    paths = list_images(folders)
    for done, path in enumerate(paths, start=1):
        degraded, clean = load_pair(path, task, level)
        baseline = score(degraded, clean, task, level)
        restored = degraded if restorer is None else _restore(restorer, degraded)
        images.append({"name": path.name, **score(restored, clean, task, level)})
        baselines.append(baseline)
        if progress:
            progress(done, len(paths))
    return {
        "task": task,
        "level": level,
        "data": [folder.name for folder in folders],
        "images": images,
        "mean": _mean(images),
        "baseline": _mean(baselines),
        "protocol": PROTOCOL[task],
        "weights": None if restorer is None else f"{restorer.weights.name} (sha256 {restorer.weights.sha256})",
    }


def _restore(restorer: Restorer, degraded: FloatArray) -> FloatArray:
    planes = np.repeat(degraded[None].astype(np.float32), restorer.config.in_channels, axis=1)
    return restorer.restore_planes(planes)[0].mean(axis=0, keepdims=True).astype(np.float64)


def _mean(rows: list[Any]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != "name"}
