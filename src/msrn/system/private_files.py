"""Files that no other user of this machine can have written: what is kept in a cache and run later."""

import os
from pathlib import Path


class SharedError(OSError):
    """A file or folder that another user can write to."""


def read_private(path: Path) -> bytes:
    """Read a file that is this user's and closed to others, as is its folder; links are not followed.

    On Windows, where profiles are closed to others, any file is read.

    Raises:
        FileNotFoundError: there is none.
        SharedError: somebody else could have written it; says what to do.
        OSError: it cannot be read.
    """
    if os.name != "posix":
        return path.read_bytes()
    folder = _open(path.parent, os.O_DIRECTORY)
    try:
        _require_private(folder, path.parent)
        with os.fdopen(_open(path.name, os.O_NONBLOCK, folder), "rb") as file:
            _require_private(file.fileno(), path)
            return file.read()
    finally:
        os.close(folder)


def private_folder(path: Path, in_place: bool = False) -> Path:
    """Make a folder that is closed to others, unless it is there, and return it.

    Args:
        path: the folder; those around it are made as well.
        in_place: nobody else may be able to put another folder in its place either. For folders that are given on by
            their name, as what :func:`read_private` reads is looked at once it is open.

    Raises:
        SharedError: it is there, and others can write to it; or, ``in_place``, to a folder around it.
        OSError: it cannot be made, or is a link.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name != "posix":
        return path
    if in_place:
        path = path.parent.resolve() / path.name
        for parent in path.parents:
            _require_in_place(parent)
    folder = _open(path, os.O_DIRECTORY)
    try:
        _require_private(folder, path)
    finally:
        os.close(folder)
    return path


def _open(path: str | Path, flags: int, folder: int | None = None) -> int:
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=folder)


def _require_private(descriptor: int, path: Path) -> None:
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid():
        raise SharedError(f"{path} is another user's; set MSRN_CACHE to a folder of your own")
    if found.st_mode & 0o022:
        raise SharedError(f"other users can write to {path}; chmod go-w it once you trust what is there")


def _require_in_place(parent: Path) -> None:
    """Nobody else may rename what is in this folder: it is ours or the system's, and closed or, as ``/tmp``, sticky."""
    found = parent.stat()
    if found.st_uid not in (0, os.geteuid()):
        raise SharedError(f"{parent} is another user's; set MSRN_CACHE to a folder of your own")
    # Many systems give every user a group of the same number, whose only member is that user.
    others = 0o002 if found.st_uid == found.st_gid == os.geteuid() else 0o022
    if found.st_mode & others and not found.st_mode & 0o1000:
        raise SharedError(f"other users can write to {parent}, and rename what is in it; set MSRN_CACHE to another")
