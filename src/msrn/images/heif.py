"""HEIC, as telephones write it, and what the head of an AVIF says: both are boxes of ISO 14496-12, read by libheif."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msrn.errors import ImageError
from msrn.images.boxes import check_coded_size
from msrn.images.formats import Allowance, widened
from msrn.images.metadata import dpi_of_exif, only_bytes, reset_exif, upright_xmp
from msrn.images.picture import Metadata
from msrn.images.png import color_codes
from msrn.system.machine import cores

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
_ITEM = re.compile(rb"infe(?:\x02...(?:..)..|\x03...(?:....)..)(....)", re.DOTALL)
"""An entry of a file's list of items: version 2 or 3, flags, the item's number of 16 or 32 bit, protection, kind."""

_LONGEST_LIST = 256
"""Bytes of a file's list of brands that are looked at."""


def is_heic(data: bytes) -> bool:
    """Whether a file says that it is HEIC: by the brand it names first, or any other."""
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4], "big"), _LONGEST_LIST)
    return any(data[at : at + 4] in _BRANDS for at in (8, *range(16, end, 4)))


def heic_size(data: bytes, path: Path) -> tuple[int, int]:
    """Width and height of a HEIC, without decoding it."""
    return _opened(data, path).size


def decode_heic(data: bytes, path: Path, allowed: Allowance) -> tuple[NDArray[Any], Metadata]:
    """Samples ``(H, W)`` or ``(H, W, C)`` of a HEIC, upright, and what else it says.

    Previews, depth and gain maps, which phones store beside the photograph, are left out. libheif turns the picture as
    the file's own properties say; what EXIF says of that is only a copy.

    Raises:
        ImageError: several pictures of equal standing, or a kind that is not handled.
    """
    image = _opened(data, path)
    width, height = image.size
    allowed.check(width * height, 4 if image.has_alpha else 3)
    samples = np.array(image)[:, :width]  # a copy: what it is made from is freed with the image
    if image.premultiplied_alpha:
        raise ImageError(f"{path} has colours that alpha is multiplied into, which is not handled; convert it to PNG")
    info: dict[str, Any] = image.info
    exif = reset_exif(info.get("exif"))
    metadata = Metadata(
        icc_profile=only_bytes(info.get("icc_profile")),
        exif=exif,
        dpi=dpi_of_exif(exif),
        xmp=upright_xmp(info.get("xmp")),
        png_chunks=_colors(image),
        source=str(path),
    )
    return widened(samples, int(info["bit_depth"])), metadata


def decode_avif(data: bytes, path: Path, width: int, height: int) -> tuple[NDArray[Any], bytes | None]:
    """Samples ``(H, W)`` or ``(H, W, C)`` of an AVIF as stored, and its statement of colours as PNG has it.

    All else is read by Pillow, which decodes 8 bits only and does not say of how many it made them.

    Args:
        data: the file.
        path: its name, for errors.
        width: what the file says of its size, before it is turned.
        height: as ``width``.

    Raises:
        ImageError: several pictures of equal standing.
        ValueError: it is coded larger than it says.
    """
    import imagecodecs

    image = _opened(data, path)
    check_coded_size(data, width, height)
    samples = widened(imagecodecs.avif_decode(data, numthreads=cores()), int(image.info["bit_depth"]))
    if image.mode.startswith("L") and samples.ndim == 3:
        samples = samples[..., [0, 3]] if samples.shape[-1] == 4 else samples[..., :1]
    return samples, _colors(image)


def _colors(image: Any) -> bytes | None:
    codes = image.info.get("nclx_profile") or {}
    return color_codes(codes.get("color_primaries", 2), codes.get("transfer_characteristics", 2))


def _check_items(data: bytes, path: Path) -> None:
    """Refuse a list of items whose kinds are no text: pi-heif 1.4 crashes when it names them."""
    for found in _ITEM.finditer(data):
        size = int.from_bytes(data[found.start() - 4 : found.start()], "big")
        kind, *texts = found[1], *data[found.end() : found.start() - 4 + size].split(b"\0")
        try:
            (kind + b"".join(texts)).decode()
        except UnicodeDecodeError:
            raise ImageError(f"{path} is a damaged HEIC or AVIF: it holds an item of no known kind") from None


def _opened(data: bytes, path: Path) -> Any:
    """The one picture of a file, not decoded yet. What belongs to it, such as previews, is left alone."""
    import pi_heif

    _check_items(data, path)
    pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
    file = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    if len(file) > 1:
        raise ImageError(f"{path} holds {len(file)} pictures of equal standing; save one as a file of its own")
    return file[0]
