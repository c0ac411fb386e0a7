"""What a picture needs, decided by looking at it: a chooser such as :class:`Automatic`; a :class:`Chain` restores.

What is found decides by the rules of ``rules.py``.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from msrn.errors import UsageError
from msrn.images.jpeg_evidence import SMALL_PICTURE
from msrn.images.picture import Picture, check_picture
from msrn.images.resize import enlarged_size
from msrn.network.catalogue import find, kind_of
from msrn.network.weights import load
from msrn.restoration import rules
from msrn.restoration.chain import Chain
from msrn.restoration.diagnosis import Diagnosis, diagnose
from msrn.restoration.joined import AnyEngine
from msrn.restoration.jpeg_quality import quality_of_file
from msrn.restoration.noise_level import covers_noise, looks_like_noise
from msrn.restoration.restorer import How, Restorer
from msrn.types import ENLARGING, Size, Task

logger = logging.getLogger(__name__)

BETTER: dict[Task, str] = {"jpeg": "msrn-m6r1s2-jpeg", "sr": "msrn-m6r1s2-sr", "photo": "msrn-m6r1s2-photo"}
"""What restores small pictures better than the task's own weights, at about four times the cost."""
USUAL: tuple[Task, ...] = "sr", "denoise", "jpeg", "photo"
"""The tasks that the package has weights for."""

_PART, _PARTS = 128, 4
"""Side and number of the parts that noise is removed from for trial."""


class Chooser:
    """Chooses for each picture what restores it.

    Args:
        load: returns the restorer of a task, or of the weights of a name; called once for each that is needed. By
            default the task's own weights, computed as fast as this machine can.
        tasks: those to choose from.
        better: names of weights for small pictures, by task.
    """

    def __init__(
        self,
        load: Callable[[Any], Restorer] = Restorer,
        tasks: Collection[Task] = USUAL,
        better: Mapping[Task, str] | None = None,
    ) -> None:
        self._load = load
        self._loaded: dict[str, Restorer] = {}
        self._loading = threading.Lock()
        self._told: list[AnyEngine] = []
        self._tasks = tuple(tasks)
        self._better = {task: name for task, name in (better or {}).items() if task in self._tasks}

    def __call__(self, picture: Picture, **how: Unpack[How]) -> Picture:
        """Restore what a picture needs, and enlarge it if a scale or size is given; see ``Restorer.__call__``."""
        return self.settled(picture, how.get("scale"), how.get("size"))(picture, **how)

    @property
    def identity(self) -> dict[str, str]:
        """What decides the results, besides the pictures."""
        return {"rules": f"{rules.thresholds()} {SMALL_PICTURE}"} | {
            f"{name}.{key}": value for name in self._names for key, value in self._of(name).identity.items()
        }

    @property
    def choices(self) -> dict[str, str]:
        """Backend and precision by SHA-256 of the weights."""
        return {key: value for name in self._names for key, value in self._of(name).choices.items()}

    @property
    def _names(self) -> tuple[str, ...]:
        return (*self._tasks, *self._better.values())

    def settled(self, picture: Picture, scale: float | None, size: Size | None, *, quick: bool = False) -> Chain:
        """Return what restores this picture.

        Args:
            picture: the picture.
            scale: see ``Restorer.__call__``, as for size.
            size: see there.
            quick: it is one of many, a frame of a video or a part of a scene, or in a hurry: a small one gets no larger
                networks.

        Raises:
            UsageError: it is no picture, or cannot become as large as is asked for.
        """
        raise NotImplementedError

    def learn(self, patience: float) -> None:
        """Time what else could have computed, for later runs, within some seconds; see :meth:`Restorer.learn`."""
        deadline = time.perf_counter() + patience
        for restorer in self._loaded.values():
            restorer.learn(deadline - time.perf_counter())

    def _chain(
        self, picture: Picture, names: Iterable[str], note: str, found: Diagnosis | None, bounded: bool = False
    ) -> Chain:
        steps = [self._of(name) for name in names]
        for step in steps:
            engine = step.engine_for(picture)
            if engine not in self._told and logger.isEnabledFor(logging.INFO):
                self._told.append(engine)
                logger.info("%s", engine)
        return Chain(steps, note, found, bounded)

    def _of(self, name: str) -> Restorer:
        with self._loading:
            if name not in self._loaded:
                self._loaded[name] = self._load(name)
            return self._loaded[name]


