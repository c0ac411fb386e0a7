"""A rectangle of a result, exactly as the whole result has it, from no more of the picture than it needs.

For whoever looks at a part of a large picture and would not wait for the rest. It is exact as tiles are: each network
gets its halo around the rectangle, and the networks before it get what that takes. Two things are only nearly so:
colours under full transparency, and JPEG artifacts in colours by weights for luminance where a side is odd.
"""

from collections.abc import Sequence

from msrn.errors import UsageError
from msrn.images.picture import Image, Picture
from msrn.images.resize import part_of, resize
from msrn.images.transparency import hide_invisible
from msrn.restoration import colors
from msrn.restoration.engine import silent
from msrn.restoration.restorer import Restorer, enlargement
from msrn.restoration.tiles import Rectangle
from msrn.types import Size

_CHROMA_MARGIN = 16
"""Pixels that halving chroma and enlarging what changed read around a pixel, at most, a multiple of all squares."""


def restore_region(
    steps: Sequence[Restorer],
    picture: Image,
    region: Rectangle,
    scale: float | None = None,
    size: Size | None = None,
) -> Picture:
    """Restore a rectangle of a picture.

    Args:
        steps: what restores the whole, in order; only the last may enlarge (see ``automatic.Chain``).
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
    source = _with_halo(steps[-1], picture, region, height, width)
    inner = Rectangle(
        region.top - source.top, region.bottom - source.top, region.left - source.left, region.right - source.left
    )
    if steps[-1].enlarges:
        return _enlarged(steps, picture, source, scale, size).cut(*inner.slices)
    return steps[-1](restore_region(steps[:-1], picture, source)).cut(*inner.slices)


def _enlarged(
    steps: Sequence[Restorer], picture: Image, source: Rectangle, scale: float | None, size: Size | None
) -> Picture:
    """The last step's result in a rectangle, right but for a halo at its sides."""
    how = enlargement(picture, scale, size)
    part = part_of((picture.height, picture.width), *source.slices, **how)
    rows, columns = part.needed
    needed = Rectangle(rows.start, rows.stop, columns.start, columns.stop)
    piece = restore_region(steps[:-1], picture, needed)
    how["part"] = part
    pixels = colors.enlarged(steps[-1].engine_for(picture), hide_invisible(piece), how, silent, 1)
    alpha = None if piece.alpha is None else resize(piece.alpha, **how).clip(0, 1)
    return piece.with_pixels(pixels, alpha)


def _with_halo(step: Restorer, picture: Image, region: Rectangle, height: int, width: int) -> Rectangle:
    """What a step's network must see to restore a rectangle, of an image of a height and width."""
    config = step.engine_for(picture).config
    halo, multiple = config.halo, config.unshuffle
    if step.weights.card.task == "jpeg" and not picture.is_gray and config.in_channels == 1:
        halo, multiple = 2 * halo + _CHROMA_MARGIN, 2 * multiple  # chroma is restored at half resolution
    return Rectangle(
        max(0, (region.top - halo) // multiple * multiple),
        min(height, -(-(region.bottom + halo) // multiple) * multiple),
        max(0, (region.left - halo) // multiple * multiple),
        min(width, -(-(region.right + halo) // multiple) * multiple),
    )
