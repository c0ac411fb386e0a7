"""A thousand small images as a batch, against the engine alone on the same pixels.

    python scripts/benchmarks/batch.py [--images 1000] [--side 64] [--jobs 1] [--rounds 5]

Both enlarge by 2 with the default weights. The batch reads PNG files, writes PNG files and keeps its manifest; its time
is that of ``msrn upscale -r`` from the first file to the last (what starting Python and torch takes is printed apart).
The two take turns, and medians are compared: other work on the machine disturbs both alike.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from msrn import Restorer, images
from msrn.images.picture import Picture
from msrn.images.resize import resize


def main() -> None:
    """Print both throughputs and their ratio: medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=64, help="of each image, in pixels")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in")
        rng = np.random.default_rng(0)
        for index in range(options.images):
            smooth = resize(rng.random((3, options.side // 4, options.side // 4), np.float32), 4).clip(0, 1)
            images.write(Picture(smooth), source / f"{index % 10}" / f"{index}.png")

        restorer = Restorer("sr")
        pictures = [images.read(path) for path in sorted(source.rglob("*.png"))]
        for picture in pictures[:20]:
            restorer(picture)
        rounds = [
            (_engine(restorer, pictures), *_batch(source, Path(folder, str(k)), options)) for k in range(options.rounds)
        ]
    engine, batch, whole = (options.images / median(times) for times in zip(*rounds, strict=True))
    shares = sorted(alone / working for alone, working, _ in rounds)
    print(f"engine alone   {engine:8.2f} images/s")
    print(f"msrn upscale   {batch:8.2f} images/s, {median(shares):.1%} of the engine alone", end=" ")
    print(f"({shares[0]:.1%} to {shares[-1]:.1%} in {len(shares)} rounds)")
    print(f"with start-up  {whole:8.2f} images/s")


def _engine(restorer: Restorer, pictures: list[Picture]) -> float:
    started = time.perf_counter()
    for picture in pictures:
        restorer(picture)
    return time.perf_counter() - started


def _batch(source: Path, target: Path, options: argparse.Namespace) -> tuple[float, float]:
    """Seconds from the first file to the last, and with start-up."""
    command = [sys.executable, "-m", "msrn.cli", "upscale", str(source), "-r", "-o", str(target)]
    started = time.perf_counter()
    process = subprocess.run([*command, "-j", str(options.jobs)], capture_output=True, text=True, check=True)
    whole = time.perf_counter() - started
    match = re.search(r"(\d+) restored, .* in ([\d.]+) s", process.stderr)
    if match is None or int(match[1]) != options.images:
        raise SystemExit(process.stderr)
    return float(match[2]), whole


if __name__ == "__main__":
    main()
