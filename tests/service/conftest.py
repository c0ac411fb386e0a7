"""A service as a user starts it, and pictures for it."""

from pathlib import Path

import pytest
from PIL import Image
from tests.helpers.services import Service, encoded

pytest.importorskip("fastapi")

PHOTOGRAPHS = Path(__file__).parents[2] / "demo" / "photographs"


@pytest.fixture(scope="package")
def service(tmp_path_factory):
    """One service for most tests; it computes in fp32, whatever is found fastest meanwhile."""
    started = Service(tmp_path_factory.mktemp("service"), "--precision", "fp32", "--max-pixels", "1000000")
    yield started
    started.stop()


@pytest.fixture(scope="session")
def photo():
    """A small JPEG photograph that shows its compression, with a name of its author in its EXIF data."""
    with Image.open(PHOTOGRAPHS / "chelsea.png") as image:
        crop = image.convert("RGB").crop((100, 50, 196, 122))
    exif = Image.Exif()
    exif[315] = "A. Photographer"
    return encoded(crop, "JPEG", quality=20, exif=exif)


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    """A photograph whose restoring takes a while."""
    with Image.open(PHOTOGRAPHS / "coffee.png") as image:
        return encoded(image.convert("RGB").resize((640, 560)), "JPEG", quality=30)
