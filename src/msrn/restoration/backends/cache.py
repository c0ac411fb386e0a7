"""Compiled models that are kept from one run to the next, so that the next run need not compile them.

A kept model is one file of the cache folder: a line of JSON that says what it is and the SHA-256 of the rest. One that
is missing, damaged or from another machine or version is built again; what happened goes to the log.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from msrn.errors import OutputError
from msrn.restoration.backends import Backend, Choice
from msrn.restoration.backends.openvino import OpenVINO
from msrn.system.atomic import reason, write_atomically
from msrn.system.machine import cache_folder, processor

logger = logging.getLogger(__name__)


def keep(choice: Choice, content: str, build: Callable[[], Backend], at_once: int = 1) -> Backend:
    """Return a model from the cache, or build it and put it there.

    Args:
        choice: OpenVINO and a precision.
        content: digest of the weights.
        build: makes it.
        at_once: how many calls at a time it shares out the cores to; see ``backends.create``.
    """
    key = {
        "processor": processor(),
        "openvino": version("openvino"),
        "graph": _graph(),
        "precision": choice.precision,
        "apart": str(at_once),
        "weights": content,
    }
    path = cache_folder() / f"model-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.bin"
    try:
        head, _, data = path.read_bytes().partition(b"\n")
        if json.loads(head) != {"key": key, "sha256": hashlib.sha256(data).hexdigest()}:
            raise ValueError("it is damaged")
        return OpenVINO.reopen(data, choice.precision, at_once)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, RuntimeError) as error:
        logger.info("%s cannot be used (%s): compiling again", path, reason(error))
    built = build()
    assert isinstance(built, OpenVINO)
    data = built.exported()
    head = json.dumps({"key": key, "sha256": hashlib.sha256(data).hexdigest()}).encode()
    try:
        write_atomically(path, lambda file: file.write(head + b"\n" + data))
    except OutputError as error:
        logger.info("the compiled model cannot be kept: %s; set MSRN_CACHE to a folder that can be written", error)
    return built


def _graph() -> str:
    """What decides the graph besides the weights: the code that makes it."""
    package = Path(__file__).parents[2]
    sources = [package / "network" / "graph.py", Path(__file__).with_name("openvino.py")]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
