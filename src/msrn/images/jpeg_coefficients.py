"""The quantised cosine coefficients that a JPEG file holds, exactly, with the steps and the sampling they belong to.

No decoder in the base install hands them out, and decoded pixels, rounded and clipped, do not tell them for certain.
This reader takes what is common: Huffman coding, sequential or progressive, 8 bits (ITU-T T.81, annexes B, F and G).
Its loops are Python's, which no file can make write out of place, and take about a second for a megabyte.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from msrn.images.jpeg_scans import ZIGZAG, Scan, Table, decode_scan, huffman_table
from msrn.images.picture import JpegCoefficients, JpegComponent

_FRAMES = {0xC0: "baseline", 0xC1: "sequential", 0xC2: "progressive"}
_OTHER_FRAMES = {
    **dict.fromkeys((0xC3, 0xC7, 0xCB, 0xCF), "lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xCD, 0xCE), "hierarchical JPEG"),
    **dict.fromkeys((0xC9, 0xCA), "arithmetic coding"),
}
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD8))
_MOST_BLOCKS_PER_MCU = 10


class UnreadableError(ValueError):
    """A JPEG whose coefficients cannot be read; the message says why."""


@dataclass
class _Component:
    """A component while it is read."""

    number: int
    horizontal: int
    vertical: int
    table: int
    blocks: NDArray[np.int16] = field(default_factory=lambda: np.empty(0, np.int16))
    """``(rows, columns, 64)`` in whole MCUs."""
    inside: tuple[int, int] = (0, 0)
    """Rows and columns of blocks that hold pixels: what scans of one component store."""
    steps: NDArray[np.int32] | None = None
    """As they were when its first scan began: later tables are for later components."""


def read_coefficients(data: bytes) -> JpegCoefficients:
    """Read all coefficients of a JPEG file.

    Args:
        data: the file's content; of several pictures in it, the first is read.

    Returns:
        The coefficients, as :class:`~msrn.images.picture.JpegCoefficients` says.

    Raises:
        UnreadableError: it is coded in another way, has other components than gray or YCbCr, or is damaged.

    Example:
        >>> coded = read_coefficients(Path("photo.jpg").read_bytes())
        >>> luminance = coded.components[0]
        >>> luminance.blocks[0, 0] * luminance.steps  # of the first block, in grey levels
    """
    try:
        return _File(data).read()
    except (IndexError, struct.error, ValueError) as error:
        if isinstance(error, UnreadableError):
            raise
        raise UnreadableError("it is damaged") from error


class _File:
    """A file on the way through its markers."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._steps = dict[int, NDArray[np.int32]]()
        self._tables = dict[int, Table]()
        self._components = list[_Component]()
        self._progressive, self._interval, self._adobe = False, 0, -1
        self._size = self._mcus = (0, 0)

    def read(self) -> JpegCoefficients:
        for marker, content, after in self._segments():
            if marker == 0xDB:
                self._read_steps(content)
            elif marker == 0xC4:
                self._read_huffman(content)
            elif marker == 0xDD:
                (self._interval,) = struct.unpack(">H", content)
            elif marker == 0xEE and content[:5] == b"Adobe":
                self._adobe = content[11]
            elif marker in _FRAMES:
                self._read_frame(content, marker)
            elif marker in _OTHER_FRAMES:
                raise UnreadableError(f"{_OTHER_FRAMES[marker]} is not read here")
            elif marker == 0xDA:
                self._read_scan(content, after)
        return self._result()

    def _segments(self) -> Iterator[tuple[int, bytes, int]]:
        """Markers with their contents, and where what follows begins, until the picture ends."""
        data, at = self._data, 2
        while at + 1 < len(data):
            at = data.index(b"\xff", at)
            marker = data[at + 1]
            if marker == 0xD9:
                return
            if marker in (0x00, 0xFF, *_WITHOUT_LENGTH):  # coded data, filling
                at += 1 if marker == 0xFF else 2
                continue
            (length,) = struct.unpack_from(">H", data, at + 2)
            yield marker, data[at + 4 : at + 2 + length], at + 2 + length
            at += 2 + length

    def _read_steps(self, content: bytes) -> None:
        at = 0
        while at < len(content):
            wide, number = content[at] >> 4, content[at] & 15
            values = np.frombuffer(content, ">u2" if wide else "u1", 64, at + 1)
            table = np.empty(64, np.int32)
            table[ZIGZAG] = values
            self._steps[number] = table
            at += 1 + (128 if wide else 64)

    def _read_huffman(self, content: bytes) -> None:
        at = 0
        while at < len(content):
            counts = content[at + 1 : at + 17]
            symbols = content[at + 17 : at + 17 + sum(counts)]
            self._tables[content[at]] = huffman_table(counts, symbols)
            at += 17 + len(symbols)

    def _read_frame(self, content: bytes, marker: int) -> None:
        precision, height, width, count = struct.unpack_from(">BHHB", content)
        if self._components:
            raise UnreadableError("it has several frames")
        if precision != 8:
            raise UnreadableError(f"{precision} bits per sample are not read here")
        if count not in (1, 3) or not height or not width:
            raise UnreadableError(f"its {count} components are neither gray nor YCbCr")
        self._size, self._progressive = (height, width), marker == 0xC2
        parts = struct.iter_unpack("BBB", content[6 : 6 + 3 * count])
        self._components = [_Component(n, both >> 4, both & 15, table) for n, both, table in parts]
        if count == 1:  # its factors say nothing
            self._components[0].horizontal = self._components[0].vertical = 1
        if any(not 1 <= factor <= 4 for c in self._components for factor in (c.horizontal, c.vertical)):
            raise UnreadableError("its sampling factors are not valid")
        if sum(c.horizontal * c.vertical for c in self._components) > _MOST_BLOCKS_PER_MCU:
            raise UnreadableError("its sampling factors are not valid")
        tall, wide = (max(c.vertical for c in self._components), max(c.horizontal for c in self._components))
        self._mcus = -(-height // (8 * tall)), -(-width // (8 * wide))
        if self._mcus[0] * self._mcus[1] > 8 * len(self._data):  # each takes a bit at least
            raise UnreadableError("it is damaged: so few data cannot fill its size")
        for c in self._components:
            rows, columns = self._mcus[0] * c.vertical, self._mcus[1] * c.horizontal
            c.blocks = np.zeros((rows, columns, 64), np.int16)
            c.inside = -(-height * c.vertical // (8 * tall)), -(-width * c.horizontal // (8 * wide))

    def _read_scan(self, content: bytes, start: int) -> None:
        count = content[0]
        chosen = dict(struct.iter_unpack("BB", content[1 : 1 + 2 * count]))
        components = [c for c in self._components if c.number in chosen]
        if len(components) != count:
            raise UnreadableError("a scan is of components that there are not")
        first, last, approximation = content[1 + 2 * count : 4 + 2 * count]
        if last > 63 or first > last or (first > 0 and count > 1):
            raise UnreadableError("a scan is of frequencies that there are not")
        for c in components:
            if c.steps is None:
                c.steps = self._steps.get(c.table)
        scan = Scan(self._progressive, first, last, approximation >> 4, approximation & 15, self._interval)
        units, order = _order(components, self._mcus)
        tables = [
            (self._tables.get(chosen[c.number] >> 4), self._tables.get(16 + (chosen[c.number] & 15)))
            for c in components
        ]
        decode_scan(self._data, start, scan, [c.blocks for c in components], tables, units, order)

    def _result(self) -> JpegCoefficients:
        if not self._components or any(c.steps is None for c in self._components):
            raise UnreadableError("it holds no picture, or a part of one")
        if len(self._components) == 3 and (self._adobe == 0 or [c.number for c in self._components] == [*b"RGB"]):
            raise UnreadableError("its components are R, G and B, which are neither gray nor YCbCr")
        parts = [
            JpegComponent(c.blocks.reshape(*c.blocks.shape[:2], 8, 8), c.steps.reshape(8, 8), c.horizontal, c.vertical)
            for c in self._components
            if c.steps is not None
        ]
        return JpegCoefficients(*self._size, tuple(parts))


def _order(components: list[_Component], mcus: tuple[int, int]) -> tuple[list[int], list[list[int]]]:
    """Which component each block of an MCU is of, and for each of these where its blocks begin, MCU by MCU."""
    if len(components) == 1:  # a scan of one component stores its blocks row by row, and none beyond the edge
        rows, columns = components[0].inside
        starts = np.add.outer(np.arange(rows) * components[0].blocks.shape[1], np.arange(columns))
        return [0], [(starts.ravel() * 64).tolist()]
    units, order = list[int](), list[list[int]]()
    for number, c in enumerate(components):
        for down, right in np.ndindex(c.vertical, c.horizontal):
            rows, columns = np.arange(mcus[0]) * c.vertical + down, np.arange(mcus[1]) * c.horizontal + right
            units.append(number)
            order.append((np.add.outer(rows * c.blocks.shape[1], columns).ravel() * 64).tolist())
    return units, order
