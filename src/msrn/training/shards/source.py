"""Shards and their index, from a folder or a server: what is described, and whether it is what came."""

import hashlib
import math
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, TypeVar

import fsspec
from pydantic import BaseModel, Field, ValidationError, model_validator

from msrn import images
from msrn.errors import ImageError, MSRNError, UsageError
from msrn.system.atomic import reason, write_atomically
from msrn.system.extras import missing
from msrn.system.machine import cache_folder

INDEX = "index.json"
FORMAT = 1
SCHEMES = ("http", "https", "s3", "gs", "file")
"""Of the URLs that are opened."""
PAUSE = 1.0
"""Seconds before a server is asked again; twice as many before the next time."""
_SHA256 = "^[0-9a-f]{64}$"
_SECONDS = 60.0
"""Of silence after which a server is given up."""
_TRIES = 3
_LONGEST_INDEX = 1 << 28
"""Bytes; an image takes about 150."""
_LONGEST_NAME = 1 << 20
_Fetched = TypeVar("_Fetched")


class ImageEntry(BaseModel):
    """One image of a shard, as the index lists it."""

    key: str
    height: int = Field(gt=0, le=images.MAX_PIXELS)
    width: int = Field(gt=0, le=images.MAX_PIXELS)
    sha256: str | None = Field(default=None, pattern=_SHA256)

    @model_validator(mode="after")
    def _possible(self) -> "ImageEntry":
        if self.height * self.width > images.MAX_PIXELS:
            raise ValueError(f"{self.width}×{self.height} pixels are more than any image may have")
        return self


class ShardEntry(BaseModel):
    """One shard, as the index lists it."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+\.tar$")  # no other folder's
    sha256: str = Field(pattern=_SHA256)  # names its place in the cache
    images: list[ImageEntry]


class Index(BaseModel):
    """What a set of shards holds."""

    format: Literal[1]
    shards: list[ShardEntry] = Field(min_length=1)


def read_index(source: str, pause: float = PAUSE) -> Index:
    """Read the index of a folder or URL.

    Raises:
        UsageError: there is none, or it is not one.
    """
    where = f"{source.rstrip('/')}/{INDEX}"
    try:
        return Index.model_validate_json(_patiently(lambda: b"".join(_blocks(where, _LONGEST_INDEX)), pause))
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where} is not an index of shards that this program reads: {at} {first['msg']}") from error
    except ImageError as error:
        raise UsageError(str(error)) from error


def local_shard(source: str, shard: ShardEntry, pause: float = PAUSE) -> Path:
    """Return where a shard lies on this machine, fetching it first where it comes from a URL.

    Raises:
        ImageError: it cannot be fetched, or is not what the index says.
    """
    if "://" not in source:
        return Path(source) / shard.name
    path = cache_folder() / "shards" / f"{shard.sha256}.tar"
    where = f"{source.rstrip('/')}/{shard.name}"

    def write(file: BinaryIO) -> None:
        file.writelines(_blocks(where))

    def check(file: Any) -> None:
        if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
            raise ImageError(f"{where} differs from its index (SHA-256)")

    if not path.is_file():
        _patiently(lambda: write_atomically(path, write, check), pause)
    return path


class _Header(tarfile.TarInfo):
    """A member's header that neither sends the reader back nor has it make room for more than a name."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.size > _LONGEST_NAME and not header.isreg()):
            raise tarfile.ReadError(f"{header.name!r} claims {header.size} bytes")
        return header


def hash_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def members_of(path: Path) -> dict[str, tarfile.TarInfo]:
    """Return the image members of a tar file by key.

    Raises:
        TarError: it is damaged, or claims what it does not hold.
        OSError: it cannot be read.
    """
    length = path.stat().st_size
    members: dict[str, tarfile.TarInfo] = {}
    try:
        with tarfile.open(path, "r:", tarinfo=_Header) as tar:
            for member in tar:
                if not 0 <= member.size <= min(images.MAX_BYTES, length - member.offset_data):
                    raise tarfile.ReadError(f"{member.name!r} claims {member.size} bytes")
                name = PurePosixPath(member.name)
                if member.isreg() and name.suffix in images.SUFFIXES:
                    members[str(name.with_suffix(""))] = member
    except (OSError, tarfile.TarError):
        raise
    except Exception as error:  # hostile bytes have many ways
        raise tarfile.ReadError(repr(error)) from error
    return members


def checked_url(url: str) -> str:
    """A URL that may be opened, as it is.

    Of the file systems that fsspec knows, some run code that the URL's content names (``reference://`` renders
    templates), and a chain (``::``) leads from one to another.

    Raises:
        UsageError: the URL is of another scheme, or a chain.
    """
    if url.partition("://")[0] not in SCHEMES or "::" in url:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise UsageError(f"{url} is not opened: shards are read from one address that begins with {known}")
    return url


def _open(where: str) -> Any:
    """Open a path or URL; fsspec says which package a scheme needs."""
    if "://" not in where:
        return Path(where).open("rb")
    checked_url(where)
    options: dict[str, Any] = {}
    if where.startswith(("http://", "https://")):
        try:
            from aiohttp import ClientTimeout
        except ImportError as error:
            raise missing("reading shards from the web", "aiohttp", "train") from error
        # A large shard may take as long as it likes, as long as something comes.
        timeout = ClientTimeout(total=None, sock_connect=_SECONDS, sock_read=_SECONDS)
        options["client_kwargs"] = {"timeout": timeout}
    return fsspec.open(where, "rb", **options)


def _patiently(fetch: Callable[[], _Fetched], pause: float) -> _Fetched:
    """Try again what a server did not give."""
    for attempt in range(_TRIES - 1):
        try:
            return fetch()
        except ImageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise
            time.sleep(pause * 2**attempt)
    return fetch()


def _blocks(where: str, longest: float = math.inf) -> Iterator[bytes]:
    size = 0
    try:
        with _open(where) as remote:
            while block := remote.read(2**20):
                size += len(block)
                if size > longest:
                    raise UsageError(f"{where} has more than {longest:,} bytes and is not read")
                yield block
    except MSRNError:
        raise
    except Exception as error:  # each of fsspec's file systems has its own
        said = "there is no such file" if isinstance(error, FileNotFoundError) else reason(error)
        raise ImageError(f"cannot read {where}: {said}") from error
