"""Compile the kernels for this very processor, once, and keep them in the cache folder."""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from msrn.atomic import write_atomically
from msrn.errors import OutputError
from msrn.machine import cache_folder, instructions

logger = logging.getLogger(__name__)
SOURCE = Path(__file__).with_name("norm_relu.cpp")
_FLAGS = ("-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
_DIGEST = hashlib.sha256().digest_size
"""Bytes at the end of a kept library, which loaders ignore: the hash of those before."""
_PATIENCE = 120
"""Seconds a compiler may take; it should take one or two."""


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where there is no compiler for them; the log says so.

    They use the OpenMP of the process, which must have imported torch: they then share its threads.
    """
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    if sys.platform != "linux" or compiler is None:  # elsewhere, torch's OpenMP is not the compilers'
        logger.info("no C++ compiler for the training kernels: torch's own are used, which are slower")
        return None
    command = [*compiler.split(), *_FLAGS]
    key = "\0".join([SOURCE.read_text(encoding="utf-8"), *command, platform.machine(), *sorted(instructions())])
    kept = cache_folder() / f"kernels-{hashlib.sha256(key.encode()).hexdigest()[:16]}.so"
    with suppress(OSError):
        content = kept.read_bytes()
        if hashlib.sha256(content[:-_DIGEST]).digest() == content[-_DIGEST:]:  # half a library ends the process
            return ctypes.CDLL(str(kept))
    with tempfile.TemporaryDirectory(prefix="msrn-") as folder:
        built = Path(folder, "kernels.so")
        try:
            subprocess.run(
                [*command, str(SOURCE), "-o", str(built)], check=True, capture_output=True, text=True, timeout=_PATIENCE
            )
            loaded = ctypes.CDLL(str(built))  # stays, although its file goes
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            logger.info("%s cannot compile the training kernels, torch's own are used: %s", compiler, said.strip())
            return None
        try:
            content = built.read_bytes()
            write_atomically(kept, lambda file: file.write(content + hashlib.sha256(content).digest()))
            logger.info("the training kernels are kept in %s", kept)
        except OutputError as error:
            logger.info("the training kernels cannot be kept: %s", error)
    return loaded
