"""What one run keeps for the next, such as timings and compiled models: each a file of the cache folder.

A file is a line of JSON, its key and the SHA-256 of the rest, and the rest. One that is missing, damaged or of another
key (machine, version, weights) is made again, and so is one in a folder that somebody else could have written to: a
compiled model is a program. What happened goes to the log.
"""

import hashlib
import json
import logging
import os
from functools import cache
from typing import Any, BinaryIO

from msrn.errors import OutputError
from msrn.system.atomic import reason, write_atomically
from msrn.system.machine import cache_folder
from msrn.system.private_files import SharedError, private_folder, read_private

logger = logging.getLogger(__name__)


class CachedFile:
    """One file of the cache folder.

    Args:
        kind: how its name begins.
        key: what decides its content.
    """

    def __init__(self, kind: str, key: dict[str, Any]) -> None:
        self._kind, self._key = kind, key
        self.path = cache_folder() / f"{kind}-{_digest(json.dumps(key).encode())[:16]}.bin"

    def read(self) -> bytes | None:
        """The content; None where there is none that can be used."""
        try:
            head, _, data = read_private(self.path).partition(b"\n")
            if json.loads(head) != {"key": self._key, "sha256": _digest(data)}:
                raise ValueError("it is damaged")
            return data
        except FileNotFoundError:
            pass
        except SharedError as error:
            _warn(reason(error))
        except (OSError, ValueError, RecursionError) as error:
            self.refuse(error)
        return None

    def refuse(self, error: Exception) -> None:
        """Tell why the file is not used."""
        logger.info("%s cannot be used (%s): making it again", self.path, reason(error))

    def write(self, data: bytes) -> None:
        """Keep the content, closed to others; where it cannot be written, that costs a line in the log."""
        head = json.dumps({"key": self._key, "sha256": _digest(data)}).encode()

        def write(file: BinaryIO) -> None:
            if os.name == "posix":
                os.fchmod(file.fileno(), 0o600)
            file.write(head + b"\n" + data)

        try:
            private_folder(self.path.parent)
            write_atomically(self.path, write)
        except SharedError as error:
            _warn(reason(error))
        except (OSError, OutputError) as error:
            why = f"{reason(error)}; set MSRN_CACHE to a folder that can be written"
            logger.info("the %s cannot be kept: %s", self._kind, why)


@cache
def _warn(why: str) -> None:
    """Tell once."""
    logger.warning("nothing is kept for the next run: %s", why)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
