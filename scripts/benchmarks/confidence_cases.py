"""What ``confidence.py`` measures likely errors on: pictures, how they are damaged, and what becomes of them.

A picture is damaged as a file would hold it, in 8 bits; of large ones the middle is taken. Its result is rounded to 8
bits. Errors are root mean squares over all channels of patches of 32×32.
"""

import pickle
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from msrn import images
from msrn.images import decode
from msrn.images.color import luminance
from msrn.images.folder import list_images
from msrn.images.picture import Picture, to_uint8
from msrn.images.resize import multiple_of, resize
from msrn.network.catalogue import find
from msrn.restoration.automatic import BETTER
from msrn.restoration.chain import Chain
from msrn.restoration.confidence.calibration import Measured
from msrn.restoration.confidence.estimate import seen_by, watch
from msrn.restoration.confidence.features import PATCH
from msrn.restoration.restorer import Restorer
from msrn.types import Task

SIDE = 192
"""Pixels of the middle of a picture that are restored, at most."""
Pixels = NDArray[np.float32]


class Case(NamedTuple):
    """The tasks of steps one after the other, and how their pictures are damaged."""

    tasks: tuple[Task, ...]
    kind: str
    """``gray`` or ``color``."""
    levels: tuple[float, ...]
    damage: Callable[[Pixels, float, int], Picture]

    @property
    def name(self) -> str:
        """For tables."""
        return f"{', then '.join(self.tasks)}, {self.kind}"

    def scale(self, level: float) -> float | None:
        """The factor to enlarge by."""
        if self.tasks[-1] != "sr":
            return None
        return level if len(self.tasks) == 1 else 2.0

    def steps(self, network: str) -> list[Restorer]:
        """What ``msrn`` takes by default, or weights of another shape; none where there are none.

        ``mixed`` are the larger networks and then the default one, as where only the result is large.
        """
        if network == "m4r1s2":
            return [Restorer(task) for task in self.tasks]
        if network == "mixed":
            first = [f"msrn-m6r1s2-{task}" for task in self.tasks[:-1]]
            return [Restorer(name) for name in (*first, self.tasks[-1])] if first else []
        names = [f"msrn-{network}-{task}" for task in self.tasks]
        return [Restorer(name) for name in names] if all(map(find, names)) else []


def bounded(steps: list[Restorer]) -> bool:
    """Whether ``msrn restore`` moves what the first of several steps makes into what the JPEG file allows."""
    better = find(BETTER["jpeg"])
    return len(steps) > 1 and better is not None and steps[0].weights.sha256 == better.sha256


def rounded(pixels: NDArray[Any]) -> Pixels:
    """As a file of 8 bits holds them."""
    return to_uint8(pixels).astype(np.float32) / np.float32(255)


def reduced(clean: Pixels, scale: float, seed: int) -> Picture:
    """A small picture."""
    return Picture(rounded(resize(clean, 1 / scale)))


def noisy(clean: Pixels, sigma: float, seed: int) -> Picture:
    """A picture with noise, clipped and rounded."""
    noise = np.random.default_rng((seed, int(sigma))).standard_normal(clean.shape, np.float32)
    return Picture(rounded(clean + noise * np.float32(sigma / 255)))


def compressed(clean: Pixels, quality: float, seed: int) -> Picture:
    """A picture from a JPEG file."""
    file = BytesIO()
    Picture(clean).to_pil().save(file, "JPEG", quality=int(quality))
    return decode(file.getvalue(), Path("x.jpg"))


def photographed(clean: Pixels, sigma: float, seed: int) -> Picture:
    """Noise, below σ 25 with a JPEG of quality 80 over it."""
    with_noise = noisy(clean, sigma, seed)
    return compressed(with_noise.pixels, 80, seed) if sigma < 25 else with_noise


def small_jpeg(clean: Pixels, quality: float, seed: int) -> Picture:
    """Half as large, from a JPEG file."""
    return compressed(reduced(clean, 2, seed).pixels, quality, seed)


def small_photograph(clean: Pixels, sigma: float, seed: int) -> Picture:
    """Half as large, with noise and perhaps a JPEG."""
    return photographed(reduced(clean, 2, seed).pixels, sigma, seed)


CASES = [
    *(Case(("sr",), kind, (2, 3, 4), reduced) for kind in ("gray", "color")),
    *(Case(("denoise",), kind, (10, 25, 50), noisy) for kind in ("gray", "color")),
    *(Case(("jpeg",), kind, (10, 30, 60, 90), compressed) for kind in ("gray", "color")),
    Case(("photo",), "color", (10, 20, 30, 50), photographed),
    *(Case(("jpeg", "sr"), kind, (20, 50, 80), small_jpeg) for kind in ("gray", "color")),
    Case(("photo", "sr"), "color", (10, 30), small_photograph),
]


@cache
def pictures(folder: Path, kind: str) -> list[Pixels]:
    """The pictures of a folder, ``(C, H, W)``: all as gray, or those in colours."""
    return list(_pictures(folder, kind))


def _pictures(folder: Path, kind: str) -> Iterator[Pixels]:
    for path in list_images([folder], nested=True):
        pixels = images.read(path).pixels
        if kind == "color" and len(pixels) == 1:
            continue
        pixels = luminance(pixels, "full") if kind == "gray" and len(pixels) == 3 else pixels
        top, left = (max(0, (length - SIDE) // 2) for length in pixels.shape[1:])
        part = pixels[:, top : top + SIDE, left : left + SIDE]
        yield rounded(np.ascontiguousarray(part, dtype=np.float32))


def patches(values: NDArray[Any]) -> NDArray[Any]:
    """Mean squares of ``(C, H, W)`` in each whole patch, in rows."""
    height, width = (length // PATCH for length in values.shape[1:])
    parts = values[:, : height * PATCH, : width * PATCH].reshape(-1, height, PATCH, width, PATCH)
    return (parts.astype(np.float64) ** 2).mean(axis=(0, 2, 4)).ravel()


def measured(case: Case, steps: list[Restorer], folder: Path, level: float, saved: Path | None) -> list[Measured]:
    """What is seen of each picture of a folder at a level, and its true errors; from a folder of saved ones if there.

    What is seen of several steps depends on the calibration of each: measure it again when that has changed.
    """
    if saved is None:
        return list(_measured(case, steps, folder, level))
    file = saved / f"{case.name}, {level:g}, {folder.name}.pickle"
    if not file.exists():
        file.write_bytes(pickle.dumps(list(_measured(case, steps, folder, level))))
    return pickle.loads(file.read_bytes())


def _measured(case: Case, steps: list[Restorer], folder: Path, level: float) -> Iterator[Measured]:
    for number, clean in enumerate(pictures(folder, case.kind)):
        scale = case.scale(level)
        clean = multiple_of(clean, int(scale)) if scale else clean
        damaged, (watched, features) = case.damage(clean, level, number), watch(steps)
        made = Chain(watched, "", bounded=bounded(steps))(damaged, scale=scale)
        seen = seen_by(steps, features, damaged)
        height, width = (length // PATCH for length in clean.shape[1:])
        seen = seen._replace(maps=seen.maps[:, 2 : 4 * height : 4, 2 : 4 * width : 4].reshape(len(seen.maps), -1))
        difference = to_uint8(made.pixels).astype(np.float64) - to_uint8(clean)
        yield Measured(number, seen, np.sqrt(patches(difference)))