class Enlarging(Chooser):
    """Enlarges; a JPEG, as its file says, is freed of artifacts before.

    Example:
        >>> larger = Enlarging()(msrn.read("photo.jpg"), scale=2)
    """

    def __init__(self, load: Callable[[Any], Restorer] = Restorer) -> None:
        super().__init__(load, ("sr", "jpeg"))

    def settled(self, picture: Picture, scale: float | None, size: Size | None, *, quick: bool = False) -> Chain:
        """Return what enlarges this picture; see :meth:`Chooser.settled`."""
        check_picture(picture)
        enlarged_size((picture.height, picture.width), scale, size)
        coding = picture.metadata.jpeg
        quality = quality_of_file(coding).quality if coding else None
        if quality is None or quality > rules.JPEG_QUALITY:
            return self._chain(picture, ["sr"], "enlarged", None)
        return self._chain(picture, ["jpeg", "sr"], f"removed JPEG artifacts (quality {quality}); enlarged", None)


class Automatic(Chooser):
    """Chooses by what is found in the picture.

    Without the task ``sr``, it is for pictures that keep their size. With ``photo-sr``, artifacts of a JPEG in colours
    are removed while it is enlarged. With ``better={}``, small pictures get the same networks as large ones.

    Example:
        >>> restored = Automatic()(msrn.read("photo.jpg"))
    """

    def __init__(
        self,
        load: Callable[[Any], Restorer] = Restorer,
        tasks: Collection[Task] = USUAL,
        better: Mapping[Task, str] = BETTER,
    ) -> None:
        super().__init__(load, tasks, better)

    def settled(self, picture: Picture, scale: float | None, size: Size | None, *, quick: bool = False) -> Chain:
        """Return what restores this picture; see :meth:`Chooser.settled`."""
        check_picture(picture)
        enlarged = scale is not None or size is not None
        if enlarged and "sr" not in self._tasks:
            raise UsageError("this one does not enlarge: it was made without the task sr")
        if enlarged:
            enlarged_size((picture.height, picture.width), scale, size)  # before anything slow
        found = diagnose(picture)
        photo = "photo" in self._tasks and not picture.is_gray
        noisy = self._is_noisy(picture, found, "photo" if photo else "denoise")
        tasks: list[Task] = rules.tasks_for(found, noisy, photo=photo)
        notes = [rules.jpeg_note(found), rules.noise_note(found, noisy)]
        if enlarged:
            if "photo-sr" in self._tasks and tasks == ["jpeg"] and not picture.is_gray:
                tasks = ["photo-sr"]
            else:
                tasks.append("sr")
            notes.append("enlarged")
        sides = (picture.height, picture.width), enlarged_size((picture.height, picture.width), scale, size)
        better = {} if quick else self._better
        names = [
            better.get(task, task) if math.prod(sides[task in ENLARGING]) <= SMALL_PICTURE else task for task in tasks
        ]
        return self._chain(picture, names, "; ".join(notes), found, names[:1] == [better.get("jpeg")])

    def _is_noisy(self, picture: Picture, found: Diagnosis, trial: Task) -> bool:
        """Whether noise is believed: what is removed from parts of the picture, for trial, must look like noise."""
        under_jpeg = rules.is_jpeg(found)
        if under_jpeg and trial != "photo":
            return found.sigma >= rules.NOISE_UNDER_JPEG
        if not under_jpeg and found.sigma < rules.NOISE:
            return False
        parts = [Picture(part) for part in _parts(picture.pixels)]
        before, after = _joined(parts), _joined(map(self._of(trial), parts))
        share, kurtosis = rules.LOOKS_ALONE
        least, kurtosis = rules.LOOKS_UNDER_JPEG if under_jpeg else (share * found.sigma, kurtosis)
        if looks_like_noise(before, after, least * self._of(trial).engine.options.strength, kurtosis):
            return True
        return under_jpeg and covers_noise(before, after, _joined(map(self._of("jpeg"), parts)), *rules.COVERED)


