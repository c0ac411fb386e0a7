"""A service as a user starts it, and pictures for it."""

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("fastapi")

from msrn.service.client import Client

PHOTOGRAPHS = Path(__file__).parents[2] / "demo" / "photographs"


class Service:
    """A running service."""

    def __init__(self, cache: Path, *options: str, **environment: str) -> None:
        command = [sys.executable, "-m", "msrn.cli", "serve", "--port", "0", "--cache", str(cache), *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | environment)
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert "the page is at " in line, line + self.process.stderr.read()
        self.address = line.split()[5].rstrip("/,")
        self.port = int(self.address.rpartition(":")[2])
        self.client = Client(self.address, environment.get("MSRN_TOKEN", ""), timeout=120)
        self.cache = cache

    def children(self) -> list[int]:
        """The processes that it started, its workers first."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in found.read_text().split()] if found.exists() else []

    def stop(self) -> int:
        """Ask it to end, as a system does; its exit status."""
        self.process.terminate()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return self.process.wait(60)


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


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    """A photograph whose restoring takes a while."""
    with Image.open(PHOTOGRAPHS / "coffee.png") as image:
        return encoded(image.convert("RGB").resize((640, 560)), "JPEG", quality=30)
