"""What libjpeg makes of pixels before it rounds coefficients: the forward way, MCU by MCU.

Samples of 8 bits are coded in libjpeg's own whole numbers, to the bit: Y, Cb and Cr by JFIF's matrix, rounded to 8
bits; chroma averaged over the pixels that one of its samples stands for, rounded by an alternating bias; less 128; the
cosine transform ``islow``. Samples of 16 bits go the same way without any rounding. At the right, the last column of
pixels is repeated, at the bottom the last row of each component; blocks without a single pixel say nothing.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from msrn.errors import UsageError
from msrn.images.color import matrix
from msrn.images.picture import JpegCoefficients, JpegComponent
from msrn.restoration.certificate.cosines import Floats, transform, transform_back, transform_whole

_WHOLE = np.array([[19595, 38470, 7471], [-11059, -21709, 32768], [32768, -27439, -5329]], np.int32)
"""JFIF's matrix as libjpeg has it, times 2¹⁶."""
_ADDED = np.array([1 << 15, (128 << 16) + (1 << 15) - 1, (128 << 16) + (1 << 15) - 1], np.int32)
_FLOATING = np.float32(1 / 128)
"""Grey levels by which sums of float32 may be wrong, of samples that are not rounded."""
_FORWARD = matrix("full")[0].astype(np.float32)
_BACK = matrix("full", inverse=True)[0].astype(np.float32)


@dataclass(frozen=True)
class Plane:
    """One component's place in the MCUs, ``N`` of them."""

    component: JpegComponent
    mean: tuple[int, int]
    """Rows and columns of pixels that one of its samples is the mean of."""
    rows: int
    """Rows of samples that hold pixels, of the MCUs at the bottom."""
    centre: Floats
    """``(N, v, h, 8, 8)``: the coefficients that the file holds, in grey levels."""
    half: Floats
    """``(8, 8)``: half a step, which is how far coefficients may be from there."""
    inside: NDArray[np.bool_]
    """``(N, v, h, 1, 1)``: blocks that hold pixels of the picture."""


