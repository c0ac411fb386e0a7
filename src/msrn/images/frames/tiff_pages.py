"""The pages of a TIFF: where each is, and each as a file of its own; how they are chained in a new one.

The format: Adobe, *TIFF Revision 6.0* (1992), section 2, and BigTIFF, whose numbers are twice as long.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_KIND, _OLD_KIND, _WIDTH, _HEIGHT = 254, 255, 256, 257
_REDUCED, _MASK, _OLD_REDUCED = 1, 4, 2
_NUMBERS = {3: "H", 4: "I", 16: "Q"}
"""Formats of short, long and very long numbers, by their types."""
_ENTRIES = {"I": ("H", "HHI4s"), "Q": ("Q", "HHQ8s")}
"""Formats of a directory's length and of its entries, by that of a place in the file."""
_MOST_TAGS = 4096
"""That are looked at."""


@dataclass(frozen=True)
class Page:
    """A page's directory."""

    start: int
    """Where it is."""
    link: int
    """Where it says where the next one is."""
    pixels: int
    derived: bool
    """Whether it is a smaller version of another page, or a mask for one."""
    leads: bool
    """Whether it is the first in the file."""


def pages_of(data: bytes, most: int) -> list[Page]:
    """The pages of a TIFF, up to ``most``, without the smaller versions and masks of others.

    Raises:
        ValueError: a directory is cut off, or not where the one before says.
    """
    found: list[Page] = []
    try:
        for page in _directories(data):
            if not page.derived or not found:
                found.append(page)
            if len(found) == most:
                break
    except struct.error as error:
        raise ValueError("a page's directory is missing") from error
    return found[1:] if len(found) > 1 and found[0].derived else found


def first_tags(file: BinaryIO) -> tuple[bool, dict[int, int]]:
    """Whether a file is a BigTIFF, and the tags of its first page, with their first number; 0 for those of other types.

    Raises:
        ValueError: it is no TIFF, or is cut off there.
    """
    head = file.read(16)
    if head[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        raise ValueError("no TIFF")
    order, pointer, link = _form(head)
    of_count, entry = _ENTRIES[pointer]
    found = dict[int, int]()
    try:
        file.seek(*struct.unpack_from(order + pointer, head, link))
        (count,) = struct.unpack(order + of_count, file.read(struct.calcsize(of_count)))
        entries = file.read(min(count, _MOST_TAGS) * struct.calcsize(order + entry))
        for tag, kind, number, stored in struct.iter_unpack(order + entry, entries):
            form = order + _NUMBERS.get(kind, "x")
            if number * struct.calcsize(form) > len(stored) and kind in _NUMBERS:
                file.seek(*struct.unpack(order + pointer, stored))
                stored = file.read(struct.calcsize(form))
            found[tag] = (*struct.unpack_from(form, stored), 0)[0]
    except (struct.error, OverflowError) as error:
        raise ValueError("the first page's directory is missing") from error
    return pointer == "Q", found


def page_alone(data: bytes, page: Page) -> bytes:
    """A TIFF with one of its pages as the first and last."""
    made, (order, pointer, at) = bytearray(data), _form(data)
    struct.pack_into(order + pointer, made, at, page.start)
    if page.link + struct.calcsize(pointer) <= len(made):
        struct.pack_into(order + pointer, made, page.link, 0)
    return bytes(made)


def _form(data: bytes) -> tuple[str, str, int]:
    """The order of bytes, the format of a place in the file, and where the first page's is told."""
    order = "<" if data[:2] == b"II" else ">"
    return (order, "Q", 8) if b"+" in data[2:4] else (order, "I", 4)


def _directories(data: bytes) -> Iterator[Page]:
    order, pointer, link = _form(data)
    of_count, entry = _ENTRIES[pointer][0], order + _ENTRIES[pointer][1]
    seen, left = set[int](), len(data) // struct.calcsize(entry)
    while link + struct.calcsize(pointer) <= len(data):  # some programs leave the last out
        (start,) = struct.unpack_from(order + pointer, data, link)
        if not start or start in seen:
            return
        seen.add(start)
        (count,) = struct.unpack_from(order + of_count, data, start)
        left -= count
        if left < 0:
            raise ValueError("directories of pages overlap")
        first = start + struct.calcsize(order + of_count)
        link = first + count * struct.calcsize(entry)
        values = dict.fromkeys((_KIND, _OLD_KIND, _WIDTH, _HEIGHT), 0)
        for tag, kind, number, stored in struct.iter_unpack(entry, data[first:link]):
            if tag in values and kind in _NUMBERS and number == 1:
                (values[tag],) = struct.unpack_from(order + _NUMBERS[kind], stored)
        derived = bool(values[_KIND] & (_REDUCED | _MASK)) or values[_OLD_KIND] == _OLD_REDUCED
        yield Page(start, link, values[_WIDTH] * values[_HEIGHT], derived, len(seen) == 1)
