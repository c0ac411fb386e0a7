"""Pictures in rows, one pixel to a pixel, with words below each that stay legible on a phone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from msrn.images.picture import Picture

GAP, LETTERS, LINE = 6, 24, 30
"""Pixels between panels, of letters and of lines; pages of 380 pixels show half of them."""
INK, SOFT = "#000000", "#455a64"


@dataclass(frozen=True)
class Panel:
    """A part of a picture, and lines below it, the first in black."""

    image: Image.Image
    words: tuple[str, ...]


def part(picture: Picture, top: int, left: int, height: int, width: int) -> Image.Image:
    """The pixels of a rectangle, in 8 bits and colours."""
    return picture.to_pil().convert("RGB").crop((left, top, left + width, top + height))


def draw(rows: Sequence[Sequence[Panel]], path: Path) -> None:
    """Write rows of panels, all of one size in a row, as a WebP file on white.

    Example:
        >>> draw([[Panel(part(before, 0, 0, 200, 300), ("before",))]], Path("sheet.webp"))
    """
    width = max(sum(panel.image.width + GAP for panel in row) for row in rows) - GAP
    heights = [row[0].image.height + LINE * max(len(panel.words) for panel in row) + GAP for row in rows]
    made = Image.new("RGB", (width, sum(heights)), "white")
    pen, font = ImageDraw.Draw(made), ImageFont.load_default(LETTERS)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for panel in row:
            made.paste(panel.image, (left, top))
            for number, line in enumerate(panel.words):
                pen.text((left, top + panel.image.height + LINE * number), line, SOFT if number else INK, font)
            left += panel.image.width + GAP
        top += height
    made.save(path, quality=85, method=6)
