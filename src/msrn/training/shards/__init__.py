"""Training images in shards: tar files in WebDataset's layout, written once, verified, read at random.

A sample is two members with one key: the image file as it was (or a crop of it as PNG) and a JSON object with its
source, size and hash. ``index.json`` beside the shards lists them all, so that sizes are known before any image is
decoded, and a shard from another place can be checked. Only image formats of ``images.formats`` are ever decoded;
nothing in a shard is executed or unpickled.
"""

from msrn.training.shards.read import DECODING_BYTES, Shards, TrainingImage, are_shards, verify
from msrn.training.shards.source import checked_url
from msrn.training.shards.write import Prepared, prepare

__all__ = ["DECODING_BYTES", "Prepared", "Shards", "TrainingImage", "are_shards", "checked_url", "prepare", "verify"]
