"""A raster restored window by window: equal to the whole, in little memory, and gone on with after a kill."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from msrn.batch.raster.description import describe, profile_of
from msrn.batch.raster.partial import PartialRaster, partial_raster
from msrn.batch.settings import Settings
from msrn.errors import ImageError, OutputError, UsageError
from msrn.images.raster import Layer, Scene, Window, open_scene
from msrn.images.resize import enlarged_size, part_of, resize
from msrn.restoration.chain import Chain
from msrn.restoration.memory import Needs
from msrn.restoration.region import restore_region
from msrn.restoration.restorer import Restorer
from msrn.restoration.tiles import Rectangle, Tile, plan
from msrn.types import Size

if TYPE_CHECKING:
    from msrn.restoration.automatic import Chooser

WINDOW = 1024
"""Usual side of the windows of a result: the networks' halos, some twenty pixels, then cost little."""
_LEAST_CACHE, MOST_CACHE = 64 << 20, 384 << 20
"""Bytes of memory for blocks that are read, or wait to be written."""
_ENDS = 1 << 20
"""Bytes at a file's beginning that tell it from others, beside its size and time."""


@dataclass(frozen=True)
class RasterOutcome:
    """What became of a raster."""

    note: str
    """What was done, of each layer that differs."""
    size_before: tuple[int, int]
    """Width and height."""
    size: tuple[int, int]
    """Width and height of the result."""
    windows: int
    """In all."""
    continued: int
    """Of them, those that an earlier run had made."""


@dataclass(frozen=True)
class _Plan:
    """A layer and what restores it."""

    layer: Layer
    steps: Sequence[Restorer]
    note: str


