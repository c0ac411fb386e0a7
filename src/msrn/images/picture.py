"""The picture: pixels and what a file says about them. This module states THE tensor contract.

**Pixels** are ``float32``, channel-first ``(C, H, W)``, values in [0, 1], sRGB as stored in the file, with
C = 1 (gray) or 3 (RGB). ``(N, C, H, W)`` exists only inside the network. **Alpha** is a plane of its own,
``(1, H, W)`` in the same range, and never enters the network. Nothing is rounded or clipped between reading and
writing a file.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from msrn.errors import UsageError
from msrn.types import Subsampling

FloatArray = NDArray[np.floating[Any]]
"""An array of float32 or float64; functions keep the type they are given."""

_CONVERSIONS = {
    "1": "image.convert('L')",
    **dict.fromkeys(("P", "PA", "La", "RGBa"), "image.convert('RGBA')"),  # which keeps transparency
    **dict.fromkeys(("I", "F", "I;16B", "I;16L"), "np.asarray(image), scaled to floating point in [0, 1]"),
}
"""What keeps everything that an image of PIL holds; all other modes become RGB."""


@dataclass(frozen=True, eq=False, repr=False)
class JpegComponent:
    """What a JPEG file holds of Y, Cb or Cr."""

    blocks: NDArray[np.int16]
    """``(rows, columns, 8, 8)``: coefficients in units of their steps, of whole MCUs, even beyond the edge."""
    steps: NDArray[np.int32]
    """``(8, 8)``: quantisation steps in grey levels."""
    horizontal: int
    vertical: int
    """Sampling factors: this component has as many blocks in an MCU, in a row and in a column."""


@dataclass(frozen=True, eq=False, repr=False)
class JpegCoefficients:
    """All that a JPEG file says of its pixels; ``jpeg_coefficients.py`` reads it."""

    height: int
    width: int
    """As stored, before the orientation is applied."""
    components: tuple[JpegComponent, ...]
    """Y, or Y, Cb and Cr."""
    orientation: int = 1
    """EXIF's, 1 to 8, that the picture was turned by when it was read."""


@dataclass(frozen=True)
class JpegCoding:
    """How a JPEG is compressed, as its header says."""

    tables: tuple[tuple[int, ...], ...]
    """Quantisation steps, 64 row by row in each table: of luminance first, then of chroma."""
    subsampling: Subsampling | None = None
    """Of chroma; None for gray, or for what has no name here."""
    coefficients: JpegCoefficients | None = field(default=None, compare=False, repr=False)
    """All of them, where they were asked for and could be read."""
    unread: str = ""
    """Why they could not be read."""


@dataclass(frozen=True)
class Metadata:
    """What travels from the input file to the output file besides the pixels."""

    bits: int = 8
    """Bits per sample in the file: 8 or 16."""
    icc_profile: bytes | None = None
    exif: bytes | None = None
    """EXIF block with the orientation already applied and reset."""
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    """XMP packet, its orientation reset likewise."""
    iptc: bytes | None = None
    """IPTC-IIM records, an older place for captions and keywords."""
    comment: bytes | None = None
    """The comment of a JPEG or GIF; JPEG has a place for it."""
    png_chunks: bytes | None = None
    """PNG's own statements of colour and its texts, whole chunks as they came; no other format has a place for them."""
    jpeg: JpegCoding | None = None
    """How the pixels were compressed, if a JPEG file is where they came from."""
    source: str = ""
    """Where the picture came from, for messages."""
    note: str = ""
    """What had to be assumed to read it, for messages."""


class Image(Protocol):
    """What a rectangle can be cut out of: a picture, or what is too large to be one."""

    @property
    def height(self) -> int:
        """Rows of pixels."""
        ...

    @property
    def width(self) -> int:
        """Columns of pixels."""
        ...

    @property
    def is_gray(self) -> bool:
        """True when there is one channel."""
        ...

    def cut(self, rows: slice, columns: slice) -> "Picture":
        """Return a rectangle as a picture."""
        ...


