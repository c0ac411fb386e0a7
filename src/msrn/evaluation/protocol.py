"""Scores on a folder of clean images, by the exact protocols of the literature (``docs/protocol.md``).

========  ======================================================================================================
sr        Luminance (studio, ``uint8``) cropped to a multiple of the scale, reduced and enlarged by MATLAB's
          bicubic ``imresize`` in double; output and truth rounded to ``uint8``; ``scale`` pixels shaved off.
denoise   Gray; seeded noise added, neither clipped nor rounded; scored unrounded.
jpeg      Luminance (studio), a gray JPEG of the given quality; scored unrounded, PSNR-B as well.
========  ======================================================================================================

On request colour is scored instead: R, G and B together, the JPEG with 4:2:0.
"""

import hashlib
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from msrn import images
from msrn.errors import ImageError, UsageError, WeightsError
from msrn.evaluation.methods import FolderMethod, Method, TiledMethod, WeightsMethod, check_output
from msrn.evaluation.metrics import psnr, psnr_b, ssim
from msrn.evaluation.results import Comparison, Difference, Duration, Evaluation, Failure, ImageScores, Scores
from msrn.images.degradations import Bicubic, GaussianNoise, Jpeg, degradation_for
from msrn.images.folder import as_plane, list_images
from msrn.images.picture import FloatArray, Metadata, Picture, to_uint8
from msrn.images.resize import multiple_of
from msrn.types import Range, Task

Protocol = Literal["matlab", "authors-tiles"]
"""Whether a method sees the whole image or, as in the authors' scripts, tiles with little context."""

AUTHORS_TILE: dict[Task, int] = {"sr": 166, "denoise": 136, "jpeg": 166, "photo": 136, "photo-sr": 166}
"""Largest side of the tiles: the scripts' threshold (150, for noise 120) plus their context."""
AUTHORS_HALO = 16

_PROTOCOL: dict[Task, str] = {
    "sr": "MATLAB bicubic in double, uint8 {planes}, border of `scale` pixels shaved",
    "denoise": "{planes}, unclipped Gaussian noise seeded by image name, unrounded",
    "jpeg": "uint8 {planes} as JPEG, unrounded",
    "photo": "uint8 {planes} with noise, JPEGs or neither, drawn as for training and seeded by image name, unrounded",
    "photo-sr": "uint8 {planes} reduced, with noise and a JPEG or without, drawn as for training and seeded by image "
    "name, enlarged bicubically, unrounded",
}


class Pair(NamedTuple):
    """One test case: both float64 ``(C, H, W)`` in [0, 1], C = 1 or, for colour, 3."""

    degraded: FloatArray
    clean: FloatArray


def set_name(folder: Path) -> str:
    """The name of a folder's set of images: the folder's own, or ``Set5`` for ``Set5/HR``."""
    folder = folder.resolve()
    inside = folder.name.lower() in ("hr", "gt", "gtmod12", "original")
    return folder.parent.name if inside and folder.parent.name else folder.name


def check_level(task: Task, level: float) -> None:
    """Raise :class:`UsageError` unless ``level`` is a scale, σ or quality the task's protocol knows."""
    whole = math.isfinite(level) and level == int(level)
    if task == "sr" and not (whole and level >= 2):
        raise UsageError(f"the scale must be a whole number of at least 2, got {level:g}")
    if task == "photo-sr" and not (math.isfinite(level) and level >= 1):
        raise UsageError(f"the scale must be at least 1, got {level:g}")
    if task in ("denoise", "photo") and not (math.isfinite(level) and level >= 0):
        raise UsageError(f"the noise level σ must be at least 0, got {level:g}")
    if task == "jpeg" and not (whole and 1 <= level <= 100):
        raise UsageError(f"the JPEG quality must be a whole number from 1 to 100, got {level:g}")


def color_range(task: Task) -> Range:
    """The range of the luminance that colour images are scored on."""
    return "full" if task in ("denoise", "photo", "photo-sr") else "studio"


def load_pair(path: Path, task: Task, level: float, *, color: bool = False) -> Pair:
    """Read a clean image and degrade it as the task's protocol says; gray images stay gray."""
    return as_pair(images.read(path), path.stem, task, level, color=color)


