"""What people call: a :class:`Restorer` takes a picture and returns a picture.

A restorer composes engines, each of which is one network: one for gray pictures and, where the task has such weights,
another for pictures with colours, or for their chroma. Alpha never enters a network: it is enlarged bicubically for
super-resolution and otherwise returned as it came. Colours under full transparency do not bleed into visible ones
(``transparency.py``).
"""

import copy
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypedDict, get_args

from msrn.errors import UsageError
from msrn.images.picture import Image, Picture, check_picture
from msrn.images.resize import enlarged_size, resize
from msrn.images.transparency import hide_invisible, restore_invisible
from msrn.network.catalogue import find
from msrn.network.config import MSRNConfig
from msrn.network.effort import shortened
from msrn.network.weights import Weights, load
from msrn.restoration import colors
from msrn.restoration.backends import Planes
from msrn.restoration.engine import Engine, Options, Report, Watch, silent
from msrn.restoration.joined import AnyEngine, JoinedEngine
from msrn.restoration.memory import Needs, check_memory
from msrn.restoration.steps import steps_to
from msrn.system.lazy import once
from msrn.types import ENLARGING, BackendName, Precision, Size, Task


class How(TypedDict, total=False):
    """The arguments of :meth:`Restorer.__call__`, which has them in full, besides the picture."""

    scale: float | None
    size: Size | None
    progress: Report | None
    at_once: int


