"""Rasters that memory does not hold: scenes of satellites, maps, BigTIFF, COG and Zarr, read in windows by rasterio.

A raster has bands of one type. Red, green and blue are restored together, every other band for itself; alpha is only
resized. What a network sees of a band are values from 0 to 1: those of 8 bits as in any picture, of other types by the
range that nearly all of the band's values have. Pixels without data are filled from their neighbours before a network
sees them, or their value would bleed into those beside them.
"""

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msrn.errors import ImageError, UsageError
from msrn.images.frames.tiff_pages import first_tags
from msrn.images.picture import Metadata, Picture
from msrn.system.atomic import reason
from msrn.types import MAX_PIXELS

Window = tuple[slice, slice]
"""Rows and columns."""
_WIDTH, _HEIGHT, _SAMPLES_PER_PIXEL, _SAMPLE_FORMAT = 256, 257, 277, 339
_GEOGRAPHIC = frozenset((33550, 33922, 34264, 34735, 42112, 42113, 50844))
"""TIFF tags of coordinates, and of what GDAL adds."""
_WORLD = (".tfw", ".tifw", ".wld", ".TFW", ".TIFW", ".WLD")
"""Extensions of files beside a TIFF that say where it lies."""
_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
_FILL = 16
"""How far from data a pixel is filled from its neighbours; beyond, by the middle of the band's range."""
_SAMPLES, _SAMPLE_SIDE = 5, 512
"""Squares in each direction that the range of values and what is to be restored are judged by, and their side."""
_OUTLIERS = 0.1
"""Percent of the values that may lie below the range, and as many above."""


def is_raster(path: Path, data: bytes | None = None) -> bool:
    """Whether a file is a raster and no photograph: Zarr, or a TIFF with coordinates or of a kind only rasters are.

    Args:
        path: the file, or folder of a Zarr store.
        data: the file's content, where it was read from elsewhere.
    """
    if path.suffix.lower() == ".zarr":
        return path.is_dir()
    if path.suffix.lower() not in (".tif", ".tiff") or not (data or path.is_file()):
        return False
    try:
        with path.open("rb") if data is None else BytesIO(data) as file:
            is_big, tags = first_tags(file)
    except (OSError, ValueError):  # whoever reads it says what is wrong
        return False
    many = tags.get(_SAMPLES_PER_PIXEL, 1) > 4 or tags.get(_WIDTH, 0) * tags.get(_HEIGHT, 0) > MAX_PIXELS
    odd = tags.get(_SAMPLE_FORMAT, 1) not in (1, 3)  # signed and complex numbers
    lies = not _GEOGRAPHIC.isdisjoint(tags) or (data is None and any(path.with_suffix(end).exists() for end in _WORLD))
    return is_big or many or odd or lies


def rasterio() -> Any:
    """The package, without types of its own; raises ImportError where it is missing."""
    return import_module("rasterio")


def open_dataset(name: Path | str, mode: str = "r", **how: Any) -> Any:
    """Open a file by rasterio; one without coordinates is nothing to warn of."""
    package = rasterio()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", package.errors.NotGeoreferencedWarning)
        return package.open(name, mode, **how)


@dataclass(frozen=True)
class Layer:
    """Bands that are restored together: one, or red, green and blue."""

    scene: "Scene"
    bands: tuple[int, ...]
    """Numbers, from 1."""
    low: float
    """The value that a network sees as 0."""
    high: float
    """The value that a network sees as 1."""
    sample: Window
    """Where what is to be restored is judged: of the squares that were looked at, the one with most data."""

    @property
    def height(self) -> int:
        """Rows."""
        return self.scene.height

    @property
    def width(self) -> int:
        """Columns."""
        return self.scene.width

    @property
    def is_gray(self) -> bool:
        """Whether it is a single band."""
        return len(self.bands) == 1

    def cut(self, rows: slice, columns: slice) -> Picture:
        """Read a rectangle as a picture, filled where there is no data."""
        wide = _grown(rows, self.height), _grown(columns, self.width)
        values, valid = self.scene.read(self.bands, wide)
        pixels = ((values - self.low) / (self.high - self.low)).astype(np.float32)
        for plane, known in zip(pixels, valid, strict=True):
            if not known.all():
                _fill(plane, known)
        kept = pixels[:, rows.start - wide[0].start :, columns.start - wide[1].start :]
        kept = kept[:, : rows.stop - rows.start, : columns.stop - columns.start]
        return Picture(np.ascontiguousarray(kept), metadata=Metadata(self.scene.bits, source=str(self.scene.path)))

    def values(self, pixels: NDArray[np.float32]) -> NDArray[Any]:
        """Make values of a band's type of what a network returned, rounded half up and clipped."""
        values = pixels.astype(np.float64) * (self.high - self.low) + self.low
        if self.scene.dtype.kind == "f":
            return values.astype(self.scene.dtype)
        limits = np.iinfo(self.scene.dtype)
        return np.floor(values + 0.5).clip(limits.min, limits.max).astype(self.scene.dtype)


