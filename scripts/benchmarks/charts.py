"""What is left of test charts: stripes down to one pixel, lines, dots and letters, as screens, print and cloth have.

    python scripts/benchmarks/charts.py [-w NAME ...] [--precision P] [--picture FILE]

Each chart is degraded at several levels and restored: PSNR before and after in dB, of 8 bits as files hold them, and
after alone at σ 0, where nothing is to be done. Prints a Markdown table for each weights file; docs/experiments keeps
them. Below, the damaged charts that lost more than 1 dB are named; more than 60 dB count as 60, as some JPEGs keep a
chart without any error. The letters are of another typeface than those that training paints; the other kinds it paints,
too. With ``--picture``, results at σ 15 or quality 90 are drawn below what came in.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from msrn import Restorer
from msrn.evaluation.metrics import psnr
from msrn.images.degradations import degradation_for
from msrn.images.picture import FloatArray, Picture, to_uint8
from msrn.network import weights
from msrn.types import Precision, Task

SIDE = 256
LEVELS: dict[Task, tuple[float, ...]] = {"denoise": (0, 5, 15, 30), "jpeg": (20, 60, 90, 95)}
SHOWN = {"denoise": 15, "jpeg": 90}
EXACT = 60
"""dB that a chart without error counts as."""
SYMBOLS = {"denoise": "σ ", "jpeg": "quality "}
DAMAGES: dict[Task, tuple[Task, ...]] = {"denoise": ("denoise",), "jpeg": ("jpeg",), "photo": ("denoise", "jpeg")}
"""What a network of each task is tried on."""


def charts() -> dict[str, FloatArray]:
    """Each ``(1, SIDE, SIDE)`` float32 in [0, 1], whole grey levels."""
    y, x = np.mgrid[:SIDE, :SIDE]
    rings = np.cos(np.pi * ((x - SIDE // 2) ** 2 + (y - SIDE // 2) ** 2) / SIDE)  # as fine as pixels show at the edges
    rng = np.random.default_rng(0)
    stars = np.full((SIDE, SIDE), 10.0)
    stars[rng.integers(0, SIDE, 300), rng.integers(0, SIDE, 300)] = rng.uniform(60, 255, size=300)
    drawn = {
        "zone plate, ±30 grey levels": 128 + 30 * rings,
        "zone plate, ±90 grey levels": 128 + 90 * rings,
        "letters, black on white": _page("The quick brown fox jumps over the lazy dog 0123", 255, 0),
        "letters, light on dark": _page("def main(argv): return 0  # {x}[y] == z or (a, b)", 40, 170),
        "thin lines": np.where((x + 2 * y) % 17 == 0, 0, 230),
        "stars": stars,
        "chequered, 1 pixel": 128 + 40 * (-1.0) ** (x + y),
        "chequered, 4 pixels": 128 + 60 * (-1.0) ** (x // 4 + y // 4),
        "halftone": 128 + 100 * np.cos(2 * np.pi * (x + y) / 5) * np.cos(2 * np.pi * (x - y) / 5),
        "gradient": 255 * x / (SIDE - 1),
    }
    return {name: np.rint(chart)[None].astype(np.float32) / np.float32(255) for name, chart in drawn.items()}


def _page(line: str, ground: int, ink: int) -> FloatArray:
    image = Image.new("L", (SIDE, SIDE), ground)
    pen = ImageDraw.Draw(image)
    for row in range(20):
        pen.text((4, 4 + 12 * row), line, fill=ink, font=ImageFont.load_default_imagefont())
    return np.asarray(image, np.float64)


def restored(restorer: Restorer, chart: FloatArray, damage: Task, level: float) -> tuple[FloatArray, FloatArray]:
    """A chart degraded at a level and what becomes of it, ``(1, H, W)`` each."""
    planes = chart.repeat(restorer.config.in_channels, axis=0)
    degraded = degradation_for(damage).apply(planes, level, np.random.default_rng(0))
    return degraded[:1], restorer(Picture(degraded)).pixels[:1]


def table(restorer: Restorer, damage: Task) -> Iterator[FloatArray]:
    """Print what becomes of all charts; yield each before and after, side by side, at the level that is shown."""
    levels = LEVELS[damage]
    print(f"\n| {restorer.weights.name} | " + " | ".join(f"{SYMBOLS[damage]}{level:g}" for level in levels) + " |")
    print("|---" * (1 + len(levels)) + "|")
    worse: list[str] = []
    for title, chart in charts().items():
        cells: list[str] = []
        for level in levels:
            before, after = restored(restorer, chart, damage, level)
            scores = [psnr(to_uint8(image), to_uint8(chart), data_range=255) for image in (before, after)]
            cells.append(f"{scores[1]:.1f}" if level == 0 else f"{scores[0]:.1f} → {scores[1]:.1f}")
            if level > 0 and (loss := min(scores[0], EXACT) - min(scores[1], EXACT)) > 1:
                worse.append(f"{title} at {SYMBOLS[damage]}{level:g} ({-loss:.1f} dB)")
            if level == SHOWN[damage]:
                yield np.concatenate([before, after], axis=1)
        print(f"| {title} | " + " | ".join(cells) + " |", flush=True)
    print("\nMade worse by more than 1 dB:", "; ".join(worse) or "none")


def main() -> None:
    """Print a table for each weights file and kind of damage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [entry.name for entry in weights.CATALOGUE if entry.task in DAMAGES]
    parser.add_argument("-w", "--weights", nargs="+", default=names, help="names or files; the catalogue's by default")
    parser.add_argument("--precision", choices=get_args(Precision), default="auto", help="what is fastest by default")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    strips: list[FloatArray] = []
    for name in options.weights:
        restorer = Restorer(name, precision=options.precision)
        for damage in DAMAGES[restorer.weights.card.task]:
            strips += table(restorer, damage)
    if options.picture:
        Image.fromarray(to_uint8(np.concatenate(strips, axis=2))[0]).save(options.picture)


if __name__ == "__main__":
    main()