class Restorer:
    """Restores pictures with the weights of a task, or of one file.

    Args:
        weights: task (``sr``, ``denoise``, ``jpeg``: its default weights, other ones for pictures with colours),
            catalogue name (some take chroma from another network: ``CatalogueRow.chroma``), file, or loaded.
        device: see :class:`~msrn.restoration.engine.Options`, as for backend, precision, tile, tta and strength.
        effort: how many memory blocks the networks end after, from 1; 0 is all (see :mod:`msrn.network.effort`).
        for_color: catalogue name or file of other weights that restore pictures with colours.
        begun_with: the :attr:`choices` of an earlier run that is continued: they are not made anew.

    Raises:
        WeightsError: the weights cannot be loaded.
        UsageError: a device, backend, precision, tile, strength or effort that cannot be.

    Example:
        >>> restored = msrn.Restorer("jpeg")(msrn.read("photo.jpg"))
    """

    note = ""

    def __init__(
        self,
        weights: str | Path | Weights,
        *,
        device: str = "auto",
        backend: BackendName = "auto",
        precision: Precision = "auto",
        tile: int = 0,
        tta: bool = False,
        strength: float = 1.0,
        effort: int = 0,
        for_color: str | Path | None = None,
        begun_with: Mapping[str, str] | None = None,
    ) -> None:
        options = Options(device, backend, precision, tile, tta, strength)
        self.weights = shortened(weights if isinstance(weights, Weights) else load(weights), effort)
        self.engine = Engine(self.weights, options, begun_with)
        by_task = not isinstance(weights, Weights) and str(weights).lower() in get_args(Task)
        if for_color is None and by_task and find(f"{weights}-color"):
            for_color = f"{weights}-color"
        row = None if isinstance(weights, Weights) or for_color else find(weights)
        self._joined = row is not None and bool(row.chroma)
        if row is not None and row.chroma:
            for_color = row.chroma
        self._load_color = partial(_load_shortened, for_color, effort) if for_color else None
        self._begun_with = begun_with
        self._shorter = dict[int, Restorer]()

    @once
    def _second(self) -> Engine | None:
        """The engine that sees R, G and B together, if there is one."""
        return self._load_color and Engine(self._load_color(), self.engine.options, self._begun_with)

    @once
    def color_engine(self) -> AnyEngine:
        """The engine for pictures with colours: the same one, one that sees R, G and B together, or both joined."""
        if self._second is None:
            return self.engine
        return JoinedEngine(self.engine, self._second) if self._joined else self._second

    @property
    def engines(self) -> tuple[Engine, ...]:
        """All engines, the one for gray pictures first."""
        return (self.engine,) if self._second is None else (self.engine, self._second)

    @property
    def config(self) -> MSRNConfig:
        """The configuration of the network for gray pictures."""
        return self.weights.card.config

    @property
    def at_once(self) -> int:
        """Number of small pictures to restore in parallel, one thread each."""
        return min(engine.at_once for engine in self.engines)

    def __repr__(self) -> str:
        return f"Restorer({self.weights.name!r}, device={str(self.engine.device)!r})"

    def __str__(self) -> str:
        """What was chosen and why, for ``-v``."""
        return f"; for {'chroma' if self._joined else 'colours'} ".join(str(engine) for engine in self.engines)

    @property
    def identity(self) -> dict[str, str]:
        """What decides the results, besides the pictures."""
        kind, color = "chroma" if self._joined else "color", self._second.identity if self._second else {}
        return self.engine.identity | {f"{kind}.{key}": value for key, value in color.items()}

    @property
    def choices(self) -> dict[str, str]:
        """Backend and precision by SHA-256 of the weights, for ``begun_with``."""
        return {engine.weights.sha256: str(engine.tuned.choice) for engine in self.engines}

    @property
    def steps(self) -> "tuple[Restorer, ...]":
        """What restores a picture, in order, as of a ``Chain``: this one alone."""
        return (self,)

    @property
    def enlarges(self) -> bool:
        """Whether the result may have another size."""
        return self.weights.card.task in ENLARGING

    def check_task(self, task: Task) -> None:
        """Refuse weights that were made for another task.

        Raises:
            UsageError: they were; enlarging is done by those for small JPEGs (``photo-sr``) as well.
        """
        own = self.weights.card.task
        if own != task and not (task == "sr" and self.enlarges):
            raise UsageError(f"weights {self.weights.name!r} are for {own!r}, not for {task!r}")

    def result_size(self, picture: Image, scale: float | None = None, size: Size | None = None) -> tuple[int, int]:
        """``(height, width)`` of the result; see :meth:`__call__`."""
        before = picture.height, picture.width
        return enlarged_size(before, scale, size) if self.enlarges else before

    def with_options(self, *, tile: int | None = None, strength: float | None = None) -> "Restorer":
        """The same restorer, in other tiles or at another strength; what either has loaded serves both.

        Example:
            >>> half = msrn.Restorer("jpeg").with_options(strength=0.5)
        """
        return self._with_engines(lambda engine: engine.with_options(tile=tile, strength=strength))

    def watched(self, watch: Watch) -> "Restorer":
        """The same restorer, whose networks tell how much their images differ; see :meth:`Engine.watched`."""
        other = self._with_engines(lambda engine: engine)
        other.engine, vars(other)["color_engine"] = self.engine.watched(watch), self.color_engine.watched(watch)
        return other

    def _with_engines(self, changed: Callable[[Engine], Engine]) -> "Restorer":
        """The same restorer with its engines changed; those of less effort are made anew, as they would be the old."""
        other = copy.copy(self)
        other._shorter = {}
        other.engine = changed(self.engine)
        vars(other)["_second"] = self._second and changed(self._second)
        vars(other).pop("color_engine", None)
        return other

    def with_effort(self, effort: int) -> "Restorer":
        """The same restorer with networks that end after as many memory blocks; 0 is all that this one has.

        A network that has fewer than that keeps all of its own.
        """
        blocks = self.config.memory_blocks
        if effort in (0, blocks):
            return self
        if effort not in self._shorter:
            other = copy.copy(self)
            other._shorter = {}
            other.weights = shortened(self.weights, effort)
            other.engine = Engine(other.weights, self.engine.options, self._begun_with)
            for made in ("_second", "color_engine"):
                vars(other).pop(made, None)
            second = self._second
            other._load_color = partial(_load_shortened, second.weights, effort) if second else None
            self._shorter[effort] = other
        return self._shorter[effort]

    def within(
        self, seconds: float, picture: Picture, scale: float | None = None, size: Size | None = None
    ) -> "Restorer":
        """The same restorer with the most memory blocks that are forecast to take no longer for a picture.

        Less than one it cannot have. The networks alone are counted, in proportion to their multiply-adds; the first
        forecast on a machine times them.
        """
        config = self.engine_for(picture).config
        whole = self.forecast(picture, scale, size).seconds / config.multiply_adds_per_pixel
        for effort in range(config.memory_blocks, 1, -1):
            other = self.with_effort(effort)
            if whole * other.engine_for(picture).config.multiply_adds_per_pixel <= seconds:
                return other
        return self.with_effort(1)

    def settled(
        self, picture: Picture, scale: float | None = None, size: Size | None = None, *, quick: bool = False
    ) -> "Restorer":
        """What restores this picture: this one; see :meth:`Chooser.settled`."""
        return self

    def engine_for(self, picture: Image) -> AnyEngine:
        """The engine that restores a picture."""
        return self.engine if picture.is_gray else self.color_engine

    def forecast(self, picture: Picture, scale: float | None = None, size: Size | None = None) -> Needs:
        """Forecast the seconds and the memory that restoring a picture will take, from this machine's timing."""
        engine, channels = self.engine_for(picture), len(picture.pixels)
        passes, (height, width) = colors.passes(engine, channels), self.result_size(picture, scale, size)
        if self.enlarges:
            passes *= math.prod(steps_to(picture, scale, size).network.size) / (height * width)
        return engine.forecast(channels, height, width, passes)

    def __call__(
        self,
        picture: Picture,
        *,
        scale: float | None = None,
        size: Size | None = None,
        progress: Report | None = None,
        at_once: int = 1,
    ) -> Picture:
        """Restore one picture.

        Args:
            picture: see the contract in ``picture.py``.
            scale: enlargement, at least 1; only for super-resolution (2 if neither is given). What is beyond 4 is
                interpolated (see ``steps.py``).
            size: exact new ``(height, width)`` instead, not smaller than the picture; None for one keeps proportions.
            progress: called with the share done, 0 to 1.
            at_once: how many threads restore pictures at the same time, each with its share of the cores.

        Returns:
            A picture of the same kind, not clipped.

        Raises:
            UsageError: the picture breaks the contract, or scale or size does not fit.
            MSRNError: the network gave values that are not finite.
            MemoryError: there is too little memory for the result, or even for the smallest tile.
        """
        check_picture(picture)
        check_memory(len(picture.pixels), *self.result_size(picture, scale, size))
        engine, report = self.engine_for(picture), progress or silent
        shown, alpha = hide_invisible(picture), picture.alpha
        if self.enlarges:
            steps = steps_to(picture, scale, size)
            pixels = colors.enlarged(engine, shown, steps.network.how, report, at_once)
            for step in filter(None, steps):
                alpha = None if alpha is None else resize(alpha, **step.how).clip(0, 1)
            if steps.interpolation is not None:
                pixels = resize(pixels, **steps.interpolation.how)
        elif scale is not None or size is not None:
            raise UsageError(f"scale and size are for super-resolution; these weights are for {self.weights.card.task}")
        else:
            pixels = restore_invisible(colors.restored(engine, shown, report, at_once), picture)
        return picture.with_pixels(pixels, alpha)

    def learn(self, patience: float) -> None:
        """See :meth:`Engine.learn`."""
        deadline = time.perf_counter() + patience
        for engine in self.engines:
            engine.learn(deadline - time.perf_counter())

    def restore_planes(self, planes: Planes, progress: Callable[[float], None] | None = None) -> Planes:
        """Run the network alone; see :meth:`Engine.restore`."""
        return self.engine.restore(planes, progress)


def _load_shortened(weights: str | Path | Weights, effort: int) -> Weights:
    whole = weights if isinstance(weights, Weights) else load(weights)
    return shortened(whole, min(effort, whole.card.config.memory_blocks))