class Scene:
    """A raster that is open for reading; see :func:`open_scene`.

    Args:
        dataset: of rasterio.
        path: of the file, for messages.

    Raises:
        ImageError: it is a kind of raster that is not handled.
    """

    def __init__(self, dataset: Any, path: Path) -> None:
        self.dataset, self.path = dataset, path
        self.height, self.width, self.count = int(dataset.height), int(dataset.width), int(dataset.count)
        kinds = set(dataset.dtypes)
        if len(kinds) != 1 or not kinds <= set(_TYPES):
            raise ImageError(f"{path} has values of {', '.join(sorted(kinds))}; one of {', '.join(_TYPES)} is handled")
        self.dtype: np.dtype[Any] = np.dtype(kinds.pop())
        self.bits = 8 if self.dtype.itemsize == 1 else 16
        colors = [color.name for color in dataset.colorinterp]
        if "palette" in colors:
            raise ImageError(f"{path} has a palette: its values are classes, between which there is nothing to restore")
        self.alpha = tuple(band for band, color in enumerate(colors, 1) if color == "alpha")
        rgb = tuple(colors.index(name) + 1 for name in ("red", "green", "blue") if name in colors)
        self.is_rgb = len(rgb) == 3
        together = [rgb] if self.is_rgb else []
        apart = [(band,) for band in range(1, self.count + 1) if band not in self.alpha + sum(together, ())]
        self.groups: list[tuple[int, ...]] = [*together, *apart]
        """Numbers of the bands that are restored together."""
        shared = dataset.mask_flag_enums[0] if self.count else []
        self.has_mask = any(flag.name == "per_dataset" for flag in shared) and not self.alpha
        """Whether the file has a mask besides its bands."""

    def read(self, bands: tuple[int, ...], window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values and where there are any, both ``(bands, rows, columns)``.

        Raises:
            ImageError: the file is damaged there.
        """
        from rasterio.errors import RasterioError

        spans = tuple((span.start, span.stop) for span in window)
        try:
            values = self.dataset.read(list(bands), window=spans)
            known = self.dataset.read_masks(list(bands), window=spans) > 0
        except RasterioError as error:
            where = f"row {window[0].start:,}, column {window[1].start:,}"
            raise ImageError(f"{self.path} cannot be read at {where}: {reason(error)}") from error
        if self.dtype.kind == "f":
            known &= np.isfinite(values)
        return values, known

    def layer(self, bands: tuple[int, ...]) -> Layer:
        """The bands with their range, and where to judge what they need.

        Raises:
            ImageError: there is no data in any of the squares that are looked at.
        """
        found, best = list[NDArray[Any]](), (-1, 0.0)
        sample = slice(0, 0), slice(0, 0)
        for rows, columns in self._squares():
            values, valid = self.read(bands, (rows, columns))
            found.append(values[valid])
            off = abs(rows.start + rows.stop - self.height) + abs(columns.start + columns.stop - self.width)
            if (int(valid.sum()), -off) > best:
                best, sample = (int(valid.sum()), -off), (rows, columns)
        known = np.concatenate(found)
        if not known.size:
            raise ImageError(f"{self.path}: nothing but pixels without data was found in band {bands[0]}")
        low, high = 0.0, 255.0
        if self.dtype != np.uint8:
            low, high = (float(value) for value in np.percentile(known, (_OUTLIERS, 100 - _OUTLIERS)))
        return Layer(self, bands, low, high if high > low else low + 1, sample)

    def _squares(self) -> list[Window]:
        """Squares that are spread over the scene, from multiples of 8, where a JPEG has its blocks."""
        rows, columns = (
            [slice(start, min(start + _SAMPLE_SIDE, length)) for start in sorted(set(starts))]
            for length in (self.height, self.width)
            for starts in ([max(0, (length - _SAMPLE_SIDE) * k // (_SAMPLES - 1)) // 8 * 8 for k in range(_SAMPLES)],)
        )
        return [(each, other) for each in rows for other in columns]


@contextmanager
def open_scene(path: Path, cache_bytes: int = 256 << 20) -> Generator[Scene]:
    """Open a raster for reading.

    Args:
        path: of a TIFF, or folder of a Zarr store.
        cache_bytes: memory for blocks that are read, or wait to be written.

    Raises:
        ImageError: it cannot be opened, or is of a kind that is not handled.
        UsageError: it has several rasters.
    """
    package = rasterio()
    kind = "Zarr" if path.suffix.lower() == ".zarr" else "GTiff"
    name = f'ZARR:"{path}"' if kind == "Zarr" else str(path)
    with package.Env(GDAL_CACHEMAX=cache_bytes, GDAL_TIFF_INTERNAL_MASK=True):
        try:
            # Of other kinds, one in a file with this name might lead to any other file.
            dataset = open_dataset(name, driver=kind)
        except package.errors.RasterioError as error:
            raise ImageError(f"{path} cannot be read as a raster: {reason(error)}") from error
        with dataset:
            if not dataset.count:
                raise UsageError(f"{path} holds several rasters ({', '.join(dataset.subdatasets)}): name one of them")
            yield Scene(dataset, path)


def _grown(span: slice, length: int) -> slice:
    """A span with what its pixels without data are filled from."""
    return slice(max(0, span.start - _FILL), min(length, span.stop + _FILL))


def _fill(plane: NDArray[np.float32], known: NDArray[np.bool_]) -> None:
    """Fill what is not known from the neighbours that are, ring by ring, so that only what is near decides a pixel."""
    known = known.copy()
    plane[~known] = 0
    for _ in range(_FILL):
        total, count = np.zeros_like(plane), np.zeros_like(plane)
        for rows, columns in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            total += _shifted(plane, rows, columns)
            count += _shifted(known.astype(np.float32), rows, columns)
        ring = ~known & (count > 0)
        if not ring.any():
            break
        plane[ring] = total[ring] / count[ring]
        known |= ring
    plane[~known] = 0.5


def _shifted(plane: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """The plane moved by a row or column, zero where nothing came."""
    moved = np.zeros_like(plane)
    height, width = plane.shape
    moved[max(0, rows) : height + min(0, rows), max(0, columns) : width + min(0, columns)] = plane[
        max(0, -rows) : height + min(0, -rows), max(0, -columns) : width + min(0, -columns)
    ]
    return moved