def as_pair(picture: Picture, name: str, task: Task, level: float, *, color: bool = False) -> Pair:
    """Degrade a clean picture as the task's protocol says; its noise is drawn by its name."""
    plane = as_plane(picture, 3 if color and not picture.is_gray else 1, color_range(task))
    if task == "sr":
        clean = multiple_of(plane, int(level)).astype(np.float64) / 255
        return Pair(Bicubic().apply(clean, level), clean)
    clean = plane.astype(np.float64) / 255
    if task == "jpeg":
        return Pair(Jpeg().apply(clean, level), clean)
    seed = int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8], "big")
    degradation = GaussianNoise() if task == "denoise" else degradation_for(task)
    return Pair(degradation.apply(clean, level, np.random.default_rng(seed)), clean)


def score(image: FloatArray, clean: FloatArray, task: Task, level: float) -> Scores:
    """The scores of a ``(C, H, W)`` image in [0, 1] beside the clean one, by the task's protocol."""
    image, clean = comparable(image, clean, task, level)
    return Scores(psnr(image, clean), ssim(image, clean), psnr_b(image, clean) if task == "jpeg" else None)


def comparable(image: FloatArray, clean: FloatArray, task: Task, level: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both images from 0 to 255, rounded and without their border where the task's protocol has it so."""
    if task != "sr":
        return image * 255, clean * 255
    border = int(level)
    inside = (..., slice(border, -border), slice(border, -border))
    return to_uint8(image)[inside], to_uint8(clean)[inside]


def as_picture(restored: FloatArray, task: Task) -> Picture:
    """A restored image as it is kept: rounded to 8 bits where the protocol rounds, so that the file has exactly the
    printed score, else with 16 bits, which change nothing but values outside [0, 1]."""
    if task == "sr":
        restored = to_uint8(restored) / np.float32(255)
    return Picture(restored.astype(np.float32), metadata=Metadata(bits=8 if task == "sr" else 16))


Observe = Callable[[Path, FloatArray, FloatArray, FloatArray], None]
"""Called with (path, degraded, restored, clean) of each image that was scored."""


def evaluate(
    task: Task,
    level: float,
    folder: Path,
    method: Method | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    observe: Observe = lambda path, degraded, restored, clean: None,
    *,
    protocol: Protocol = "matlab",
    color: bool = False,
) -> Evaluation:
    """Score a method (or, without one, the degraded input itself) on all images of a folder.

    An image that cannot be scored is a failure; the means are over the others.

    >>> evaluate("sr", 3, Path("set5")).mean.psnr  # doctest: +SKIP
    30.39

    Args:
        task: decides degradation and scores.
        level: scale, σ or quality.
        folder: clean images.
        method: what restores; weights must be for the task.
        progress: called with (images done, images in all).
        observe: called with each image that was scored, before and after.
        protocol: ``matlab`` shows the method whole images, ``authors-tiles`` the tiles of the authors' scripts.
        color: score R, G and B instead of luminance.

    Raises:
        UsageError: the level, the weights, the protocol or the folder does not fit.
        ImageError: not one image could be scored.
    """
    check_level(task, level)
    check_method(task, method, protocol)
    tiled = TiledMethod(method, AUTHORS_TILE[task], AUTHORS_HALO) if method and protocol == "authors-tiles" else method
    scored: list[tuple[ImageScores, float, int]] = []
    failures: list[Failure] = []
    for done, path in enumerate(paths := list_images([folder]), start=1):
        try:
            scored.append(_score_image(path, task, level, tiled, observe, color=color))
        except (UsageError, ImageError, WeightsError) as error:
            failures.append(Failure(path.name, str(error)))
        progress(done, len(paths))
    if not scored:
        raise ImageError(f"no image of {folder} could be scored: {failures[0].name}: {failures[0].error}")
    images, seconds, pixels = zip(*scored, strict=True)
    speed = sum(pixels) / 1e6 / sum(seconds) if any(seconds) else None
    return Evaluation(
        task=task,
        level=level,
        data=set_name(folder),
        images=images,
        mean=_mean([image.restored for image in images]),
        baseline=_mean([image.baseline for image in images]),
        protocol=describe(task, protocol, color=color),
        color=color,
        weights=method.name if method else None,
        failures=tuple(failures),
        duration=Duration(sum(seconds), speed),
    )


def _score_image(
    path: Path, task: Task, level: float, method: Method | None, observe: Observe, *, color: bool
) -> tuple[ImageScores, float, int]:
    """The scores of one image, the seconds that restoring took, and how many pixels it has."""
    degraded, clean = load_pair(path, task, level, color=color)
    baseline = scores = score(degraded, clean, task, level)
    restored, seconds = degraded, 0.0
    if method is not None:
        started = time.perf_counter()
        restored = method(degraded, path.name)
        seconds = time.perf_counter() - started
        if task == "sr" and restored.ndim == 3:  # files may be as large as the original
            cropped = multiple_of(restored, int(level))
            restored = cropped if cropped.shape == degraded.shape else restored
        check_output(restored, degraded, method)
        scores = score(restored, clean, task, level)
    observe(path, degraded, restored, clean)
    return ImageScores(path.name, scores, baseline), seconds, degraded[0].size


def check_method(task: Task, method: Method | None, protocol: Protocol) -> None:
    """Raise :class:`UsageError` for weights of another task, or tiles of what is restored already."""
    if isinstance(method, WeightsMethod) and method.restorer.weights.card.task != task:
        raise UsageError(f"these weights are for {method.restorer.weights.card.task!r}, not for {task!r}")
    if protocol == "authors-tiles" and isinstance(method, FolderMethod):
        raise UsageError("the protocol authors-tiles restores by itself; images that are restored need matlab")


def describe(task: Task, protocol: Protocol, *, color: bool) -> str:
    """The protocol in words, for tables and JSON."""
    planes = "R, G and B" if color else "gray" if task == "denoise" else "luminance"
    words = _PROTOCOL[task].format(planes=planes)
    if protocol == "authors-tiles":
        words += f"; tiles of at most {AUTHORS_TILE[task]} pixels with {AUTHORS_HALO} of context"
    return words


def compare(first: Evaluation, second: Evaluation, draws: int = 10_000) -> dict[str, Difference]:
    """The mean difference (first minus second) of every score, with its 95 % bootstrap interval.

    The interval is of the mean over images drawn with replacement from those that both results have.

    Raises:
        UsageError: the results are not of one task, level, data set and protocol, or share no image.
    """
    if first.cell != second.cell:
        raise UsageError("only results of one task, level, data set and protocol can be compared")
    other = {image.name: image.restored.named() for image in second.images}
    pairs = [(image.restored.named(), other[image.name]) for image in first.images if image.name in other]
    if not pairs:
        raise UsageError("the results have no image in common")
    chosen = np.random.default_rng(0).integers(len(pairs), size=(draws, len(pairs)))
    verdict: dict[str, Difference] = {}
    for key in first.mean.named():
        # Two perfect scores are infinite and do not differ.
        differences = np.array([0.0 if a[key] == b[key] else a[key] - b[key] for a, b in pairs])
        low, high = np.quantile(differences[chosen].mean(axis=1), [0.025, 0.975])
        verdict[key] = Difference(float(differences.mean()), float(low), float(high))
    return verdict


def compare_with_first(results: Sequence[Evaluation]) -> list[Evaluation]:
    """The results, each of a later method compared with the first one on the same images at the same level."""
    firsts: dict[tuple[Task, float, str, str], Evaluation] = {}
    compared: list[Evaluation] = []
    for result in results:
        first = firsts.setdefault(result.cell, result)
        if first is not result:
            with suppress(UsageError):  # no image in common
                result = replace(result, difference=Comparison(first.weights, compare(result, first)))
        compared.append(result)
    return compared


def _mean(scores: Sequence[Scores]) -> Scores:
    named = [each.named() for each in scores]
    return Scores(**{key: float(np.mean([each[key] for each in named])) for key in named[0]})