@dataclass(frozen=True, repr=False)
class Picture:
    """An image in memory.

    Args:
        pixels: float32 ``(C, H, W)``, C = 1 or 3, values in [0, 1].
        alpha: float32 ``(1, H, W)`` in [0, 1], or None.
        metadata: what the file said besides.

    Raises:
        UsageError: the arrays do not fit this contract.
    """

    pixels: NDArray[np.float32]
    alpha: NDArray[np.float32] | None = None
    metadata: Metadata = field(default_factory=Metadata)

    def __post_init__(self) -> None:
        check_pixels(self.pixels)
        if self.alpha is not None and self.alpha.shape != (1, *self.pixels.shape[1:]):
            raise UsageError(f"alpha has shape {self.alpha.shape}, expected {(1, *self.pixels.shape[1:])}")

    def __repr__(self) -> str:
        kind = ("gray" if self.is_gray else "RGB") + ("" if self.alpha is None else " with alpha")
        source = f", from {self.metadata.source}" if self.metadata.source else ""
        return f"Picture({self.width}×{self.height}, {kind}, {self.metadata.bits} bits{source})"

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return self.pixels.shape[1]

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return self.pixels.shape[2]

    @property
    def is_gray(self) -> bool:
        """True when there is one channel."""
        return self.pixels.shape[0] == 1

    def cut(self, rows: slice, columns: slice) -> "Picture":
        """Return a rectangle as a picture of its own."""
        pixels = np.ascontiguousarray(self.pixels[:, rows, columns])
        alpha = None if self.alpha is None else np.ascontiguousarray(self.alpha[:, rows, columns])
        return self.with_pixels(pixels, alpha)

    @classmethod
    def from_array(cls, image: Any) -> "Picture":
        """Make a picture of an array as most libraries have it, or of a PIL image; 16 bits stay 16.

        Args:
            image: ``(H, W)`` or ``(H, W, C)`` with C = 1 (gray), 2 (gray and alpha), 3 (RGB) or 4 (RGB and alpha);
                ``uint8`` from 0 to 255, ``uint16`` from 0 to 65,535, or floating point from 0 to 1.

        Raises:
            UsageError: another shape, type or range; an image of PIL in another mode.
        """
        if hasattr(image, "movedim"):
            raise UsageError(
                "a tensor has its channels first: msrn.upscale, denoise, dejpeg and restore take it as it is, "
                "tensor.movedim(-3, -1).cpu().numpy() makes an array of it"
            )
        mode = getattr(image, "mode", "RGB")
        if mode not in ("L", "LA", "RGB", "RGBA", "I;16"):
            how = _CONVERSIONS.get(mode, "image.convert('RGB')")
            raise UsageError(f"an image of mode {mode} must be converted first: {how}")
        try:
            array: NDArray[Any] = np.asarray(image)
        except (ValueError, TypeError, OSError) as error:
            raise UsageError(f"this is no image: {error}") from error
        if array.ndim == 2:
            array = array[:, :, None]
        if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4) or 0 in array.shape:
            raise UsageError(f"an image has shape (H, W) or (H, W, 1 to 4), got {np.shape(image)}")
        try:
            planes = unit_range(np.ascontiguousarray(array.transpose(2, 0, 1)))
        except ValueError as error:
            raise UsageError(f"the array has {error}") from error
        colors = 1 if len(planes) < 3 else 3
        alpha = planes[colors:] if len(planes) > colors else None
        return cls(planes[:colors], alpha, Metadata(bits=16 if array.dtype.name == "uint16" else 8))

    @classmethod
    def from_pil(cls, image: Any) -> "Picture":
        """Make a picture of an image of PIL, palettes and bitmaps included, with its colour profile and resolution.

        EXIF stays with the image, its orientation unapplied; ``msrn.read`` takes both from a file.

        Raises:
            UsageError: a mode whose colours are not known without more, such as CMYK.
        """
        clear = "RGBA" if "transparency" in image.info else "RGB"
        mode = {"1": "L", "P": clear, "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)
        picture = cls.from_array(image if mode == image.mode else image.convert(mode))
        about = replace(picture.metadata, icc_profile=image.info.get("icc_profile"), dpi=image.info.get("dpi"))
        return replace(picture, metadata=about)

    def to_pil(self) -> Any:
        """Make an image of PIL: L, LA, RGB or RGBA of 8 bits, or I;16 of a gray picture of 16 bits without alpha."""
        from PIL import Image  # here, as arrays alone do not need it

        image = Image.fromarray(self.to_array(None if self.is_gray and self.alpha is None else 8))
        about = {"icc_profile": self.metadata.icc_profile, "dpi": self.metadata.dpi}
        image.info |= {key: value for key, value in about.items() if value}
        return image

    def to_array(self, bits: int | None = None) -> NDArray[Any]:
        """Round half up and clip to ``(H, W)`` or ``(H, W, C)``, alpha last: ``uint8`` or ``uint16``.

        Args:
            bits: 8 or 16; the metadata's by default.

        Raises:
            UsageError: other bits, or values that are not finite.
        """
        bits = self.metadata.bits if bits is None else bits
        if bits not in (8, 16):
            raise UsageError(f"samples have 8 or 16 bits, not {bits}")
        planes = [*self.pixels, *(() if self.alpha is None else self.alpha)]
        dtype = np.uint8 if bits == 8 else np.uint16
        top = np.float32(np.iinfo(dtype).max)
        out = np.empty((self.height, self.width, len(planes)), dtype=dtype)
        for start in range(0, self.height, 256):  # strip by strip to spare memory
            for channel, plane in enumerate(planes):
                strip = plane[start : start + 256] * top
                if not np.isfinite(strip).all():
                    raise UsageError("the picture holds values that are not finite")
                out[start : start + 256, :, channel] = np.floor(strip + np.float32(0.5)).clip(0, top)
        return out[:, :, 0] if len(planes) == 1 else out

    def with_pixels(self, pixels: NDArray[np.float32], alpha: NDArray[np.float32] | None = None) -> "Picture":
        """Return the same picture with other pixels, which no JPEG holds (and, if the size changed, other alpha)."""
        return replace(self, pixels=pixels, alpha=alpha, metadata=replace(self.metadata, jpeg=None))


def check_picture(picture: object) -> None:
    """Raise :class:`UsageError` unless it is a :class:`Picture` that still keeps the contract."""
    if not isinstance(picture, Picture):
        what = type(picture).__name__
        raise UsageError(
            f"expected a Picture, got {what}: msrn.read(path) makes one of a file, "
            "msrn.Picture.from_array(image) one of an array or a PIL image"
        )
    check_pixels(picture.pixels)


def unit_range(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Return samples of 8 or 16 bits as float32 in [0, 1]; floating point must be there already.

    Raises:
        ValueError: another type or range; the message says of what.
    """
    out = np.empty(samples.shape, dtype=np.float32)
    if samples.dtype.name in ("uint8", "uint16"):
        return np.divide(samples, np.float32(np.iinfo(samples.dtype).max), out=out)
    if samples.dtype.kind != "f":
        raise ValueError(f"samples of type {samples.dtype}; 8 and 16 bits and floating point are handled")
    out[...] = samples
    if not (out.min() >= 0 and out.max() <= 1):  # false for what is no number, too
        raise ValueError("floating-point samples outside [0, 1] (or not finite), which are not handled")
    return out


def check_pixels(pixels: object) -> None:
    """Raise :class:`UsageError` unless ``pixels`` keeps the contract of this module."""
    if not isinstance(pixels, np.ndarray):
        raise UsageError(f"pixels must be a numpy array of shape (C, H, W), got {type(pixels).__name__}")
    array: NDArray[Any] = pixels
    if array.dtype != np.float32:
        raise UsageError(f"pixels must be float32 in [0, 1], got {array.dtype}; divide 8-bit values by 255 first")
    if array.ndim != 3 or array.shape[0] not in (1, 3) or 0 in array.shape:
        hint = " (channels come first here)" if array.ndim == 3 and array.shape[2] in (1, 3, 4) else ""
        raise UsageError(f"pixels must have shape (1, H, W) or (3, H, W), got {array.shape}{hint}")


def to_uint8(image: FloatArray) -> NDArray[np.uint8]:
    """Round and clip [0, 1] to 8 bit as MATLAB's ``uint8(255 * x)`` does."""
    return round_uint8(image * 255)


def round_uint8(values: FloatArray) -> NDArray[np.uint8]:
    """Round and clip values from 0 to 255 to 8 bit, halves away from zero as MATLAB does."""
    return np.floor(values + 0.5).clip(0, 255).astype(np.uint8)