class JpegCoder:
    """Codes pixels as a file was coded.

    Args:
        coded: what the file holds.

    Raises:
        UsageError: its sampling is none that coders use.
    """

    def __init__(self, coded: JpegCoefficients) -> None:
        self.coded = coded
        parts = coded.components
        self.tall, self.wide = max(c.vertical for c in parts), max(c.horizontal for c in parts)
        if any(self.tall % c.vertical or self.wide % c.horizontal for c in parts):
            raise UsageError("its chroma is sampled in a way that is not handled")
        self.rows = len(parts[0].blocks) // parts[0].vertical
        self.columns = parts[0].blocks.shape[1] // parts[0].horizontal
        self.planes = [self._plane(c) for c in parts]

    @cached_property
    def edges(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which MCUs reach beyond the picture at the bottom, and which at the right, ``(N,)`` each."""
        bottom, right = np.zeros((2, self.rows, self.columns), np.bool_)
        bottom[-1], right[:, -1] = self.last[0] < 8 * self.tall, self.last[1] < 8 * self.wide
        return bottom.ravel(), right.ravel()

    @property
    def last(self) -> tuple[int, int]:
        """Rows of pixels in the last row of MCUs, and columns in the last column."""
        tall, wide = 8 * self.tall, 8 * self.wide
        return self.coded.height - (self.rows - 1) * tall, self.coded.width - (self.columns - 1) * wide

    def cut(self, pixels: Floats) -> Floats:
        """MCUs ``(N, C, 8·tall, 8·wide)`` of pixels ``(C, H, W)``; beyond the edge they are repeated."""
        tall, wide = 8 * self.tall, 8 * self.wide
        beyond = self.rows * tall - pixels.shape[1], self.columns * wide - pixels.shape[2]
        padded = np.pad(pixels, ((0, 0), (0, beyond[0]), (0, beyond[1])), mode="edge")
        return (
            padded.reshape(len(pixels), self.rows, tall, self.columns, wide)
            .transpose(1, 3, 0, 2, 4)
            .reshape(-1, len(pixels), tall, wide)
        )

    def joined(self, mcus: Floats) -> Floats:
        """The pixels ``(C, H, W)`` of all MCUs."""
        channels, tall, wide = mcus.shape[1:]
        whole = mcus.reshape(self.rows, self.columns, channels, tall, wide).transpose(2, 0, 3, 1, 4)
        whole = whole.reshape(channels, self.rows * tall, self.columns * wide)
        return np.ascontiguousarray(whole[:, : self.coded.height, : self.coded.width])

    def departures(self, mcus: Floats, which: NDArray[np.intp], whole: bool = True) -> list[Floats]:
        """How far coefficients are from what the file holds, in grey levels; 0 in blocks that say nothing.

        Args:
            mcus: ``(n, C, 8·tall, 8·wide)`` from 0 to 255.
            which: their numbers, ``(n,)``.
            whole: samples are whole numbers, and everything is rounded where libjpeg does.

        Returns:
            For each component ``(n, v, h, 8, 8)``.
        """
        converted = self._converted(mcus, whole)
        forward = transform_whole if whole else transform
        return [
            np.where(plane.inside[which], forward(self._sampled(converted[:, k], plane, which, whole)), 0)
            - plane.centre[which]
            for k, plane in enumerate(self.planes)
        ]

    def outside(self, mcus: Floats, which: NDArray[np.intp], whole: bool = True) -> list[NDArray[np.bool_]]:
        """Which coefficients would be rounded to others than the file holds; otherwise as :meth:`departures`."""
        found = list[NDArray[np.bool_]]()
        for departure, plane in zip(self.departures(mcus, which, whole), self.planes, strict=True):
            if whole:  # halves are rounded away from zero
                size, half = np.abs(departure), plane.half
                found.append((size > half) | ((size == half) & (departure * plane.centre[which] >= 0)))
            else:
                found.append(np.abs(departure) > plane.half + _FLOATING)
        return found

    def passes(self, mcus: Floats, which: NDArray[np.intp], whole: bool = True) -> NDArray[np.bool_]:
        """Which MCUs are coded to what the file holds, ``(n,)``; otherwise as :meth:`departures`."""
        found = [outside.any(axis=(1, 2, 3, 4)) for outside in self.outside(mcus, which, whole)]
        return ~np.logical_or.reduce(found)

    def spread(self, changes: list[Floats], which: NDArray[np.intp]) -> Floats:
        """The smallest change of pixels ``(n, C, 8·tall, 8·wide)`` that changes coefficients so, but at the edges."""
        bottom = self.edges[0][which]
        planes = list[Floats]()
        for change, plane in zip(changes, self.planes, strict=True):
            samples = transform_back(change)
            samples[bottom, plane.rows - 1] = samples[bottom, plane.rows - 1 :].mean(axis=1)
            planes.append(samples.repeat(plane.mean[0], axis=1).repeat(plane.mean[1], axis=2))
        made = planes[0][:, None] if len(planes) == 1 else _mixed(np.stack(planes, axis=1), _BACK)
        self.fold(made, which)
        return made

    def fold(self, mcus: Floats, which: NDArray[np.intp]) -> None:
        """Make what is beyond the picture's edge one with its last row and column, in place."""
        bottom, right = (edge[which] for edge in self.edges)
        rows, columns = self.last
        if right.any():
            mcus[right, :, :, columns - 1 :] = mcus[right, :, :, columns - 1 :].mean(axis=-1, keepdims=True)
        if bottom.any():
            mcus[bottom, :, rows - 1 :] = mcus[bottom, :, rows - 1 : rows]

    def _plane(self, c: JpegComponent) -> Plane:
        count = self.rows * self.columns
        tall, wide = self.tall // c.vertical, self.wide // c.horizontal
        height, width = -(-self.coded.height // tall), -(-self.coded.width // wide)
        inside = np.zeros(c.blocks.shape[:2], np.bool_)
        inside[: -(-height // 8), : -(-width // 8)] = True
        shape = (self.rows, c.vertical, self.columns, c.horizontal)
        in_units = c.blocks.reshape(*shape, 8, 8).transpose(0, 2, 1, 3, 4, 5).reshape(count, *shape[1::2], 8, 8)
        inside = inside.reshape(shape).transpose(0, 2, 1, 3).reshape(count, *shape[1::2], 1, 1)
        centre = np.where(inside, in_units * c.steps.astype(np.float32), 0).astype(np.float32)
        rows = height - (self.rows - 1) * 8 * c.vertical
        return Plane(c, (tall, wide), rows, centre, c.steps.astype(np.float32) * np.float32(0.5), inside)

    def _converted(self, mcus: Floats, whole: bool) -> Floats:
        if len(self.planes) == 1:
            return mcus - np.float32(128)
        if not whole:
            made = _mixed(mcus, _FORWARD)
            made[:, 0] -= 128
            return made
        levels = mcus.astype(np.int32)
        made = np.empty(mcus.shape, np.float32)
        for k, row in enumerate(_WHOLE):
            summed = row[0] * levels[:, 0] + row[1] * levels[:, 1] + row[2] * levels[:, 2] + _ADDED[k]
            made[:, k] = (summed >> 16) - 128
        return made

    def _sampled(self, values: Floats, plane: Plane, which: NDArray[np.intp], whole: bool) -> Floats:
        """Samples ``(n, 8·v, 8·h)`` of a component's values ``(n, 8·tall, 8·wide)``."""
        tall, wide = plane.mean
        samples = values
        if tall * wide > 1:
            count, height, width = values.shape
            parts = values.reshape(count, height // tall, tall, width // wide, wide)
            samples = np.add.reduce(np.add.reduce(parts, axis=4), axis=2)
            if whole:
                samples += _bias(tall, wide, width // wide)
                samples = np.floor(samples / np.float32(tall * wide))
            else:
                samples /= np.float32(tall * wide)
        bottom = self.edges[0][which]
        if tall > 1 and bottom.any():
            samples[bottom, plane.rows :] = samples[bottom, plane.rows - 1 : plane.rows]
        return samples


def _bias(tall: int, wide: int, columns: int) -> Floats:
    """What libjpeg adds before it divides: nothing on average more than half, alternating."""
    if wide == 2 and tall <= 2:
        return (np.arange(columns) % 2 + (tall - 1)).astype(np.float32)
    return np.full(columns, tall * wide // 2, np.float32)


def _mixed(planes: Floats, by: Floats) -> Floats:
    """Colours ``(n, 3, …)`` multiplied by a matrix."""
    made = np.empty_like(planes)
    for k, row in enumerate(by):
        made[:, k] = row[0] * planes[:, 0] + row[1] * planes[:, 1] + row[2] * planes[:, 2]
    return made
