"""How much memory restoring takes, measured in a process of its own that nothing else has grown.

``python -m tests.helpers.memory FOLDER`` computes with one thread and prints what it took as JSON.
"""

import ctypes
import gc
import json
import os
import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from tests.helpers.networks import identity_weights

from msrn import Picture, Restorer, images
from msrn.restoration.backends import Choice
from msrn.restoration.memory import pass_bytes
from msrn.system.machine import has_bf16

NAMES = ("msrn-m4r1s2-denoise", "msrn-m6r1s2-denoise")
CHOICES = [
    Choice(backend, precision)
    for backend, precision in (
        *(("openvino", "int8"), ("openvino", "int8-bf16"), ("openvino", "fp32"), ("openvino", "bf16")),
        ("eager", "fp32"),
    )
    if (backend != "openvino" or find_spec("openvino")) and ("bf16" not in precision or has_bf16())
]
"""What there is here; elsewhere bf16 is emulated."""
_SIDE = 256


def growth(work: Callable[[], object]) -> int:
    """Return the most bytes that were resident during some work, beyond those that were before it."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before = _resident("VmRSS")
    work()
    return _resident("VmHWM") - before


def _resident(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024


def of_the_whole_way(folder: Path) -> float:
    """Bytes for each pixel of the result that an enlargement from file to file takes."""
    restorer = Restorer(identity_weights("sr"), device="cpu", backend="eager", precision="fp32", tile=256)

    def way(side: int) -> None:
        images.write(Picture(np.zeros((3, side, side), np.float32)), folder / "in.bmp", overwrite=True)
        images.write(restorer(images.read(folder / "in.bmp"), scale=2), folder / "out.bmp", overwrite=True)

    way(64)  # everything is imported and started
    return growth(lambda: way(1000)) / 2000**2


def of_a_pass(name: str, choice: Choice) -> float:
    """Share of the estimate that one pass of a network takes."""
    restorer = Restorer(name, device="cpu", backend=choice.backend, precision=choice.precision, tile=_SIDE)
    restorer(Picture(np.full((1, 32, 32), 0.5, np.float32)))
    picture = Picture(np.full((1, _SIDE, _SIDE), 0.5, np.float32))
    return growth(lambda: restorer(picture)) / pass_bytes(restorer.config, _SIDE, choice)


def main(folder: Path) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one thread, before OpenVINO asks
    measured = {"whole way": of_the_whole_way(folder)}
    measured |= {f"{name}, {choice}": of_a_pass(name, choice) for name in NAMES for choice in CHOICES}
    sys.stdout.write(json.dumps(measured))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
