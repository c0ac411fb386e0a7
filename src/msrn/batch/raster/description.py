"""What a raster says of itself, in the file of its result: coordinates, bands, colours, metadata."""

from typing import Any

from msrn.batch.raster.partial import PartialRaster
from msrn.images.raster import Scene

_BLOCK = 512
"""Side of the blocks of a GeoTIFF that are stored, and read, one by one."""
_OF_THE_FILE = frozenset(("IMAGE_STRUCTURE", "SUBDATASETS", "DERIVED_SUBDATASETS", "GEOLOCATION", "RPC"))
"""Domains of metadata that another file has others of. Polynomials are enlarged; the rest GDAL finds out itself."""
_OF_THE_VALUES = ("STATISTICS_", "TIFFTAG_MINSAMPLEVALUE", "TIFFTAG_MAXSAMPLEVALUE", "EXIF_Pixel")
"""What names of metadata begin with that would no longer hold."""


def profile_of(scene: Scene, height: int, width: int, window: int) -> dict[str, Any]:
    """What the file of a result of some size is created with: what the scene says of itself, in tiles, deflated."""
    given = scene.dataset
    old, right, down = given.transform, given.width / width, given.height / height
    affine = type(old)(old.a * right, old.b * down, old.c, old.d * right, old.e * down, old.f)
    block = max(16, min(_BLOCK, window, height, width) // 16 * 16)
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": scene.count,
        "dtype": str(scene.dtype),
        "nodata": given.nodata,
        "crs": given.crs,
        "transform": affine,
        "tiled": True,
        "blockxsize": block,
        "blockysize": block,
        "compress": "deflate",
        "predictor": 3 if scene.dtype.kind == "f" else 2,
        "interleave": "pixel" if scene.count <= 4 else "band",
        "bigtiff": "if_safer",
        "sparse_ok": True,
    }
    return profile | ({"photometric": "rgb"} if scene.is_rgb else {})


def describe(partial: PartialRaster, scene: Scene, strip: bool = False) -> None:
    """Copy what the scene says of itself and its bands.

    Args:
        partial: the new file.
        scene: the old one.
        strip: only what its values mean and where they lie.
    """
    given, made = scene.dataset, partial.dataset
    made.colorinterp = given.colorinterp
    made.descriptions = given.descriptions
    made.scales, made.offsets, made.units = given.scales, given.offsets, given.units
    if strip:
        point = given.tags().get("AREA_OR_POINT")
        made.update_tags(**({"AREA_OR_POINT": point} if point else {}))
    else:
        _copy_metadata(given, made, scene.count)
    down, right = made.height / given.height, made.width / given.width
    points, crs = given.gcps
    if points:
        for point in points:
            point.row, point.col = point.row * down, point.col * right
        made.gcps = points, crs
    polynomials = given.rpcs
    if polynomials is not None:  # which count from the middle of the first pixel, not from its corner
        for side, factor in (("line", down), ("samp", right)):
            setattr(polynomials, f"{side}_off", (getattr(polynomials, f"{side}_off") + 0.5) * factor - 0.5)
            setattr(polynomials, f"{side}_scale", getattr(polynomials, f"{side}_scale") * factor)
        made.rpcs = polynomials


def _copy_metadata(given: Any, made: Any, bands: int) -> None:
    """Copy the metadata of a file and its bands in every domain, but XML, which rasterio does not write as it reads it.

    A colour profile is of a domain of its own.
    """
    for band in range(bands + 1):
        for domain in (None, *given.tag_namespaces(band)):
            if domain is None or not (domain in _OF_THE_FILE or domain.startswith("xml:")):
                tags = given.tags(band, ns=domain)
                made.update_tags(
                    band, ns=domain, **{name: tags[name] for name in tags if not name.startswith(_OF_THE_VALUES)}
                )
