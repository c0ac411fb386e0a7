"""What is done to images before a network learns from them: they are reduced, cut off a JPEG's grid, painted into.

Photographs show fine stripes, patterns, thin lines, dots and letters on flat ground too seldom. A network that has
seen few takes them for noise, or for the traces of a JPEG, and removes them. It can tell: unlike noise they have a
structure, and unlike a JPEG's artifacts no 8×8 grid.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from msrn.images.resize import resize

_AREA = 56**2
"""Pixels per figure: half of an image or more is covered."""
_RADIUS = 6.0, 40.0
_LOG_CONTRAST = math.log(4), math.log(100)
"""Of stripes, amplitudes in grey levels."""
_CELL = 1, 6
"""Sides of chequers and bars in pixels, below the second."""
_SCREEN = 3, 13
"""Periods of halftones in pixels, below the second."""
_TYPE = 7.0, 26.0
"""Sizes of letters in pixels."""
_LETTERS = "etaoinshrdlucmfwypvbgkqjxzETAOINSHRDLUCMFWYPVBGKQJXZ0123456789.,:;-()/&%$?!"


def with_reduced(images: Sequence[NDArray[np.uint8]], factors: Sequence[float]) -> list[NDArray[np.uint8]]:
    """All images, followed by all of them reduced by each factor with MATLAB's bicubic."""
    with ThreadPoolExecutor() as pool:
        smaller = [list(pool.map(partial(resize, scale=factor), images)) for factor in factors]
    return [*images, *chain(*smaller)]


def off_grid(image: NDArray[Any], number: int) -> NDArray[Any]:
    """Cut 1 to 7 rows and columns off ``(C, H, W)``, so that a new JPEG's blocks are not those of an earlier one.

    Many collections, BSDS300 among them, were JPEGs once. Compressed again block by block, they would teach a network
    that clean images have coefficients on the earlier JPEG's steps.
    """
    top, left = np.random.default_rng(number).integers(1, 8, size=2)
    return image[:, top:, left:]


def chosen(number: int, share: float) -> bool:
    """Whether the image of this number is among the share of images that are painted into."""
    return bool(np.random.default_rng((number, 1)).random() < share)


def some_painted(images: Sequence[NDArray[np.uint8]], share: float) -> list[NDArray[np.uint8]]:
    """All images, figures painted into a share of them."""
    return [painted(image, k) if chosen(k, share) else image for k, image in enumerate(images)]


