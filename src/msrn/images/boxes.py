"""The boxes of ISO 14496-12 that AVIF and JPEG XL consist of, and the size at which an AVIF's pictures are coded."""

from collections.abc import Iterator

from msrn.images.av1 import coded_sizes


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
        for coded in coded_sizes(item):
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
