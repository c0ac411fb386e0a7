"""Mutated recipes, shards, packs, checkpoints, manifests of many images and other programs' weights.

``python -m tests.helpers.fuzz`` takes these in, beside images.
"""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tests.helpers.fuzz import Target

from msrn.errors import ImageError, UsageError, WeightsError
from msrn.network.converters.caffe import read as read_caffe
from msrn.training import checkpoint, recipe_file
from msrn.training.loader import Pack, load_pack, save_pack
from msrn.training.shards import prepare
from msrn.training.shards.source import INDEX, members_of, read_index

_CAFFEMODEL = bytes.fromhex(
    "a2061f 0a05636f6e7631 3a16 2a0c0000803f00000040cdcc4c3f 3a06 0a0403010101".replace(" ", "")
)
"""A layer with its name and one blob of three values."""


def training_parsers(folder: Path) -> dict[str, Target]:
    """What reads files of training: seeds, what parses a file, and the errors that it may end with."""
    place = folder / "training"
    recipes = [path.read_bytes() for path in sorted(recipe_file.PACKAGED.glob("*.toml"))[:3]]
    plain = recipe_file.load(recipe_file.PACKAGED / "photo.toml").model_dump(mode="json")

    def of(name: str, parse: Callable[[Path], object]) -> Callable[[bytes], object]:
        def parse_bytes(data: bytes) -> object:
            (place / name).write_bytes(data)
            return parse(place / name)

        return parse_bytes

    shard, index = _shards(place)
    save_pack(Pack([np.zeros((1, 5, 6), np.uint8)], "full"), place / "seed.npz")
    pack = (place / "seed.npz").read_bytes()
    damage = (tarfile.TarError, OSError)
    return {
        "recipe": (recipes, of("x.toml", recipe_file.load), (UsageError,)),
        "recipe of a run": ([json.dumps(plain).encode()], of("x.json", recipe_file.load), (UsageError,)),
        "shard": ([shard, _tar(tarfile.PAX_FORMAT), _tar(tarfile.GNU_FORMAT)], of("x.tar", members_of), damage),
        "index of shards": ([index], of(INDEX, lambda path: read_index(str(path.parent), 0)), (UsageError,)),
        "pack": ([pack], of("x.npz", load_pack), (ImageError,)),
        "checkpoint": ([_checkpoint(place)], of("x.ckpt", checkpoint.load), (WeightsError,)),
        "weights of Caffe": ([_CAFFEMODEL], of("x.caffemodel", read_caffe), (WeightsError, UsageError)),
    }


def _shards(place: Path) -> tuple[bytes, bytes]:
    """A shard and its index."""
    made, images = place / "shards", place / "images"
    images.mkdir(parents=True)
    for number in range(2):
        Image.new("L", (9, 8), number).save(images / f"{number}.png")
    prepare([(images, sorted(images.iterdir()))], made, min_side=8)
    return (made / "shard-000000.tar").read_bytes(), (made / INDEX).read_bytes()


def _tar(kind: int) -> bytes:
    """A tar file with a long name, which takes a header of its own."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=kind) as tar:
        member = tarfile.TarInfo("a" * 150 + "é.png")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"png"))
    return stream.getvalue()


def _checkpoint(place: Path) -> bytes:
    parts = {name: {"a": torch.ones(3)} for name in ("recipe", "network", "average", "optimiser", "scaler")}
    counters = {"recursions": 1, "seconds": 0.0, "best": 0.0, "skipped": 0, "skipped_in_a_row": 0, "step": 1}
    return checkpoint.save(place, 1, parts | counters).read_bytes()
