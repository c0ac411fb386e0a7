"""Where images lie and results go: a folder, or a part of an object store.

Both can create a file only if it is absent, as one step: a folder by a hard link, an object store by a conditional
write (``If-None-Match`` of S3, preconditions of Google's and Azure's). ``obstore`` has that for every store it knows;
``fsspec`` looks whether there is such a file, and then writes it.
"""

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlparse
from urllib.request import url2pathname

from msrn import images
from msrn.errors import ImageError, MSRNError, OutputError, UsageError
from msrn.system.atomic import create_atomically, reason, sweep
from msrn.types import MAX_BYTES

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_PATIENCE = "600s"
"""Time that one request may take: a large image over a slow line needs more than the 30 s that are usual."""
_LEFT_OVER = 3600.0
"""Age in seconds from which a half-written file is taken for one that a killed program left."""


class Place(Protocol):
    """A folder or a part of an object store; ``name`` is a path within it, with slashes."""

    uri: str

    def names(self, below: str = "") -> Iterator[tuple[str, int]]:
        """Names and sizes in bytes of all files, or of those below a folder."""
        ...

    def size(self, name: str) -> int | None:
        """A file's size in bytes; None if there is none."""
        ...

    def read(self, name: str, most: int = MAX_BYTES) -> bytes:
        """A file's content; an :class:`ImageError` if it cannot be read or has more bytes than ``most``."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one; returns whether it did. An :class:`OutputError` if it cannot."""
        ...

    def open(self, name: str) -> Any:
        """A file for Arrow to seek and read in; it closes itself."""
        ...

    def put(self, name: str, file: Path) -> None:
        """Move a file of this machine here, in the place of what may be there."""
        ...


def place_at(where: str | Path) -> Place:
    """The folder or part of an object store that a path or URI names.

    Raises:
        UsageError: no store is called so, or its configuration is incomplete.

    Example:
        >>> place_at("s3://bucket/photographs").uri
        's3://bucket/photographs'
    """
    text = str(where)
    if not is_uri(text):
        return FolderPlace(Path(text))
    return FolderPlace(path_of(text)) if text.startswith("file:") else ObjectPlace(re.sub("(?<!:|/)/+$", "", text))


def is_uri(text: str) -> bool:
    """Whether a location is a URI, and no path of this machine."""
    return re.match(r"[a-z][a-z0-9+.-]+://", text) is not None


def path_of(uri: str) -> Path:
    """The path that a ``file:`` URI names."""
    return Path(url2pathname(urlparse(uri).path))


def file_at(where: str) -> tuple[Place, str]:
    """The place of a single file, and its name there."""
    folder, _, name = where.rstrip("/").rpartition("/") if is_uri(where) else (str(Path(where).parent), "", where)
    return place_at(folder), name if is_uri(where) else Path(where).name


