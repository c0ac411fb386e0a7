"""Rasters that memory does not hold, restored window by window; :func:`restore_raster` is the way in."""

from msrn.batch.raster.partial import begun_with
from msrn.batch.raster.restore import MOST_CACHE, RasterOutcome, raster_needs, restore_raster

__all__ = ["MOST_CACHE", "RasterOutcome", "begun_with", "raster_needs", "restore_raster"]