def automatic_loader(
    weights: Sequence[str], *, enlarging: bool, **computing: Any
) -> Callable[[Mapping[str, str]], Automatic]:
    """What loads an :class:`Automatic`, given the choices that an earlier run was begun with (``{}`` for none).

    Args:
        weights: names or files of weights instead of their tasks' own.
        enlarging: whether pictures may be asked for in another size.
        computing: arguments of :class:`Restorer`: device, backend, precision, tile, tta, strength, effort.

    Raises:
        WeightsError: weights cannot be loaded.
        UsageError: two of them are for the same, or they enlarge and nothing is to be enlarged.

    Example:
        >>> restorer = automatic_loader([], enlarging=True, device="cpu")({})
    """
    names = _by_kind(weights)
    better = better_for(computing.get("effort", 0), names)
    for task in ENLARGING:
        if task in names and not enlarging:
            raise UsageError(f"{names[task]} enlarges: give --scale or --to as well")
    known: tuple[Task, ...] = (*USUAL, "photo-sr") if "photo-sr" in names else USUAL
    tasks: list[Task] = [task for task in known if enlarging or task not in ENLARGING]
    if "denoise-color" in names and "photo" not in names:
        tasks.remove("photo")  # which would remove all noise from pictures in colours

    def load_all(begun_with: Mapping[str, str]) -> Automatic:
        def restorer_of(name: str) -> Restorer:
            # Pictures with colours: those named, otherwise the task's own, unless what is named for planes is joined
            # with others for chroma.
            own, row = names.get(name, name), find(names.get(name, name))
            color = f"{name}-color"
            color = names.get(color) or (color if find(color) and not (row and row.chroma) else None)
            return Restorer(own, for_color=color, begun_with=begun_with, **computing)

        return Automatic(restorer_of, tasks, better)

    return load_all


def better_for(effort: int, named: Collection[str] = ()) -> dict[Task, str]:
    """What small pictures get: :data:`BETTER`, without tasks whose weights are named; nothing if effort is saved."""
    return {
        task: name for task, name in BETTER.items() if not effort and not {task, f"{task}-color"}.intersection(named)
    }


def _by_kind(names: Sequence[str]) -> dict[str, str]:
    """Which weights are for which task; those for colours for ``TASK-color``."""
    chosen: dict[str, str] = {}
    for name in names:
        card = load(name).card
        kind = kind_of(card.task, color=card.config.in_channels == 3)
        if kind in chosen:
            raise UsageError(f"{chosen[kind]} and {name} are both for {kind!r}: give one of them")
        chosen[kind] = name
    return chosen


def _joined(parts: Iterable[Picture]) -> NDArray[np.float32]:
    """All pixels of several parts, ``(C, H, W)``."""
    return np.concatenate([part.pixels for part in parts], axis=2)


def _parts(pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Squares of a picture ``(C, H, W)``, spread over it, or all of one that is hardly larger."""
    height, width = pixels.shape[1:]
    side = min(height, width, _PART)
    if height * width <= _PARTS * _PART**2:
        return [pixels]
    corners = [((height - side) * (1 + 2 * k) // 4, (width - side) * (1 + 2 * m) // 4) for k in (0, 1) for m in (0, 1)]
    return [np.ascontiguousarray(pixels[:, top : top + side, left : left + side]) for top, left in corners]