def painted(image: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Paint figures into an image ``(C, H, W)``: others for every number, always the same for one.

    Half are stripes of any frequency that pixels can show, in round regions with soft edges; others are patterns,
    lines, dots and letters in squares, of which half have an even ground, some of these from one tone to another. In
    colours, some are coloured.
    """
    rng = np.random.default_rng((number, 2))
    channels, height, width = image.shape
    canvas = image.astype(np.float32)
    for _ in range(math.ceil(height * width / _AREA)):
        radius = rng.uniform(*_RADIUS)
        centre = int(rng.integers(height)), int(rng.integers(width))
        reach = math.ceil(1.5 * radius)
        rows, columns = (
            np.arange(max(0, at - reach), min(length, at + reach + 1))
            for at, length in zip(centre, (height, width), strict=True)
        )
        region = canvas[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        kind = rng.choice(["stripes", "pattern", "lines", "dots", "letters"], p=[0.5, 0.15, 0.05, 0.15, 0.15])
        if kind == "stripes":
            y, x = np.meshgrid(rows - centre[0], columns - centre[1], indexing="ij")
            region += _colour(rng, channels, 1, -1) * _stripes(rng, y, x, radius)
            continue
        if rng.random() < 0.5:
            region[:] = _ground(rng, region.shape)
        ink = _tone(rng, channels)
        region += _mask(rng, str(kind), region.shape[1:]) * (ink - region)
    return np.rint(canvas).clip(0, 255).astype(np.uint8)


def _stripes(rng: np.random.Generator, y: NDArray[Any], x: NDArray[Any], radius: float) -> NDArray[Any]:
    wave = _wave(rng, y, x)
    if rng.random() < 1 / 4:  # of two directions, as in print
        wave = wave * _wave(rng, y, x)
    if rng.random() < 1 / 3:  # of two values alone
        wave = np.sign(wave)
    return math.exp(rng.uniform(*_LOG_CONTRAST)) * wave * np.exp(-(((y**2 + x**2) / radius**2) ** 2))


def _wave(rng: np.random.Generator, y: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    down, right = rng.uniform(-0.5, 0.5, size=2)  # periods per pixel
    return np.cos(2 * math.pi * (down * y + right * x + rng.random()))


def _pattern(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """Chequers, bars or a halftone's dots, ``(H, W)`` from 0 to 1: the same again after a few whole pixels."""
    y, x = np.mgrid[: shape[0], : shape[1]] + rng.integers(0, 60, size=2)[:, None, None]
    if rng.random() < 0.5:  # turned by 45 degrees
        y, x = y + x, y - x
    kind = rng.choice(["chequers", "bars", "halftone"])
    if kind == "halftone":
        down, across = rng.integers(*_SCREEN, size=2)
        return (1 + np.cos(2 * math.pi * y / down) * np.cos(2 * math.pi * x / across)) / 2
    height, width = rng.integers(*_CELL, size=2)
    return (y // height + (x // width if kind == "chequers" else 0)) % 2


def _mask(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Where a figure's ink is, ``(H, W)`` from 0 to 1."""
    height, width = shape
    if kind == "pattern":
        return _pattern(rng, shape).astype(np.float32)
    if kind == "dots":  # as bright as each other, or like stars
        brightness = rng.uniform(rng.choice([0.2, 1]), 1, size=shape)
        return (brightness * (rng.random(shape) < rng.uniform(0.001, 0.05))).astype(np.float32)
    image = Image.new("L", (width, height))
    pen = ImageDraw.Draw(image)
    if kind == "lines":
        for _ in range(int(rng.integers(1, 12))):
            ends = rng.uniform(-0.2, 1.2, size=4) * np.array([width, height, width, height])
            pen.line([float(end) for end in ends], fill=255, width=int(rng.integers(1, 4)))
    else:
        size = rng.uniform(*_TYPE)
        font = ImageFont.load_default(size)
        top = rng.uniform(-0.5, 0.5) * size
        while top < height:
            line = "".join(rng.choice(list(_LETTERS + 20 * " "), size=math.ceil(3 * width / size)))
            pen.text((rng.uniform(-0.5, 0.5) * size, top), line, fill=255, font=font)
            top += 1.2 * size
    return np.asarray(image, np.float32) / np.float32(255)


def _ground(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """One tone, or a gradient of two in any direction, ``(C, H, W)`` from 0 to 255."""
    channels, height, width = shape
    first, second = (_tone(rng, channels) for _ in range(2))
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[:height, :width]
    along = math.sin(angle) * y + math.cos(angle) * x
    share = (along - along.min()) / max(1.0, along.max() - along.min()) if rng.random() < 0.4 else np.zeros_like(along)
    return first + (second - first) * share


def _tone(rng: np.random.Generator, channels: int) -> NDArray[Any]:
    """``(C, 1, 1)`` from 0 to 255 for ink or ground: black or white for half of the draws."""
    if rng.random() < 0.5:
        return np.full((channels, 1, 1), 255 * rng.integers(2), np.float32)
    return 255 * _colour(rng, channels, rng.random(), 0)


def _colour(rng: np.random.Generator, channels: int, gray: float, low: float) -> NDArray[np.float32]:
    """``(C, 1, 1)``: this gray for half of the draws, for others any colour from ``low`` to 1."""
    plain = channels == 1 or rng.random() < 0.5
    values = np.full(channels, gray) if plain else rng.uniform(low, 1, size=channels)
    return values.astype(np.float32)[:, None, None]
