"""Files that came in and results, kept on disk for whoever asks the same again, and never more than a limit."""

import os
import uuid
from collections import Counter, OrderedDict
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from msrn.errors import UsageError
from msrn.system.atomic import reason
from msrn.system.locks import locked
from msrn.system.private_files import private_folder


@contextmanager
def claimed(folder: Path) -> Generator[None]:
    """A folder for :class:`KeptFiles` that is one service's alone, as long as the block lasts.

    Strangers' pictures are nobody else's business: the folder is closed to other users.

    Raises:
        UsageError: another service has it, or another user could read, write or replace it.
        OutputError: it cannot be made or written to.
    """
    try:
        private_folder(folder).chmod(0o700)
    except OSError as error:
        raise UsageError(
            f"cannot keep files in {folder}: {reason(error)}; or choose another folder by --cache"
        ) from error
    with locked(folder, f"another service keeps its files in {folder}; choose another folder by --cache", UsageError):
        yield


class KeptFiles:
    """A folder of files by name; what was not used for longest goes first.

    Args:
        folder: this service's own; what an earlier one kept there is found again.
        most_bytes: how much is kept, beyond what is in use.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._used = Counter[str]()
        folder.mkdir(parents=True, exist_ok=True)
        self.discard_all()  # of a service that was killed
        for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime):
            if path.is_file() and not path.name.startswith("."):
                self._sizes[path.name] = path.stat().st_size
        self._make_room()

    @property
    def bytes(self) -> int:
        """How much is kept."""
        return sum(self._sizes.values())

    def temporary(self) -> Path:
        """A new name for a file that is being written; it becomes a kept one, or is removed at the next start."""
        return self.folder / f"part-{uuid.uuid4().hex}"

    def discard(self, temporary: Path) -> None:
        """Remove what was written beside a temporary file, by its name with more behind it."""
        for path in self.folder.glob(f"{temporary.name}-*"):
            path.unlink(missing_ok=True)

    def discard_all(self) -> None:
        """Remove all that is temporary."""
        for path in self.folder.glob("part-*"):
            path.unlink(missing_ok=True)

    def keep(self, temporary: Path, name: str) -> Path:
        """Give a complete file its name."""
        path = self.folder / name
        temporary.replace(path)
        self._sizes[name] = path.stat().st_size
        self._sizes.move_to_end(name)
        self._make_room(but=name)
        return path

    def find(self, name: str) -> Path | None:
        """A kept file, which counts as used just now."""
        path = self.folder / name
        if name not in self._sizes or not path.is_file():
            self._sizes.pop(name, None)
            return None
        self._sizes.move_to_end(name)
        with suppress(OSError):
            os.utime(path)
        return path

    @contextmanager
    def using(self, *names: str) -> Generator[None]:
        """Files that stay as long as the block lasts."""
        self._used.update(names)
        try:
            yield
        finally:
            self._used.subtract(names)
            self._used += Counter()
            self._make_room()

    def _make_room(self, but: str = "") -> None:
        """Remove what was not used for longest, until the rest fits."""
        kept = self.bytes
        for name in [name for name in self._sizes if name not in self._used and name != but]:
            if kept <= self.most_bytes:
                return
            kept -= self._sizes.pop(name)
            with suppress(OSError):
                (self.folder / name).unlink(missing_ok=True)
