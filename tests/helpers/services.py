"""A running service, and pictures to send it."""

import os
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

from PIL import Image

from msrn.service.client import Client


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
        return self.ended()

    def ended(self) -> int:
        """Wait for its end; its exit status."""
        assert self.process.stderr is not None
        self.process.stderr.close()
        return self.process.wait(60)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG that claims 40,000 × 40,000 pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
