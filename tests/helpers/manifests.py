"""Manifests of small pictures, and what programs made of them."""

from io import BytesIO

import numpy as np
from PIL import Image

from msrn.batch.cluster import ManifestTable, Request, make_manifest, place_at
from msrn.batch.cluster.results import read_records, record_names

COMPUTING = {"backend": "onnx", "precision": "fp32"}
"""What starts soonest."""


def png(seed: int, side: int = 12) -> bytes:
    """A file of noise."""
    file = BytesIO()
    samples = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(samples).save(file, "PNG")
    return file.getvalue()


def fill(where: str, count: int) -> str:
    """Put small pictures into a place, in three folders, and return it."""
    place = place_at(where)
    for number in range(count):
        place.create(f"{number % 3}/{number}.png", png(number))
    return where


def request_of(weights, **settings) -> Request:
    """What is asked of every image, by weights that return their input."""
    from msrn.batch import Settings

    request = Request(tuple(weights), Settings(**settings), COMPUTING)
    return request.settled(request.restorer("cpu"))


def manifest_of(source: str, target: str, weights, **settings) -> ManifestTable:
    make_manifest(source, target, request_of(weights, **settings))
    return ManifestTable(target)


def recorded(output: str) -> list[dict]:
    """Every record there is, of all programs."""
    place = place_at(output)
    tables = read_records(place, record_names(place), 0, 1 << 60)
    return [row for table in tables for row in table.to_pylist()]


def outputs(output: str) -> dict[str, bytes]:
    """Content of every output by name."""
    place = place_at(output)
    return {name: place.read(name) for name, _ in place.names() if not name.startswith("msrn-results/")}
