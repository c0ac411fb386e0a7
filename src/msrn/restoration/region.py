"""A rectangle of a result, exactly as the whole result has it, from no more of the picture than it needs.

For whoever looks at a part of a large picture and would not wait for the rest. It is exact as tiles are: each network
gets its halo around the rectangle, and the networks before it get what that takes. Two things are only nearly so:
colours under full transparency, and JPEG artifacts in colours by weights for luminance where a side is odd.
"""

from collections.abc import Sequence
from typing import Any

from msrn.errors import UsageError
from msrn.images.picture import Image, Picture
from msrn.images.resize import Part, part_of, resize
from msrn.images.transparency import hide_invisible
from msrn.restoration import colors
from msrn.restoration.engine import silent
from msrn.restoration.restorer import Restorer
from msrn.restoration.steps import Step, steps_to
from msrn.restoration.tiles import Rectangle
from msrn.types import Size

_CHROMA_MARGIN = 16
"""Pixels that halving chroma and enlarging what changed read around a pixel, at most, a multiple of all squares."""
_GUIDED_MARGIN = 8
"""Pixels of the result around a pixel that decide its chroma beyond what resizing reads, at most: one of the picture's
own, of which the result has four at most."""


def restore_region(
    steps: Sequence[Restorer],
    picture: Image,
    region: Rectangle,
    scale: float | None = None,
    size: Size | None = None,
) -> Picture:
    """Restore a rectangle of a picture.

    Args:
        steps: what restores the whole, in order; only the last may enlarge (see ``chain.Chain``).
        picture: the whole, or what can be read in parts.
        region: what is wanted, in pixels of the whole result.
        scale: as for ``Restorer.__call__``, if the last step enlarges.
        size: likewise.

    Returns:
        A picture as large as the region.

    Raises:
        UsageError: the region is empty or reaches beyond the result.

    Example:
        >>> middle = Rectangle(top=1000, bottom=1320, left=1800, right=2120)
        >>> restore_region([Restorer("jpeg")], picture, middle)  # Restorer("jpeg")(picture), cut out
    """
    height, width = steps[-1].result_size(picture, scale, size) if steps else (picture.height, picture.width)
    if not (0 <= region.top < region.bottom <= height and 0 <= region.left < region.right <= width):
        raise UsageError(f"{region} is no part of a result of {width}×{height} pixels")
    if not steps:
        return picture.cut(*region.slices)
    last = steps[-1]
    if not last.enlarges:
        source = _with_halo(last, picture, region, height, width)
        return last(restore_region(steps[:-1], picture, source)).cut(*_inside(region, source).slices)
    network, interpolation = steps_to(picture, scale, size)
    if interpolation is None:
        return _enlarged(steps, picture, region, network)
    part, needed = _needed(network.size, region, interpolation)
    piece, how = _enlarged(steps, picture, needed, network), interpolation.how
    alpha = None if piece.alpha is None else resize(piece.alpha, **how, part=part).clip(0, 1)
    return piece.with_pixels(resize(piece.pixels, **how, part=part), alpha)


def _enlarged(steps: Sequence[Restorer], picture: Image, region: Rectangle, step: Step) -> Picture:
    """What the last step's network makes of a rectangle."""
    source = _with_halo(steps[-1], picture, region, *step.size)
    part, needed = _needed((picture.height, picture.width), source, step)
    piece = restore_region(steps[:-1], picture, needed)
    how: dict[str, Any] = step.how | {"part": part}
    pixels = colors.enlarged(steps[-1].engine_for(picture), hide_invisible(piece), how, silent, 1)
    alpha = None if piece.alpha is None else resize(piece.alpha, **how).clip(0, 1)
    return piece.with_pixels(pixels, alpha).cut(*_inside(region, source).slices)


def _needed(before: tuple[int, int], region: Rectangle, step: Step) -> tuple[Part, Rectangle]:
    """What resizing must compute for a rectangle of its result, and what it needs of an image of a height and width."""
    part = part_of(before, *region.slices, **step.how)
    rows, columns = part.needed
    return part, Rectangle(rows.start, rows.stop, columns.start, columns.stop)


def _with_halo(step: Restorer, picture: Image, region: Rectangle, height: int, width: int) -> Rectangle:
    """What a step's network must see to restore a rectangle, of an image of a height and width."""
    config = step.engine_for(picture).config
    halo, multiple = config.halo, config.unshuffle
    if step.weights.card.task == "jpeg" and not picture.is_gray and config.in_channels == 1:
        halo, multiple = 2 * halo + _CHROMA_MARGIN, 2 * multiple  # chroma is restored at half resolution
    elif step.enlarges and not picture.is_gray and config.in_channels == 1:
        halo = max(halo, _GUIDED_MARGIN)
    return Rectangle(
        max(0, (region.top - halo) // multiple * multiple),
        min(height, -(-(region.bottom + halo) // multiple) * multiple),
        max(0, (region.left - halo) // multiple * multiple),
        min(width, -(-(region.right + halo) // multiple) * multiple),
    )


def _inside(part: Rectangle, whole: Rectangle) -> Rectangle:
    """A rectangle in the coordinates of one that holds it."""
    return Rectangle(part.top - whole.top, part.bottom - whole.top, part.left - whole.left, part.right - whole.left)
