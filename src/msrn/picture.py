"""The picture: pixels and what a file says about them. This module states THE tensor contract.

**Pixels** are ``float32``, channel-first ``(C, H, W)``, values in [0, 1], sRGB as stored in the file, with
C = 1 (gray) or 3 (RGB). ``(N, C, H, W)`` exists only inside the network. **Alpha** is a plane of its own,
``(1, H, W)`` in the same range, and never enters the network. Nothing is rounded or clipped between
``files.read`` and ``files.write``.

Pixels are numpy arrays, so that reading, writing and checking files never needs torch; the engine wraps them
as tensors without copying.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from msrn.errors import UsageError

Task = Literal["sr", "denoise", "jpeg"]
"""What there is to restore."""

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
"""How finely a JPEG keeps chroma: as luminance, half as wide, or half as wide and high."""

FloatArray = NDArray[np.floating[Any]]
"""An array of float32 or float64; functions keep the type they are given."""


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
    """JPEG's comment."""
    png_chunks: bytes | None = None
    """PNG's own statements of colour and its texts, whole chunks as they came; no other format has a place for them."""
    source: str = ""
    """Where the picture came from, for messages."""


@dataclass(frozen=True)
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

    def with_pixels(self, pixels: NDArray[np.float32], alpha: NDArray[np.float32] | None = None) -> "Picture":
        """Return the same picture with other pixels (and, if the size changed, other alpha)."""
        return replace(self, pixels=pixels, alpha=alpha)


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
