"""A picture with the coefficients of the JPEG file it was read from, and both on their way between processes."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from msrn.images.formats import limited
from msrn.images.jpeg_coefficients import UnreadableError, read_coefficients
from msrn.images.jpegxl import is_jpegxl, original_jpeg
from msrn.images.metadata import read_exif
from msrn.images.picture import JpegCoding, JpegCoefficients, JpegComponent, Picture
from msrn.system.guarded_process import Answer, AnswerReader

SMALL_PICTURE = 1 << 20
"""Pixels of a picture whose coefficients are read unasked: it takes less than a tenth of a second."""


def with_coefficients(picture: Picture, data: bytes, large: bool) -> Picture:
    """The picture with its file's coefficients, or with the reason why they cannot be read; others as they are.

    Args:
        picture: what was decoded.
        data: its file's content.
        large: whether those of a large picture are wanted as well.
    """
    coding = picture.metadata.jpeg
    if coding is None or not (large or picture.height * picture.width <= SMALL_PICTURE):
        return picture
    data = (original_jpeg(data) if is_jpegxl(data) else None) or data
    try:
        with limited(None), Image.open(io.BytesIO(data), formats=["JPEG", "MPO"]) as image:
            orientation, _ = read_exif(image)
        coding = replace(coding, coefficients=replace(read_coefficients(data), orientation=orientation))
    except UnreadableError as error:
        coding = replace(coding, unread=str(error))
    except MemoryError:
        coding = replace(coding, unread="there is too little memory")
    return replace(picture, metadata=replace(picture.metadata, jpeg=coding))


def sent(coding: JpegCoding | None) -> Answer:
    """How a JPEG is compressed, as a header and blocks can carry it."""
    if coding is None:
        return {}, ()
    header: dict[str, Any] = {"tables": coding.tables, "subsampling": coding.subsampling, "unread": coding.unread}
    coded = coding.coefficients
    if coded is None:
        return header, ()
    parts = [[c.blocks.shape, c.steps.tolist(), c.horizontal, c.vertical] for c in coded.components]
    header |= {"of": [coded.height, coded.width, coded.orientation], "components": parts}
    return header, tuple(np.ascontiguousarray(c.blocks).data.cast("B") for c in coded.components)


def received(header: dict[str, Any], answer: AnswerReader) -> JpegCoding | None:
    """What :func:`sent` made."""
    if not header:
        return None
    coded = None
    if "of" in header:
        parts = tuple(
            JpegComponent(
                np.frombuffer(answer.bytes(), np.int16).reshape(shape), np.array(steps, np.int32), horizontal, vertical
            )
            for shape, steps, horizontal, vertical in header["components"]
        )
        height, width, orientation = header["of"]
        coded = JpegCoefficients(height, width, parts, orientation)
    return JpegCoding(tuple(map(tuple, header["tables"])), header["subsampling"], coded, header["unread"])
