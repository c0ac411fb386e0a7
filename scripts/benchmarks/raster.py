"""A large raster enlarged within little memory, killed once in between, and compared with what is made in memory.

    python scripts/benchmarks/raster.py --size 20000

A GeoTIFF of so many pixels a side, one band of 8 bits, is enlarged by 2 with ``msrn upscale``; the command is killed
when a third of the windows is recorded, and given again. Printed are the seconds of both runs, the most memory that
either held (its decoders included), how far windows at random places differ from the same pixels restored in memory,
and what rasterio says of the result.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from msrn import Picture, Restorer
from msrn.images.resize import resize

AFFINE = rasterio.Affine(0.5, 0.0, 300_000.0, 0.0, -0.5, 5_700_000.0)
MARGIN = 64
"""Pixels of the scene around a window that is restored in memory: more than any halo, and a multiple of all squares."""


def main() -> None:
    """Do it for the size that the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=20_000, help="side of the scene in pixels")
    parser.add_argument("--samples", type=int, default=12, help="windows that are compared")
    parser.add_argument("--weights", default="sr", help="name or file of others, such as a smaller network's")
    parser.add_argument("--folder", type=Path, help="where the files are kept; by default they are removed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        source, target = Path(name) / "scene.tif", Path(name) / "scene_x2.tif"
        make_scene(source, given.size)
        print(f"scene of {given.size:,}×{given.size:,}, {source.stat().st_size / 1e9:.2f} GB", flush=True)
        killed = run(source, target, given.weights, kill=True)
        ended = run(source, target, given.weights)
        pixels = (2 * given.size) ** 2 / 1e6
        print(f"killed after {killed[0]:.0f} s with {killed[2]:,} windows recorded; then {ended[0]:.0f} s: {ended[3]}")
        print(f"{pixels / (killed[0] + ended[0]):.2f} MP/s of the result")
        print(f"most memory {max(killed[1], ended[1]) / 2**30:.2f} GiB")
        print(compare(source, target, given.weights, given.samples))


def make_scene(path: Path, side: int) -> None:
    """Write smooth noise, row of blocks by row of blocks."""
    rng, block = np.random.default_rng(0), 512
    shape = {"height": side, "width": side, "count": 1, "dtype": "uint8", "crs": "EPSG:32633", "transform": AFFINE}
    how = {"tiled": True, "blockxsize": block, "blockysize": block, "compress": "deflate", "bigtiff": "if_safer"}
    with rasterio.open(path, "w", driver="GTiff", **shape, **how) as file:
        for top in range(0, side, block):
            rows = min(block, side - top)
            small = rng.random((rows // 4 + 1, side // 4 + 1), np.float32)
            smooth = resize(small, 4)[:rows, :side] * 200 + 28
            file.write(smooth.clip(0, 255).astype(np.uint8), 1, window=Window(0, top, side, rows))


def run(source: Path, target: Path, weights: str, kill: bool = False) -> tuple[float, int, int, str]:
    """Run the command; returns seconds, bytes at most, windows recorded, and what it said."""
    command = [sys.executable, "-m", "msrn", "upscale", str(source), "-o", str(target), "--scale", "2"]
    command += ["--weights", weights, "--verbose"]
    began, most, windows = time.monotonic(), 0, (2 * rasterio.open(source).height // 1024) ** 2
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while process.poll() is None:
        most = max(most, held_by(process.pid))
        if kill and recorded(target.parent) >= windows / 3:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.2)
    _, said = process.communicate()
    if process.returncode != (-signal.SIGKILL if kill else 0):
        raise SystemExit(said)
    return time.monotonic() - began, most, recorded(target.parent), (said.splitlines() or [""])[-1]


def held_by(process: int) -> int:
    """Bytes that a process and its children hold at most so far."""
    total = 0
    for folder in [Path(f"/proc/{process}"), *Path("/proc").glob("[0-9]*")]:
        try:
            stat = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
            if int(folder.name) == process and folder.samefile(f"/proc/{process}"):
                total = max(total, int(stat["VmHWM"].split()[0]) * 1024)
            elif int(stat["PPid"]) == process:
                total += int(stat["VmHWM"].split()[0]) * 1024
        except (OSError, KeyError, ValueError):  # it has ended
            continue
    return total


def recorded(folder: Path) -> int:
    """Windows in the journal of the result that is being made."""
    journals = [*folder.glob(".msrn-*.raster/done.jsonl")]
    return journals[0].read_text().count("\n") - 1 if journals else 0


def compare(source: Path, target: Path, weights: str, samples: int) -> str:
    """How far windows of the result are from what is made of the same pixels in memory."""
    restorer, rng, most, off, count = Restorer(weights), np.random.default_rng(1), 0, 0, 0
    with rasterio.open(source) as scene, rasterio.open(target) as made:
        side = min(256, scene.height // 4)
        corners = rng.integers(0, (scene.height - side) // 4, (samples, 2)) * 4
        for top, left in [(0, 0), (scene.height - side, scene.width - side), *corners.tolist()]:
            above, before = min(top, MARGIN), min(left, MARGIN)
            wide = Window(left - before, top - above, side + before + MARGIN, side + above + MARGIN)
            pixels = scene.read(window=wide.intersection(Window(0, 0, scene.width, scene.height))) / np.float32(255)
            inner = slice(2 * above, 2 * (above + side)), slice(2 * before, 2 * (before + side))
            expected = restorer(Picture(pixels), scale=2).to_array(8)[inner].astype(int)
            found = made.read(1, window=Window(2 * left, 2 * top, 2 * side, 2 * side)).astype(int)
            most, off = max(most, np.abs(found - expected).max()), off + (found != expected).sum()
            count += found.size
        right = made.transform.almost_equals(rasterio.Affine(0.25, 0, AFFINE.c, 0, -0.25, AFFINE.f))
        known = {"crs": str(made.crs), "size": made.shape, "affine divided by 2": right, "driver": made.driver}
    return f"differs by at most {most} of 255, in {off / count:.1e} of the pixels; {json.dumps(known)}"


if __name__ == "__main__":
    main()
