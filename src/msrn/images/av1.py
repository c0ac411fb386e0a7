"""The sizes at which frames of an AV1 stream are coded, read from headers alone (AV1 specification, 5.5 and 5.9)."""

from collections.abc import Iterator
from dataclasses import dataclass

_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6
_KEY, _INTRA_ONLY, _SWITCH = 0, 2, 3
_LONGEST_HEADER = 1024
"""Bytes of a header that are looked at; the part that is read has a few dozen at most."""
_CHOSEN = 2
"""What a sequence leaves to its frames."""


class _Bits:
    """Bits of a header, the first one first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def read(self, count: int = 1) -> int:
        """The next bits as a number.

        Raises:
            ValueError: there are no more.
        """
        self._left -= count
        if self._left < 0:
            raise ValueError("its AV1 stream is cut off")
        return self._value >> self._left & ((1 << count) - 1)


@dataclass(frozen=True)
class _Sequence:
    """What a sequence header says that is needed to find a frame's size."""

    size: tuple[int, int]
    """Width and height that its frames have unless they say another."""
    bits: tuple[int, int]
    """With how many bits a frame states its own."""
    fixed: bool = False
    """Whether frames cannot state their own."""
    timed: bool = False
    """Whether frames say when they are decoded."""
    number_bits: int = 0
    screen: int = 0
    whole_vectors: int = _CHOSEN
    order_bits: int = 0


def coded_sizes(stream: bytes) -> Iterator[tuple[int, int]]:
    """Width and height from each header of a sequence or frame; nothing from what is no such stream.

    Raises:
        ValueError: a header is cut off.
    """
    sequence, at = None, 0
    while at < len(stream):
        kind, extended, sized = stream[at] >> 3 & 15, stream[at] >> 2 & 1, stream[at] >> 1 & 1
        at += 1 + extended
        size = shift = 0
        while sized and at < len(stream) and shift < 56:
            size |= (stream[at] & 127) << shift
            at, shift = at + 1, shift + 7
            sized = stream[at - 1] >> 7
        size = size if shift else len(stream) - at
        header = _Bits(stream[at : at + min(size, _LONGEST_HEADER)])
        if kind == _SEQUENCE_HEADER:
            sequence = _read_sequence(header)
            yield sequence.size
        elif kind in (_FRAME_HEADER, _FRAME) and sequence is not None and not sequence.fixed:
            yield _frame_size(header, sequence)
        at += size


def _read_sequence(header: _Bits) -> _Sequence:
    header.read(4)  # profile, and whether it is a still picture
    fixed, timed = bool(header.read()), False
    if fixed:  # a short header
        header.read(5)
    else:
        timed = _skip_timing(header)
    bits = header.read(4) + 1, header.read(4) + 1
    size = header.read(bits[0]) + 1, header.read(bits[1]) + 1
    if fixed:
        return _Sequence(size, bits, fixed)
    number_bits = 0
    if header.read():  # frames have numbers
        number_bits = header.read(4) + 2
        number_bits += header.read(3) + 1
    header.read(7)  # tools of intra and inter coding
    ordered = header.read()
    header.read(2 * ordered)
    screen = _CHOSEN if header.read() else header.read()
    whole_vectors = _CHOSEN if not screen or header.read() else header.read()
    order_bits = header.read(3) + 1 if ordered else 0
    return _Sequence(size, bits, fixed, timed, number_bits, screen, whole_vectors, order_bits)


def _skip_timing(header: _Bits) -> bool:
    """Skip when frames are shown, and what a decoder needs for each choice of layers; whether frames are timed."""
    model = delay = 0
    if header.read():
        header.read(64)  # units of time
        if header.read():  # how many for each frame: as many bits as there were zeros before a one
            zeros = 0
            while not header.read():
                zeros += 1
            header.read(zeros)
        model = header.read()
        if model:
            delay = header.read(5) + 1
            header.read(42)
    shown_later = header.read()
    for _ in range(header.read(5) + 1):
        header.read(12)
        if header.read(5) > 7:
            header.read()
        if model and header.read():
            header.read(2 * delay + 1)
        if shown_later and header.read():
            header.read(4)
    return bool(model)


def _frame_size(header: _Bits, sequence: _Sequence) -> tuple[int, int]:
    """A frame's size; where that would take more than its own header to know, the largest that it could state.

    Unless the sequence has no more bits for it than its own size needs: then that is less than twice as large.
    """
    needed = tuple((side - 1).bit_length() for side in sequence.size)
    largest = sequence.size if needed == sequence.bits else (1 << sequence.bits[0], 1 << sequence.bits[1])
    if header.read():  # one of before is shown again
        return sequence.size
    if sequence.timed:
        return largest
    kind, shown = header.read(2), header.read()
    if kind == _SWITCH:
        return largest
    if not shown:
        header.read()
    resilient = (kind == _KEY and shown) or header.read()
    header.read()
    screen = header.read() if sequence.screen == _CHOSEN else sequence.screen
    if screen and sequence.whole_vectors == _CHOSEN:
        header.read()
    header.read(sequence.number_bits)
    if not header.read():
        return sequence.size
    header.read(sequence.order_bits)
    if kind not in (_KEY, _INTRA_ONLY):
        return largest
    refreshed = 0xFF if kind == _KEY and shown else header.read(8)
    if refreshed != 0xFF and resilient and sequence.order_bits:
        for _ in range(8):
            header.read(sequence.order_bits)
    return header.read(sequence.bits[0]) + 1, header.read(sequence.bits[1]) + 1
