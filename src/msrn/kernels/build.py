"""Compile the kernels for this very processor, once, and keep them in the cache folder."""

import ctypes
import hashlib
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from msrn.atomic import write_atomically
from msrn.errors import OutputError
from msrn.machine import cache_folder, instructions, processor

logger = logging.getLogger(__name__)
SOURCE = Path(__file__).with_name("norm_relu.cpp")
FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"),
    *("-shared", "-fPIC"),
)
_DIGEST = hashlib.sha256().digest_size
"""Bytes at the end of a kept library, which loaders ignore: the hash of those before."""
_PATIENCE = 120
"""Seconds a compiler may take; it should take one or two."""


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where they cannot be compiled; a warning says why.

    They use the OpenMP of the process, which must have imported torch: compiled by g++, they share its threads.
    """
    compiler = compiler_command()
    if not compiler:
        logger.warning("no C++ compiler for the training kernels: torch's own are used, which are slower")
        return None
    try:
        return _load(compiler)
    except (OSError, subprocess.SubprocessError) as error:
        said = [str(error), getattr(error, "stderr", None) or ""]
        logger.warning("no training kernels, torch's own are used, which are slower: %s", "\n".join(said).strip())
        return None


def compiler_command() -> list[str]:
    """The compiler, from ``$CXX`` or the usual names; nothing where torch's OpenMP is not the compilers'."""
    if sys.platform != "linux":
        return []
    return shlex.split(os.environ.get("CXX", "")) or [*filter(shutil.which, ("g++", "c++", "clang++"))][:1]


def _load(compiler: list[str]) -> ctypes.CDLL:
    command = [*compiler, *FLAGS]
    key = "\0".join([SOURCE.read_text(encoding="utf-8"), *command, processor(), *sorted(instructions())])
    kept = cache_folder() / f"kernels-{hashlib.sha256(key.encode()).hexdigest()[:16]}.so"
    with suppress(OSError):
        content = kept.read_bytes()
        whole = hashlib.sha256(content[:-_DIGEST]).digest() == content[-_DIGEST:]  # half of one ends the process
        if whole and _is_ours(kept) and _is_ours(kept.parent):
            return ctypes.CDLL(str(kept))
    with tempfile.TemporaryDirectory(prefix="msrn-", ignore_cleanup_errors=True) as folder:
        built = Path(folder, "kernels.so")
        _run([*command, str(SOURCE), "-o", str(built)])
        content = built.read_bytes()
        try:
            write_atomically(kept, lambda file: file.write(content + hashlib.sha256(content).digest()))
            logger.info("the training kernels are kept in %s", kept)
            if _is_ours(kept.parent):
                return ctypes.CDLL(str(kept))
        except OutputError as error:
            logger.info("the training kernels cannot be kept: %s", error)
        return ctypes.CDLL(str(built))  # stays, although its file goes


def _is_ours(path: Path) -> bool:
    """Whether nobody else can have put it there: it is about to be run."""
    status = path.stat()
    return status.st_uid in (0, os.getuid()) and not status.st_mode & 0o022


def _run(command: list[str]) -> None:
    """Run a compiler, which starts others: they end together, and no Ctrl-C for this program reaches them."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            _, said = process.communicate(timeout=_PATIENCE)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=said)
