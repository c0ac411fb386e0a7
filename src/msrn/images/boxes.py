"""The boxes of ISO 14496-12 that AVIF and JPEG XL consist of, and the size at which an AVIF's pictures are coded."""

from collections.abc import Callable, Iterator

_SEQUENCE_HEADER = 1
_LONGEST_HEADER = 1024
"""Bytes of a sequence header that are looked at; it has a few dozen at most."""


def read_boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of boxes, one behind the other.

    Raises:
        ValueError: one is cut off.
    """
    at = 0
    while at < len(data):
        size, name, start = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        end = at + size if size else len(data)
        if not start <= end <= len(data):
            raise ValueError("a box is cut off")
        yield name, data[start:end]
        at = end


def check_coded_size(data: bytes, width: int, height: int) -> None:
    """Raise :class:`ValueError` if a picture in an AVIF is coded larger than the file says that it is.

    A decoder makes what the AV1 stream says, however large, and then reduces it to what the boxes around it say.
    """
    meta = next((content for name, content in read_boxes(data) if name == b"meta"), b"")
    inner = dict(read_boxes(meta[4:]))  # behind a version
    for item in _items(inner.get(b"iloc", b""), data, inner.get(b"idat", b"")):
        for coded in _coded_sizes(item):
            if coded[0] > width or coded[1] > height:
                raise ValueError(
                    f"it says {width:,}×{height:,} pixels and holds a picture of {coded[0]:,}×{coded[1]:,}"
                )


def _items(places: bytes, data: bytes, inside: bytes) -> Iterator[bytes]:
    """The content of each item, put together from the pieces that the box ``iloc`` names."""
    at, left, seen = 0, len(data) + len(inside), set[tuple[bool, int, int]]()

    def number(length: int) -> int:
        nonlocal at
        at += length
        if at > len(places):
            raise ValueError("its list of items is cut off")
        return int.from_bytes(places[at - length : at], "big")

    version, sizes = number(4) >> 24, number(2)
    of_offset, of_length, of_base, of_index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(number(4 if version == 2 else 2)):
        number(4 if version == 2 else 2)  # its name
        within = version > 0 and number(2) & 15 == 1
        number(2)  # of which file: always this one
        base, pieces, source = number(of_base), list[bytes](), inside if within else data
        for _ in range(number(2) if of_offset or of_length else min(1, number(2))):
            number(of_index if version else 0)
            place = within, base + number(of_offset), number(of_length)
            if place in seen:  # items that are equal may share what they hold
                continue
            seen.add(place)
            start, end = place[1], place[1] + place[2] if place[2] else None
            pieces.append(source[start:end])
            left -= len(pieces[-1])
            if left < 0 or not pieces[-1]:
                raise ValueError("its items are not where it says")
        yield b"".join(pieces)


def _coded_sizes(stream: bytes) -> Iterator[tuple[int, int]]:
    """Width and height from each sequence header of an AV1 stream; nothing from what is no such stream."""
    at = 0
    while at < len(stream):
        kind, extended, sized = stream[at] >> 3 & 15, stream[at] >> 2 & 1, stream[at] >> 1 & 1
        at += 1 + extended
        size = shift = 0
        while sized and at < len(stream) and shift < 56:
            size |= (stream[at] & 127) << shift
            at, shift = at + 1, shift + 7
            sized = stream[at - 1] >> 7
        size = size if shift else len(stream) - at
        if kind == _SEQUENCE_HEADER:
            yield _size_in(stream[at : at + min(size, _LONGEST_HEADER)])
        at += size


def _size_in(header: bytes) -> tuple[int, int]:
    """Width and height in a sequence header of AV1."""
    value, left = int.from_bytes(header, "big"), 8 * len(header)

    def bits(count: int) -> int:
        nonlocal left
        left -= count
        if left < 0:
            raise ValueError("its AV1 stream is cut off")
        return value >> left & ((1 << count) - 1)

    bits(4)  # profile, and whether it is a still picture
    if bits(1):  # a short header
        bits(5)
    else:
        _skip_timing(bits)
    of_width, of_height = bits(4) + 1, bits(4) + 1
    return bits(of_width) + 1, bits(of_height) + 1


def _skip_timing(bits: Callable[[int], int]) -> None:
    """Skip when frames are shown, and what a decoder needs for each choice of layers."""
    model = delay = 0
    if bits(1):
        bits(64)  # units of time
        if bits(1):  # how many for each frame: as many bits as there were zeros before a one
            zeros = 0
            while not bits(1):
                zeros += 1
            bits(zeros)
        model = bits(1)
        if model:
            delay = bits(5) + 1
            bits(42)
    shown_later = bits(1)
    for _ in range(bits(5) + 1):
        bits(12)
        if bits(5) > 7:
            bits(1)
        if model and bits(1):
            bits(2 * delay + 1)
        if shown_later and bits(1):
            bits(4)
