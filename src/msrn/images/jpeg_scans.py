"""Huffman-coded scans of a JPEG, sequential and progressive (ITU-T T.81, annexes F.2 and G.2), as coefficients."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ZIGZAG = np.array(sorted(range(64), key=lambda k: (k // 8 + k % 8, (k // 8) * (-1) ** ((k // 8 + k % 8) % 2 + 1))))
"""Where each coefficient in a file's order belongs, row by row."""
_PLACES: list[int] = ZIGZAG.tolist()
_END = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_RESTART = re.compile(rb"\xff+[\xd0-\xd7]")

Table = tuple[bytes, bytes]
"""For all that the next 16 bits may be: the length of the code, and the symbol that it stands for."""
_NONE: Table = b"", b""
Pair = tuple[Table | None, Table | None]
"""For DC and for AC."""


@dataclass(frozen=True)
class Scan:
    """What a scan's header says."""

    progressive: bool
    first: int
    last: int
    """Frequencies, in the file's order."""
    before: int
    after: int
    """The lowest bit that is known before and after the scan (successive approximation)."""
    interval: int
    """MCUs between two restarts, 0 for none."""


def huffman_table(counts: bytes, symbols: bytes) -> Table:
    """Make a table of how many codes there are of each length from 1, and what they stand for.

    Raises:
        ValueError: there are more codes than fit.
    """
    # Bits that are no code lead beyond the end of the data, where it is noticed.
    lengths, values = np.full(1 << 16, 255, np.uint8), np.zeros(1 << 16, np.uint8)
    at, number = 0, 0
    for length, count in enumerate(counts, start=1):
        for symbol in symbols[number : number + count]:
            end = at + (1 << (16 - length))
            if end > 1 << 16:
                raise ValueError("a Huffman table has too many codes")
            lengths[at:end], values[at:end] = length, symbol
            at = end
        number += count
    return lengths.tobytes(), values.tobytes()


def decode_scan(
    data: bytes,
    start: int,
    scan: Scan,
    blocks: Sequence[NDArray[np.int16]],
    tables: Sequence[Pair],
    units: Sequence[int],
    order: Sequence[Sequence[int]],
) -> None:
    """Decode a scan into its components' coefficients.

    Args:
        data: the file.
        start: where the coded data begin.
        scan: the header.
        blocks: contiguous coefficients of each component, changed in place.
        tables: of each component.
        units: which component each block of an MCU is of.
        order: for each of these, where the block of each MCU begins among the component's coefficients.

    Raises:
        ValueError: the data end too early, or a table is missing.
        IndexError: a code makes no sense.
    """
    out = [each.data.cast("B").cast("h") for each in blocks]
    runs = _decoders(scan, tables, units, out)
    count = len(order[0])
    interval = scan.interval or count
    parts = _intervals(data, start)
    for begin in range(0, count, interval):
        reader = _Bits(next(parts, b""))
        mcus = zip(*(starts[begin : begin + interval] for starts in order), strict=True)
        if scan.progressive:
            _progressive(reader, scan, runs, mcus)
        else:
            _sequential(reader, runs, mcus)
        reader.check()


class _Bits:
    """Bits of a restart interval: 32 at each byte, the first the highest; beyond the end there are zeros."""

    def __init__(self, data: bytes) -> None:
        stored = np.frombuffer(data.replace(b"\xff\x00", b"\xff") + bytes(8), np.uint8).astype(np.uint32)
        self.length = 8 * (len(stored) - 8)
        words = (stored[:-3] << 24) | (stored[1:-2] << 16) | (stored[2:-1] << 8) | stored[3:]
        self.words = words.astype(np.uint32).data
        self.at = 0

    def check(self) -> None:
        if self.at > self.length:
            raise ValueError("the data end too early")


@dataclass
class _Unit:
    """What decodes the blocks of a place in the MCU; ``dc`` is shared by those of a component."""

    out: memoryview
    dc_table: Table
    ac_table: Table
    dc: list[int]


def _decoders(scan: Scan, tables: Sequence[Pair], units: Sequence[int], out: Sequence[memoryview]) -> list[_Unit]:
    needs_dc = scan.first == 0 and scan.before == 0
    needs_ac = scan.last > 0 if scan.progressive else True
    for dc_table, ac_table in tables:
        if (needs_dc and dc_table is None) or (needs_ac and ac_table is None):
            raise ValueError("a Huffman table is missing")
    dcs = [[0] for _ in tables]
    return [_Unit(out[k], tables[k][0] or _NONE, tables[k][1] or _NONE, dcs[k]) for k in units]


def _intervals(data: bytes, start: int) -> Iterator[bytes]:
    """The coded data between restarts."""
    found = _END.search(data, start)
    end = found.start() if found else len(data)
    for restart in _RESTART.finditer(data, start, end):
        yield data[start : restart.start()]
        start = restart.end()
    yield data[start:end]


