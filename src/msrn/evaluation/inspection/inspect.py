"""Weights and pictures become an :class:`Inspection`."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msrn import images
from msrn.errors import ImageError, UsageError
from msrn.evaluation.inspection.chart import chart
from msrn.evaluation.inspection.gates import gates_of
from msrn.evaluation.inspection.numbers import NEAR, TILE, Inspected, Inspection, Planes
from msrn.evaluation.inspection.passes import passes
from msrn.evaluation.inspection.reach import measure_reach
from msrn.evaluation.inspection.spectra import SpectrumMeter
from msrn.evaluation.metrics import psnr
from msrn.evaluation.protocol import as_pair, check_level, comparable
from msrn.evaluation.results import Failure
from msrn.images.folder import list_images
from msrn.images.picture import Picture
from msrn.network.effort import first_weights
from msrn.network.memnet import build
from msrn.network.weights import Weights
from msrn.types import Task

Report = Callable[[str, float], None]
"""Called with what is looked at and the share done, 0 to 1."""
_LEVELS: dict[Task, float] = {"sr": 2, "denoise": 25, "jpeg": 30, "photo": 15, "photo-sr": 2}
_KEPT = 6
"""Pictures that the receptive field is measured on."""
_CHART = "chart"


def default_level(weights: Weights) -> float:
    """A usual scale, σ or quality for weights, as far as they were trained for it."""
    usual = _LEVELS[weights.card.task]
    levels = weights.card.levels or (usual,)
    return min(max(usual, min(levels)), max(levels))


def inspect(
    weights: Weights,
    paths: Sequence[Path] = (),
    level: float | None = None,
    report: Report = lambda name, share: None,
) -> Inspection:
    """Look inside a network while it restores pictures, which are degraded first as its task has it.

    Args:
        weights: the network.
        paths: clean pictures, or folders of them; a drawn chart without.
        level: scale, σ or quality; see :func:`default_level`.
        report: called as it goes on.

    Raises:
        UsageError: no such picture or folder, or a level that the task does not know.
        ImageError: not one picture could be read.

    Example:
        >>> found = inspect(load("msrn-m4r1s2-sr"), [Path("photo.png")])
        >>> found.pictures[0].sums
    """
    looking = _Looking(weights, default_level(weights) if level is None else level)
    files = _files(paths)
    if not files:
        looking.at(_CHART, chart(), lambda share: report(_CHART, 0.9 * share))
    for number, path in enumerate(files):

        def advance(share: float, number: int = number, name: str = path.name) -> None:
            report(name, 0.9 * (number + share) / len(files))

        try:
            looking.at(path.name, images.read(path), advance)
        except (UsageError, ImageError) as error:
            looking.failures.append(Failure(path.name, str(error)))
    if not looking.seen:
        failure = looking.failures[0]
        raise ImageError(f"no picture could be looked at: {failure.name}: {failure.error}")
    report("receptive field", 0.9)
    return looking.found(drawn=not files)


class _Looking:
    """Looks at one picture after the other, and adds up what all of them tell.

    Args:
        weights: the network.
        level: scale, σ or quality.
    """

    def __init__(self, weights: Weights, level: float) -> None:
        check_level(weights.card.task, level)
        self.weights, self.level, self.network = weights, level, build(weights)
        self.meter = SpectrumMeter(weights.card.config.memory_blocks + 1)
        self.seen, self.failures = list[Inspected](), list[Failure]()
        self._kept = list[Planes]()

    def at(self, name: str, picture: Picture, report: Callable[[float], None]) -> None:
        """Degrade and restore a picture, and score what each block predicts."""
        task, channels = self.weights.card.task, self.network.config.in_channels
        pair = as_pair(picture, Path(name).stem, task, self.level, color=channels == 3)
        if min(pair.clean.shape[1:]) <= 2 * self.level * (task == "sr"):
            raise UsageError(f"{picture.width}×{picture.height} pixels are too few")
        given = np.repeat(pair.degraded.astype(np.float32), channels // len(pair.degraded), axis=0)
        after = np.empty((self._outputs, *given.shape), np.float32)
        for each in passes(self.network, given):
            after[(slice(None), slice(None), *each.core.slices)] = each.images
            self.meter.add(each.memories)
            report(each.core.bottom * each.core.right / given[0].size)
        sums = self._sums(after)

        def scores(images: Planes) -> tuple[float, ...]:
            as_clean = images.mean(axis=1, keepdims=True) if len(pair.clean) == 1 else images
            each = (as_clean[k].astype(np.float64) for k in range(len(images)))
            return tuple(psnr(*comparable(image, pair.clean, task, self.level)) for image in each)

        size, degraded = (given.shape[2], given.shape[1]), psnr(*comparable(*pair, task, self.level))
        found = scores(after), scores(sums), stops_of(sums)
        self.seen.append(Inspected(name, size, degraded, *found, sums[-1].clip(0, 1)))
        self._kept += [given] if len(self._kept) < _KEPT else []

    def found(self, *, drawn: bool) -> Inspection:
        """All of it."""
        several = self.network.config.multi_supervised
        ensemble = tuple(self.weights.arrays["ensemble"].tolist()) if several else None
        reach = measure_reach(self.network, self._kept)
        told = gates_of(self.weights), ensemble, self.meter.read(), reach, tuple(self.seen), tuple(self.failures)
        return Inspection(self.weights, self.level, *told, drawn)

    @property
    def _outputs(self) -> int:
        return self.network.config.memory_blocks if self.network.config.multi_supervised else 1

    def _sums(self, after: Planes) -> Planes:
        """What each effort gives, ``(M, C, H, W)``, of the images after all blocks."""
        if self._outputs == 1:
            return after
        ensemble = self.weights.arrays["ensemble"]
        efforts = range(1, len(after) + 1)
        return np.stack([np.tensordot(first_weights(ensemble, k), after[:k], 1) for k in efforts])


def stops_of(sums: Planes) -> NDArray[np.intp]:
    """The block, from 1, after which each tile is within half a grey level of the result, root mean square.

    Args:
        sums: ``(M, C, H, W)``: what each effort gives, the result last.

    Returns:
        ``(rows, columns)`` of tiles of 64×64 pixels, the last ones of what is left.
    """
    squares = ((sums - sums[-1]) ** 2).mean(axis=1, dtype=np.float64)
    for axis in (1, 2):
        edges = np.arange(0, squares.shape[axis], TILE)
        sizes = np.diff(np.append(edges, squares.shape[axis]))
        squares = np.add.reduceat(squares, edges, axis=axis) / np.expand_dims(sizes, (0, 3 - axis))
    return 1 + (squares < (NEAR / 255) ** 2).argmax(axis=0)


def _files(paths: Sequence[Path]) -> list[Path]:
    """The pictures that are named, and those of the folders."""
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"no such picture or folder: {path}")
        found += list_images([path]) if path.is_dir() else [path]
    return found
