"""Rasters that memory does not hold, restored window by window; :func:`restore_raster` is the way in."""

from msrn.batch.raster.partial import begun_with
from msrn.batch.raster.restore import RasterOutcome, restore_raster

__all__ = ["RasterOutcome", "begun_with", "restore_raster"]
