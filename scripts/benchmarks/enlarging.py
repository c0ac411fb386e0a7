"""What enlarging beyond 4 does best: PSNR of several ways in dB, on luminance.

    python scripts/benchmarks/enlarging.py FOLDER [--weights msrn-m4r1s2-sr] [--scales 6 8]

FOLDER holds clean pictures, of which the middle 240×240 pixels are reduced by MATLAB's bicubic kernel to 8 bits, and
enlarged again. Ways are written as steps: ``n4·n2`` is the network by 4, then by 2; ``n4·b2`` ends in bicubic
interpolation. With ``each``, every step's result is moved until it comes back to that step's input, to one grey level,
when it is reduced; with ``end``, the last one until it comes back to the small picture. The last column says how many
values of the small picture the result departs from by more than a level, on average.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msrn import images
from msrn.evaluation.metrics import psnr
from msrn.images.color import luminance
from msrn.images.folder import list_images
from msrn.images.picture import to_uint8
from msrn.images.resize import resize
from msrn.restoration.certificate.enlarging import back_project, reduced, written
from msrn.restoration.restorer import Restorer

Plane = NDArray[np.float32]
LEVEL = np.float32(255)
SIDE = 240
"""Of the part of each picture that is looked at."""


def ways(scale: float) -> dict[str, tuple[str, list[tuple[str, float]]]]:
    """What is kept, and the steps of each way: ``n`` for the network, ``b`` for bicubic, and the factor."""
    rest = scale / 4
    after, soft = [("n", 4.0), ("n", rest)], [("n", 4.0), ("b", rest)]
    return {
        f"b{scale:g}": ("", [("b", scale)]),
        f"n{scale:g}": ("", [("n", scale)]),
        f"n{scale:g}, end": ("end", [("n", scale)]),
        f"n4·b{rest:g}": ("", soft),
        f"n4·b{rest:g}, end": ("end", soft),
        f"n4·n{rest:g}": ("", after),
        f"n4·n{rest:g}, end": ("end", after),
        f"n4·n{rest:g}, each": ("each", after),
        f"n{rest:g}·n4": ("", after[::-1]),
    }


def enlarged(restorer: Restorer, small: Plane, side: int, kept: str, steps: list[tuple[str, float]]) -> Plane:
    """A plane ``(1, h, w)`` enlarged by steps to a side, and moved to what is kept."""
    plane = small
    for number, (kind, factor) in enumerate(steps, start=1):
        to = side if number == len(steps) else round(plane.shape[1] * factor)
        larger: Plane = resize(plane, size=(to, to))
        if kind == "n":
            larger = restorer.restore_planes(larger[None])[0]
        plane = back_project(larger, plane * LEVEL, 16, 1.0) if kept == "each" else larger
    return back_project(plane, small * LEVEL, 16, 1.0) if kept == "end" else plane


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", default="msrn-m4r1s2-sr")
    parser.add_argument("--scales", nargs="+", type=float, default=[6, 8])
    options = parser.parse_args()
    restorer = Restorer(options.weights, precision="fp32")
    for scale in options.scales:
        print(f"\n| ×{scale:g} | PSNR | against b{scale:g}, least | departs |\n|---|---|---|---|", flush=True)
        table(restorer, options.folder, scale)


def table(restorer: Restorer, folder: Path, scale: float) -> None:
    """Rows of one scale."""
    scores: dict[str, list[tuple[float, float]]] = {}
    for path in list_images([folder]):
        picture = images.read(path)
        top, left = (picture.height - SIDE) // 2, (picture.width - SIDE) // 2
        part = picture.pixels[:, top : top + SIDE, left : left + SIDE]
        clean = luminance(part, "studio").astype(np.float32)
        small = to_uint8(resize(clean, 1 / scale)) / LEVEL
        for name, (kept, steps) in ways(scale).items():
            made = enlarged(restorer, small, SIDE, kept, steps)
            inside = (..., slice(int(scale), -int(scale)), slice(int(scale), -int(scale)))
            score = psnr(to_uint8(made)[inside], to_uint8(clean)[inside])
            back = reduced(written(made.clip(0, 1), 8), small.shape[1:])
            scores.setdefault(name, []).append((score, float((np.abs(back - small * LEVEL) > 1).mean())))
    plain = np.array([score for score, _ in scores[f"b{scale:g}"]])
    for name, found in scores.items():
        values, away = (np.array(each) for each in zip(*found, strict=True))
        gains = values - plain
        print(f"| {name} | {values.mean():.3f} | {gains.min():+.2f} | {100 * away.mean():.1f} % |", flush=True)


if __name__ == "__main__":
    main()