class FolderPlace:
    """A folder, which several machines may share.

    Args:
        folder: the folder; it is made when the first file is created.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.uri = self.folder.as_uri()
        self._swept: set[Path] = set()

    def names(self, below: str = "") -> Iterator[tuple[str, int]]:
        """See :class:`Place`; hidden files are none of it."""
        folder = self.folder / below
        for path in folder.rglob("*") if folder.is_dir() else ():
            with suppress(OSError):  # it was removed meanwhile
                if path.is_file() and not path.name.startswith("."):
                    yield path.relative_to(self.folder).as_posix(), path.stat().st_size

    def size(self, name: str) -> int | None:
        """See :class:`Place`."""
        try:
            return self._path(name).stat().st_size
        except (OSError, ValueError):  # a name that cannot be is an error when it is written
            return None

    def read(self, name: str, most: int = MAX_BYTES) -> bytes:
        """See :class:`Place`."""
        return images.read_bytes(self._path(name), most)

    def create(self, name: str, data: bytes) -> bool:
        """See :class:`Place`."""
        path = self._path(name)
        if path.parent not in self._swept:
            self._swept.add(path.parent)
            sweep(path.parent, older_than=_LEFT_OVER)
        return create_atomically(path, lambda file: file.write(data))

    def open(self, name: str) -> Any:
        """See :class:`Place`."""
        from pyarrow import OSFile

        with _told(f"cannot read {self.folder / name}", UsageError):
            return OSFile(str(self._path(name)))

    def put(self, name: str, file: Path) -> None:
        """See :class:`Place`."""
        with _told(f"cannot write {self.folder / name}", OutputError):
            file.replace(self._path(name))

    def _path(self, name: str) -> Path:
        """A file's path; a stranger's manifest may name files elsewhere."""
        relative = Path(name)
        if relative.is_absolute() or relative.drive or ".." in relative.parts:
            raise UsageError(f"cannot use {name}: the name leads out of {self.folder}")
        return self.folder / relative


class ObjectPlace:
    """A part of an object store: all objects whose names begin with a prefix.

    Args:
        uri: such as ``s3://bucket/prefix``; keys, region and endpoint come from the environment, as those of the
            store's own tools.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        with _told(f"cannot use {uri}", UsageError):
            from obstore.store import from_url

            # Whoever configures an endpoint of http: means it.
            options: Any = {"timeout": _PATIENCE, "allow_http": True}
            self.store: ObjectStore = from_url(quote(uri, safe=":/?&=+@%"), client_options=options)

    def names(self, below: str = "") -> Iterator[tuple[str, int]]:
        """See :class:`Place`."""
        with _told(f"cannot list {self.uri}", UsageError):
            for chunk in self.store.list(below or None, chunk_size=1000):
                yield from ((found["path"], found["size"]) for found in chunk)

    def size(self, name: str) -> int | None:
        """See :class:`Place`."""
        with _told(f"cannot read {self.uri}/{name}", ImageError):
            try:
                return self.store.head(name)["size"]
            except FileNotFoundError:
                return None

    def read(self, name: str, most: int = MAX_BYTES) -> bytes:
        """See :class:`Place`."""
        with _told(f"cannot read {self.uri}/{name}", ImageError):
            found = self.store.get(name)
            if found.meta["size"] <= most:
                return found.bytes().to_bytes()
        raise ImageError(f"{self.uri}/{name} has more than {most:,} bytes and is not read (--max-bytes)")

    def create(self, name: str, data: bytes) -> bool:
        """See :class:`Place`."""
        with _told(f"cannot write {self.uri}/{name}", OutputError):
            from obstore.exceptions import AlreadyExistsError

            try:
                self.store.put(name, data, mode="create")
            except AlreadyExistsError:
                return False
            return True

    def open(self, name: str) -> Any:
        """See :class:`Place`."""
        from pyarrow import PythonFile

        with _told(f"cannot read {self.uri}/{name}", UsageError):
            return PythonFile(_Ranges(self.store, name), "r")

    def put(self, name: str, file: Path) -> None:
        """See :class:`Place`."""
        with _told(f"cannot write {self.uri}/{name}", OutputError):
            self.store.put(name, file)
        file.unlink()


class _Ranges(RawIOBase):
    """An object as a file, of which each read asks for what it needs."""

    def __init__(self, store: "ObjectStore", name: str) -> None:
        self._store, self._name, self._at = store, name, 0
        self._size = store.head(name)["size"]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        self._at = offset + {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._at + size, self._size)
        data = self._store.get_range(self._name, start=self._at, end=end).to_bytes() if end > self._at else b""
        self._at += len(data)
        return data


@contextmanager
def _told(what: str, kind: Callable[[str], MSRNError]) -> Generator[None]:
    """Give whatever an object store or the system raises the form of our errors; it explains itself at length."""
    try:
        yield
    except (MSRNError, ImportError):
        raise
    except Exception as error:
        raise kind(f"{what}: {reason(error).partition(' Debug source:')[0]}") from error
