"""What it is worth that chroma follows the restored luminance when a picture is enlarged: PSNR over R, G and B in dB.

    python scripts/benchmarks/chroma.py FOLDER

Two crops of 360×360 pixels of each picture are reduced, and enlarged with chroma by bicubic interpolation alone, along
with luminance (``restoration/guidance.py``), and with the original's chroma, which nothing can know. Prints a Markdown
table; docs/colour.md keeps it.
"""

import argparse
from pathlib import Path

import numpy as np

import msrn
from msrn.evaluation.metrics import psnr
from msrn.images.color import rgb_to_ycbcr, ycbcr_to_rgb
from msrn.images.degradations import degradation_for
from msrn.images.folder import list_images
from msrn.images.picture import to_uint8
from msrn.images.resize import multiple_of, resize
from msrn.types import Task

Pixels = np.ndarray
SIDE = 360
"""Of the crops."""
PLACES = ((0.5, 0.5), (0.25, 0.3))
"""Where they are, as shares of what is left of height and width."""


DAMAGE: dict[str, tuple[Task, float] | None] = {"clean": None, "JPEG 75": ("jpeg", 75), "noise 10": ("denoise", 10)}


def reduced(clean: Pixels, scale: int, damage: tuple[Task, float] | None) -> Pixels:
    """As a damaged file of 8 bits has it."""
    low = resize(clean, 1 / scale).clip(0, 1)
    if damage:
        low = degradation_for(damage[0]).apply(low, damage[1], np.random.default_rng(0))
    return to_uint8(low) / np.float32(255)


def crops(folder: Path) -> list[Pixels]:
    """RGB ``(3, H, W)`` of 0 to 1."""
    made: list[Pixels] = []
    for path in list_images([folder], nested=True):
        pixels = msrn.read(path).pixels
        if len(pixels) == 3:
            rest = [max(0, length - SIDE) for length in pixels.shape[1:]]
            for place in PLACES:
                top, left = (int(share * length) for share, length in zip(place, rest, strict=True))
                made.append(multiple_of(pixels[:, top : top + SIDE, left : left + SIDE], 12).astype(np.float32))
    return made


def scores(restorer: msrn.Restorer, clean: Pixels, low: Pixels, scale: int) -> tuple[float, float, float]:
    """PSNR with chroma interpolated, along with luminance, and true."""
    result = restorer(msrn.Picture(low), scale=scale).pixels
    y = rgb_to_ycbcr(result)[:1]
    alone = ycbcr_to_rgb(np.concatenate([y, resize(rgb_to_ycbcr(low)[1:], scale)]))
    true = ycbcr_to_rgb(np.concatenate([y, rgb_to_ycbcr(clean)[1:]]))
    alone, along, true = (psnr(pixels.clip(0, 1), clean, 1) for pixels in (alone, result, true))
    return alone, along, true


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-w", "--weights", default="sr")
    arguments = parser.parse_args()
    restorer = msrn.Restorer(arguments.weights, device="cpu", precision="fp32")
    originals = crops(arguments.folder)
    print(f"{len(originals)} crops\n")
    print("| | interpolated | along with luminance | true | gain: worst, mean, best | worse |")
    print("|---|---|---|---|---|---|")
    for name, damage in DAMAGE.items():
        for scale in (2, 3, 4):
            rows = []
            for clean in originals:
                rows.append(scores(restorer, clean, reduced(clean, scale, damage), scale))
            alone, along, true = np.mean(rows, axis=0)
            gains = np.subtract(*np.transpose(rows)[1::-1])
            spread = " / ".join(f"{gain:+.3f}" for gain in (gains.min(), gains.mean(), gains.max()))
            worse = f"{np.sum(gains < -0.005)} of {len(gains)}"
            print(f"| {name}, ×{scale} | {alone:.3f} | {along:.3f} | {true:.3f} | {spread} | {worse} |", flush=True)


if __name__ == "__main__":
    main()
