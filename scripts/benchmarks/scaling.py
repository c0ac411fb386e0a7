"""Time per megapixel and peak memory from 0.25 to 64 megapixels, by the automatic choice.

    python scripts/benchmarks/scaling.py [-w sr] [--sides 512 1024 2048 4096 8192] [--memory]

Time is that of the network on one plane. Every second or so, between two tiles, a square of 1024×1024 is restored, and
the ratio to it is printed, so that a machine that slows down meanwhile does not look like an image that is too large.

``--memory`` measures whole pictures instead, in colour, each in a process of its own: the peak of its resident memory,
with Python, all libraries and the compiled model, less the bytes of the picture's pixels and the result's.
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

from msrn import Restorer
from msrn.images.picture import Picture

REFERENCE = 1024


def main() -> None:
    """Print one line for each side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-w", "--weights", default="sr")
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024, 2048, 4096, 8192])
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--gray", action="store_true", help="pictures of one plane (with --memory)")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()

    restorer = Restorer(options.weights, device="cpu")
    if options.child:
        print(_excess(restorer, options.sides[0], 1 if options.gray else 3) / 2**20)
        return
    print(restorer)
    if options.memory:
        for side in options.sides:
            command = [sys.executable, __file__, "-w", options.weights, "--sides", str(side), "--memory", "--child"]
            command += ["--gray"] if options.gray else []
            excess = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            print(f"{side:6}²  {float(excess):7.0f} MiB beyond picture and result")
        return
    for side in options.sides:
        taken, reference = _rates(restorer, side)
        print(f"{side:6}²  {taken:6.3f} s/megapixel  {taken / reference:5.3f} of that at {REFERENCE}²")


def _rates(restorer: Restorer, side: int) -> tuple[float, float]:
    """Seconds per megapixel of a square and of the reference, for at least ten seconds in turns."""
    rng = np.random.default_rng(0)
    planes, reference = (
        rng.random((1, restorer.config.in_channels, each, each), dtype=np.float32) for each in (side, REFERENCE)
    )
    restorer.restore_planes(planes[..., : 2 * REFERENCE, : 2 * REFERENCE])  # shapes of tiles are prepared once
    restorer.restore_planes(reference)
    own, others, runs, squares = 0.0, 0.0, 0, 0
    last = time.perf_counter()

    def between(share: float) -> None:
        nonlocal own, others, squares, last
        now = time.perf_counter()
        own += now - last
        if own > 3 * others:
            restorer.restore_planes(reference)
            squares += 1
            others += time.perf_counter() - now
        last = time.perf_counter()

    while own < 10:
        last = time.perf_counter()
        restorer.restore_planes(planes, between)
        runs += 1
    return own / runs / side**2 * 1e6, others / squares / REFERENCE**2 * 1e6


def _excess(restorer: Restorer, side: int, channels: int) -> int:
    """Bytes; the result of super-resolution is what is ``side`` pixels wide."""
    half = side // 2 if restorer.weights.card.task == "sr" else side
    picture = Picture(np.full((channels, half, half), 0.5, dtype=np.float32))
    result = restorer(picture)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return peak - picture.pixels.nbytes - result.pixels.nbytes


if __name__ == "__main__":
    main()
