"""Animated WebP: what its chunks say, and frames for Pillow's encoder, one at a time.

The format: RFC 9649, section 2.7.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from io import BytesIO
from typing import Any, BinaryIO

from PIL import Image

from msrn.images.picture import Metadata, Picture

_FLAGS, _ALPHA, _DISPOSED = 20, 16, 1
"""Where a WebP's flags are, the one for alpha, and a frame's for being removed after it was shown."""


def frame_times(data: bytes) -> tuple[list[Fraction], int]:
    """How long each frame is shown, and how often all are, 0 for ever.

    Raises:
        ValueError: a chunk is cut off.
    """
    seconds = [Fraction(int.from_bytes(frame[12:15], "little"), 1000) for frame in _chunks(data, b"ANMF")]
    loops = next(_chunks(data, b"ANIM"), b"")
    return seconds, int.from_bytes(loops[4:6], "little")


def with_alpha_told(data: bytes) -> bytes:
    """An animation, with the flag for alpha set if parts of it may never have been drawn upon, which are transparent.

    Encoders set it if a frame has alpha. Frames without any may still leave a part of the whole free.
    """
    width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    for number, frame in enumerate(_chunks(data, b"ANMF")):
        columns, rows = (1 + int.from_bytes(frame[at : at + 3], "little") for at in (6, 9))
        if (columns, rows) != (width, height) and (not number or frame[15] & _DISPOSED):
            return data[:_FLAGS] + bytes((data[_FLAGS] | _ALPHA,)) + data[_FLAGS + 1 :]
    return data


def _chunks(data: bytes, *wanted: bytes) -> Iterator[memoryview]:
    """Contents of the chunks of some names.

    Raises:
        ValueError: one is cut off.
    """
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        content = memoryview(data)[at + 8 : at + 8 + size]
        if len(content) < size or (data[at : at + 4] == b"ANMF" and size < 16):
            raise ValueError("a chunk is cut off")
        if data[at : at + 4] in wanted:
            yield content
        at += 8 + size + size % 2


def encode_webp(
    file: BinaryIO,
    pictures: Iterator[Picture],
    kept: Metadata,
    milliseconds: Sequence[int],
    plays: int = 0,
    quality: int = 95,
) -> None:
    """Write pictures of one size as the frames of an animated WebP.

    Args:
        file: an open file.
        pictures: the frames.
        kept: what there is to say of all.
        milliseconds: how long each is shown.
        plays: how often all are shown; 0 is for ever.
        quality: 1 to 100, which is lossless.
    """
    frames: Any = _OneByOne(pictures, len(milliseconds))
    options: dict[str, Any] = {"duration": list(milliseconds), "loop": min(plays, 65_535)}
    options |= {"quality": quality, "lossless": quality == 100, "method": 4}
    metadata = {"icc_profile": kept.icc_profile, "exif": kept.exif, "xmp": kept.xmp}
    buffer = BytesIO()
    frames.save(buffer, "WEBP", save_all=True, **options, **{name: value for name, value in metadata.items() if value})
    file.write(with_alpha_told(buffer.getvalue()))


class _OneByOne(Image.Image):
    """What Pillow takes for a file of several frames, which it asks for in order."""

    def __init__(self, pictures: Iterator[Picture], count: int) -> None:
        super().__init__()
        self.n_frames = count
        self._pictures, self._at = pictures, -1
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Take the next frame; Pillow also asks for the first again, when it has done."""
        if frame > self._at:
            image = Image.fromarray(next(self._pictures).to_array(8))
            self.im, self._mode, self._size, self._at = image.im, image.mode, image.size, frame

    def tell(self) -> int:
        """The number of the frame that is there."""
        return self._at