def _sequential(bits: _Bits, units: Sequence[_Unit], mcus: Iterator[tuple[int, ...]]) -> None:
    words, places, at, length = bits.words, _PLACES, bits.at, bits.length
    for unit in units:
        unit.dc[0] = 0
    for starts in mcus:
        if at > length:
            break
        for unit, start in zip(units, starts, strict=True):
            out, (lengths, symbols) = unit.out, unit.ac_table
            code = (words[at >> 3] >> (16 - (at & 7))) & 0xFFFF
            at += unit.dc_table[0][code]
            if size := unit.dc_table[1][code]:
                if size > 11:
                    raise IndexError("a difference is too large")
                value = (words[at >> 3] << (at & 7) & 0xFFFFFFFF) >> (32 - size)
                at += size
                unit.dc[0] += value if value >> (size - 1) else value - (1 << size) + 1
            out[start] = unit.dc[0]
            k = 1
            while k < 64:
                code = (words[at >> 3] >> (16 - (at & 7))) & 0xFFFF
                at += lengths[code]
                symbol = symbols[code]
                if size := symbol & 15:
                    k += symbol >> 4
                    value = (words[at >> 3] << (at & 7) & 0xFFFFFFFF) >> (32 - size)
                    at += size
                    out[start + places[k]] = value if value >> (size - 1) else value - (1 << size) + 1
                    k += 1
                elif symbol == 0xF0:
                    k += 16
                else:
                    break
    bits.at = at


def _progressive(bits: _Bits, scan: Scan, units: Sequence[_Unit], mcus: Iterator[tuple[int, ...]]) -> None:
    for unit in units:
        unit.dc[0] = 0
    if scan.first == 0:
        (_refine_dc if scan.before else _first_dc)(bits, scan, units, mcus)
    else:
        (_refine_ac if scan.before else _first_ac)(bits, scan, units[0], mcus)


def _first_dc(bits: _Bits, scan: Scan, units: Sequence[_Unit], mcus: Iterator[tuple[int, ...]]) -> None:
    words, at = bits.words, bits.at
    for starts in mcus:
        for unit, start in zip(units, starts, strict=True):
            code = (words[at >> 3] >> (16 - (at & 7))) & 0xFFFF
            at += unit.dc_table[0][code]
            if size := unit.dc_table[1][code]:
                if size > 11:
                    raise IndexError("a difference is too large")
                value = (words[at >> 3] << (at & 7) & 0xFFFFFFFF) >> (32 - size)
                at += size
                unit.dc[0] += value if value >> (size - 1) else value - (1 << size) + 1
            unit.out[start] = unit.dc[0] << scan.after
    bits.at = at


def _refine_dc(bits: _Bits, scan: Scan, units: Sequence[_Unit], mcus: Iterator[tuple[int, ...]]) -> None:
    words, at, bit = bits.words, bits.at, 1 << scan.after
    for starts in mcus:
        for unit, start in zip(units, starts, strict=True):
            if words[at >> 3] >> (31 - (at & 7)) & 1:
                unit.out[start] |= bit
            at += 1
    bits.at = at


def _first_ac(bits: _Bits, scan: Scan, unit: _Unit, mcus: Iterator[tuple[int, ...]]) -> None:
    words, places, at, out = bits.words, _PLACES, bits.at, unit.out
    lengths, symbols = unit.ac_table
    left, last, shift = 0, scan.last, scan.after
    for (start,) in mcus:
        if left:
            left -= 1
            continue
        k = scan.first
        while k <= last:
            code = (words[at >> 3] >> (16 - (at & 7))) & 0xFFFF
            at += lengths[code]
            run, size = symbols[code] >> 4, symbols[code] & 15
            if size:
                k += run
                value = (words[at >> 3] << (at & 7) & 0xFFFFFFFF) >> (32 - size)
                at += size
                value = value if value >> (size - 1) else value - (1 << size) + 1
                out[start + places[k]] = value << shift
                k += 1
            elif run == 15:
                k += 16
            else:  # this block ends, and so do as many more
                left = (1 << run) - 1
                if run:
                    left += (words[at >> 3] << (at & 7) & 0xFFFFFFFF) >> (32 - run)
                    at += run
                break
    bits.at = at


def _refine_ac(bits: _Bits, scan: Scan, unit: _Unit, mcus: Iterator[tuple[int, ...]]) -> None:
    words, places, at, out = bits.words, _PLACES, bits.at, unit.out
    lengths, symbols = unit.ac_table
    left, last, bit = 0, scan.last, 1 << scan.after

    def refine(place: int) -> None:
        """A coefficient that is not zero gets one more bit, away from zero."""
        nonlocal at
        value = out[place]
        if words[at >> 3] >> (31 - (at & 7)) & 1 and not abs(value) & bit:
            out[place] = value + bit if value > 0 else value - bit
        at += 1

    for (start,) in mcus:
        k = scan.first
        while k <= last and not left:
            code = (words[at >> 3] >> (16 - (at & 7))) & 0xFFFF
            at += lengths[code]
            run, size = symbols[code] >> 4, symbols[code] & 15
            new = 0
            if size:
                if size != 1:
                    raise IndexError("a refined coefficient has more than one bit")
                new = bit if words[at >> 3] >> (31 - (at & 7)) & 1 else -bit
                at += 1
            elif run < 15:
                left = 1 << run
                if run:
                    left += (words[at >> 3] << (at & 7) & 0xFFFFFFFF) >> (32 - run)
                    at += run
                break
            while k <= last:
                place = start + places[k]
                if out[place]:
                    refine(place)
                elif run:
                    run -= 1
                else:
                    if new:
                        out[place] = new
                    k += 1
                    break
                k += 1
        if left:
            for place in places[k : last + 1]:
                if out[start + place]:
                    refine(start + place)
            left -= 1
    bits.at = at