def restore_raster(
    source: Path | str,
    target: Path | str,
    restorer: "Restorer | Chooser",
    *,
    scale: float | None = None,
    size: Size | None = None,
    window: int = WINDOW,
    overwrite: bool = False,
    strip_metadata: bool = False,
    progress: Callable[[float], None] = lambda share: None,
    before_rename: Callable[[BinaryIO], object] = lambda made: None,
) -> RasterOutcome:
    """Restore a raster, and enlarge it if the restorer does that, into a tiled GeoTIFF.

    Coordinates, values without data, masks, descriptions, tags and the bands' type are kept, the affine transform is
    divided by the scale, and overviews are made if there were any. What an automatic restorer does to a layer is
    decided by one square of it, of those looked at the one with most data.

    Args:
        source: TIFF of any kind that GDAL reads, or folder of a Zarr store.
        target: the new file, ``.tif`` or ``.tiff``; a run that was ended is gone on with.
        restorer: what restores, or chooses what does.
        scale: see ``Restorer.__call__``.
        size: see ``Restorer.__call__``.
        window: side of the windows of the result; the result does not depend on it.
        overwrite: replace the target.
        strip_metadata: copy only what values mean and where they lie.
        progress: called with the share done, 0 to 1.
        before_rename: called with the finished file, open, before it has its name.

    Raises:
        ImageError: the raster cannot be read or is of a kind that is not handled.
        UsageError: the target's name, or the scale or size, does not fit.
        OutputError: the target exists, or cannot be written.

    Example:
        >>> restore_raster("scene.tif", "scene_x2.tif", Enlarging(), scale=2)
    """
    source, target = Path(source), Path(target)
    if target.suffix.lower() not in (".tif", ".tiff"):
        raise UsageError(f"{target}: rasters are written as .tif")
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists; use --overwrite, or name another file")
    with open_scene(source, _cache_bytes(source, window)) as scene:
        plans = [_planned(scene.layer(bands), restorer, scale, size) for bands in scene.groups]
        before = scene.height, scene.width
        enlarges = any(step.enlarges for each in plans for step in each.steps)
        height, width = enlarged_size(before, scale, size) if enlarges else before
        asked = {"scale": scale, "size": size, "window": window, "made": (height, width), "strip": strip_metadata}
        key = _key(scene, restorer, asked)
        profile = profile_of(scene, height, width, window)
        side = max(profile["blockxsize"], window // profile["blockxsize"] * profile["blockxsize"])
        tiles = plan(height, width, side, 0, profile["blockxsize"])

        def check(made: BinaryIO) -> None:
            if target.exists() and not overwrite:
                raise OutputError(f"{target} has come to exist meanwhile and is kept")
            if key != _key(scene, restorer, asked):
                raise ImageError(f"{source} was changed while it was read")
            before_rename(made)

        with partial_raster(target, profile, key, restorer.choices) as partial:
            if partial.is_new:
                describe(partial, scene, strip_metadata)
            continued = len(partial.done)
            job = _Job(scene, plans, partial, (height, width), scale, size)
            job.make_all(tiles, progress)
            partial.finish(target, bool(scene.dataset.overviews(1)), check)
        notes = list(dict.fromkeys(each.note for each in plans if each.note))
        return RasterOutcome(" | ".join(notes), (scene.width, scene.height), (width, height), len(tiles), continued)


def raster_needs(
    source: Path, restorer: "Restorer | Chooser", scale: float | None, size: Size | None
) -> list[tuple[str, Needs]]:
    """What is done to each layer of a raster, and a forecast of what that takes, judged by its sample.

    Args and errors are those of :func:`restore_raster`.
    """
    found = list[tuple[str, Needs]]()
    with open_scene(source) as scene:
        for layer in (scene.layer(bands) for bands in scene.groups):
            each, picture = _planned(layer, restorer, scale, size), layer.cut(*layer.sample)
            enlarges = bool(each.steps) and each.steps[-1].enlarges
            height, _ = enlarged_size((scene.height, scene.width), scale, size)
            needs = Chain(each.steps, "").forecast(picture, height / scene.height if enlarges else None)
            share = picture.height * picture.width / (scene.height * scene.width)
            found.append((each.note, needs._replace(seconds=needs.seconds / share)))
    return found


@dataclass(frozen=True)
class _Job:
    """What makes windows of one result."""

    scene: Scene
    plans: Sequence[_Plan]
    partial: PartialRaster
    made: tuple[int, int]
    """Height and width of the result."""
    scale: float | None
    size: Size | None

    def make_all(self, tiles: Sequence[Tile], progress: Callable[[float], None]) -> None:
        """Make the windows that are not made yet."""
        for number, tile in enumerate(tiles):
            if number not in self.partial.done:
                self._make(number, tile.core)
            progress((number + 1) / len(tiles))

    def _make(self, number: int, core: Rectangle) -> None:
        """Restore all bands of a window and write them."""
        scene, window = self.scene, core.slices
        values = np.empty((scene.count, *core.size), scene.dtype)
        rows, columns = (
            (np.arange(span.start, span.stop) * before // after).clip(0, before - 1)
            for span, before, after in zip(window, (scene.height, scene.width), self.made, strict=True)
        )
        needed = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
        nearest = np.ix_(rows - needed[0].start, columns - needed[1].start)
        mask: NDArray[np.bool_] | None = None
        for each in self.plans:
            bands = each.layer.bands
            _, known = scene.read(bands, needed)
            valid = known[(slice(None), *nearest)]
            made = self._restored(each, core) if valid.any() else np.zeros((len(bands), *core.size), np.float32)
            for band, pixels, where in zip(bands, made, valid, strict=True):
                values[band - 1] = self._with_nodata(each.layer.values(pixels), where, band)
            mask = valid[0] if scene.has_mask else None
        for band in scene.alpha:
            values[band - 1] = self._resized(band, window)
        self.partial.write(number, window, values, mask)

    def _restored(self, each: _Plan, core: Rectangle) -> NDArray[np.float32]:
        enlarges = bool(each.steps) and each.steps[-1].enlarges
        scale, size = (self.scale, self.size) if enlarges else (None, None)
        return restore_region(each.steps, each.layer, core, scale, size).pixels

    def _with_nodata(self, values: NDArray[Any], valid: NDArray[np.bool_], band: int) -> NDArray[Any]:
        """The values, and what stands for none where there is none, but nowhere else."""
        nodata = self.scene.dataset.nodatavals[band - 1]
        if nodata is None:
            nodata = np.nan if self.scene.dtype.kind == "f" else 0
        elif not np.isnan(nodata):
            taken = valid & (values == nodata)
            if taken.any():  # the nearest value that is another
                values[taken] = _beside(nodata, self.scene.dtype)
        return np.where(valid, values, np.asarray(nodata).astype(self.scene.dtype))

    def _resized(self, band: int, window: Window) -> NDArray[Any]:
        """A window of alpha, resized as that of pictures is."""
        scene = self.scene
        if self.made == (scene.height, scene.width):
            return scene.dataset.read(band, window=tuple((span.start, span.stop) for span in window))
        how: dict[str, Any] = {"size": self.made} if self.size is not None else {"scale": self.scale or 2.0}
        part = part_of((scene.height, scene.width), *window, **how)
        spans = tuple((span.start, span.stop) for span in part.needed)
        alpha = scene.dataset.read(band, window=spans).astype(np.float64)
        limits = (0, 1) if scene.dtype.kind == "f" else (0, np.iinfo(scene.dtype).max)
        resized = resize(alpha, **how, part=part).clip(*limits)
        return (resized if scene.dtype.kind == "f" else np.floor(resized + 0.5)).astype(scene.dtype)


def _beside(value: float, kind: np.dtype[Any]) -> Any:
    """The value of a type that is next to one."""
    if kind.kind == "f":
        return np.nextafter(kind.type(value), kind.type(0 if value else 1))
    return value + (1 if value < np.iinfo(kind).max else -1)


def _planned(layer: Layer, restorer: "Restorer | Chooser", scale: float | None, size: Size | None) -> _Plan:
    """What restores a layer, as its sample says."""
    picture = layer.cut(*layer.sample)
    chosen = restorer.settled(replace(picture, pixels=picture.pixels.clip(0, 1)), scale, size, quick=True)
    return _Plan(layer, chosen.steps, chosen.note)


def _key(scene: Scene, restorer: "Restorer | Chooser", more: dict[str, Any]) -> str:
    """Digest of what a result is made of and how."""
    known: dict[str, Any] = {"settings": Settings().digest(restorer), "path": str(scene.path.absolute()), **more}
    if scene.path.is_file():
        about = scene.path.stat()
        with scene.path.open("rb") as file:
            head = hashlib.sha256(file.read(_ENDS)).hexdigest()
        known |= {"bytes": about.st_size, "time": about.st_mtime_ns, "head": head}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _cache_bytes(source: Path, window: int) -> int:
    """Memory for blocks: a file in strips is decoded over its whole width for every window of a row."""
    import tifffile

    if source.suffix.lower() == ".zarr":
        return _LEAST_CACHE
    try:
        with tifffile.TiffFile(source) as file:
            page: Any = file.pages[0]
            row = page.imagewidth * page.samplesperpixel * page.bitspersample // 8
            height = page.tilelength if page.is_tiled else page.rowsperstrip
    except Exception:  # rasterio says what is wrong
        return _LEAST_CACHE
    return min(max(_LEAST_CACHE, row * (window + 2 * height)), MOST_CACHE)
