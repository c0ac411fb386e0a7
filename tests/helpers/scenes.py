"""Small rasters."""

import json

import numpy as np

COORDINATES = 0.5, 0.1, 3e5, 0.1, -0.5, 5.7e6
"""An affine transform's."""
SIZE = 150, 130


def scene(path, bands=1, kind="uint8", low=0, high=255, hole=None, mask=None, colors=None, **profile):
    """A GeoTIFF of noise with coordinates; values of ``hole``, ``(rows, columns, value)``, stand for no data."""
    import rasterio

    values = np.random.default_rng(0).uniform(low, high, (bands, *SIZE))
    values = values.astype(kind) if kind[0] == "f" else np.round(values).astype(kind)
    if hole:
        values[:, hole[0], hole[1]] = hole[2]
        profile["nodata"] = hole[2]
    profile |= {"height": SIZE[0], "width": SIZE[1], "count": bands, "dtype": kind}
    profile |= {"crs": "EPSG:32633", "transform": rasterio.Affine(*COORDINATES)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", driver="GTiff", **profile) as file:
        if colors:
            file.colorinterp = [rasterio.enums.ColorInterp[name] for name in colors]
        file.write(values)
        if mask is not None:
            file.write_mask(mask)
    return values


def zarr(path):
    """A Zarr store of noise, and its values."""
    values = np.random.default_rng(0).integers(0, 9000, (60, 50), np.uint16)
    about = {"zarr_format": 2, "shape": [60, 50], "chunks": [60, 50], "dtype": "<u2", "order": "C", "fill_value": 0}
    path.mkdir(parents=True)
    (path / ".zarray").write_text(json.dumps({**about, "compressor": None, "filters": None}))
    (path / "0.0").write_bytes(values.astype("<u2").tobytes())
    return values
