"""How long each command takes for one photograph of a telephone, start of the program to written file.

    python scripts/benchmarks/photograph_seconds.py [--rounds 3] [--write]

The photograph has 4032×3024 pixels: those of the demonstration, mirrored side by side, with noise of σ 8 under a JPEG
of quality 80, so that `msrn restore` has work to do. It is enlarged from a quarter of these pixels. Each command runs
once before, so that models are compiled, as they are from the second picture on. Prints the median of wall seconds and
of processor seconds divided by the cores; on a machine that computes something else as well, the second is nearer to
what an idle one takes. `--write` puts it into docs/results/photograph.json, from which
`scripts/documentation/update_readme.py` writes the README's table.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from msrn.evaluation.speed import describe_machine

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "docs" / "results" / "photograph.json"
WIDTH, HEIGHT = 4032, 3024
COMMANDS = {"restore": (), "denoise": (), "dejpeg": (), "upscale": ("--scale", "2")}


def photograph(width: int, height: int) -> Image.Image:
    """A photograph of a size, made of the demonstration's, with a little noise."""
    parts = [Image.open(path).convert("RGB") for path in sorted((ROOT / "demo" / "photographs").glob("*.png"))]
    side = max(max(part.size) for part in parts)
    tile = np.concatenate([np.asarray(part.resize((side, side))) for part in parts], axis=1)
    tile = np.concatenate([tile, tile[::-1, ::-1]], axis=0)
    tile = np.concatenate([tile, tile[:, ::-1]], axis=1)
    times = -(-height // tile.shape[0]), -(-width // tile.shape[1]), 1
    pixels = np.tile(tile, times)[:height, :width]
    noise = np.random.default_rng(0).normal(0, 8, pixels.shape)
    return Image.fromarray((pixels + noise).round().clip(0, 255).astype(np.uint8))


def timed(command: str, source: Path, folder: Path) -> tuple[float, float]:
    """Wall seconds and processor seconds of one run."""
    words = [sys.executable, "-m", "msrn", command, str(source), "--output", str(folder / f"{command}.png")]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    before, started = os.times(), time.perf_counter()
    subprocess.run([*words, *COMMANDS[command], "--overwrite", "--quiet"], check=True, env=environment)
    wall, after = time.perf_counter() - started, os.times()
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, busy


def main() -> None:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help=f"put it into {RESULT.relative_to(ROOT)}")
    options = parser.parse_args()
    about = describe_machine()
    found: dict[str, Any] = {"kind": about.kind, "cores": about.cores, "load": about.load, "seconds": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photograph(WIDTH, HEIGHT).save(folder / "photo.jpg", quality=80)
        photograph(WIDTH // 2, HEIGHT // 2).save(folder / "small.jpg", quality=80)
        for command in COMMANDS:
            source = folder / ("small.jpg" if command == "upscale" else "photo.jpg")
            timed(command, folder / "small.jpg", folder)
            taken = [timed(command, source, folder) for _ in range(options.rounds)]
            wall, busy = (median(each) for each in zip(*taken, strict=True))
            found["seconds"][command] = {"wall": round(wall, 2), "processor": round(busy, 2)}
            print(f"{command:8} {wall:6.1f} s, {busy:6.1f} s of processor / {about.cores} = {busy / about.cores:.1f} s")
    print(f"{about.kind}, {about.cores} cores, load {about.load} before")
    if options.write:
        RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
