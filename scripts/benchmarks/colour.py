"""What the colour rule is worth: colour PSNR (over R, G and B) of the alternatives, on images held out of training.

    python scripts/benchmarks/colour.py DATA_ROOT

Prints a Markdown table; docs/colour.md keeps it.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

import msrn
from msrn.evaluation.metrics import psnr
from msrn.images.color import rgb_to_ycbcr, ycbcr_to_rgb
from msrn.images.degradations import degradation_for
from msrn.images.folder import list_images, load_plane
from msrn.images.picture import to_uint8
from msrn.images.resize import multiple_of, resize
from msrn.restoration.automatic import BETTER
from msrn.training.loader import split
from msrn.training.retouch import off_grid
from msrn.types import Range

Image = np.ndarray
Method = Callable[[msrn.Restorer, Image], Image]


def planes(color_range: Range, restored: tuple[int, ...]) -> Method:
    """Restore some of the planes Y, Cb, Cr and keep the others."""

    def method(restorer: msrn.Restorer, image: Image) -> Image:
        ycbcr = rgb_to_ycbcr(image, color_range)
        for index in restored:
            ycbcr[index] = restorer.restore_planes(ycbcr[None, index : index + 1])[0, 0]
        return ycbcr_to_rgb(ycbcr, color_range)

    return method


def half_chroma(restorer: msrn.Restorer, image: Image) -> Image:
    """Restore Y as it is, Cb and Cr at half resolution, where 4:2:0 has its blocks, adding only what changed."""
    ycbcr = rgb_to_ycbcr(image, "full")
    small = resize(ycbcr[1:], 0.5)
    change = restorer.restore_planes(small[:, None])[:, 0] - small
    ycbcr[1:] += resize(change, size=image.shape[1:])
    ycbcr[:1] = restorer.restore_planes(ycbcr[None, :1])[0]
    return ycbcr_to_rgb(ycbcr, "full")


def rgb(restorer: msrn.Restorer, image: Image) -> Image:
    """Restore R, G and B apart."""
    return restorer.restore_planes(image[:, None])[:, 0]


def together(restorer: msrn.Restorer, image: Image) -> Image:
    """R, G and B by one network, the task's weights for colours."""
    return restorer.color_engine.restore(image[None])[0]


def joined(restorer: msrn.Restorer, image: Image) -> Image:
    """As before, but Y by the larger network for luminance."""
    return msrn.Restorer(BETTER["jpeg"], device="cpu", precision="fp32").color_engine.restore(image[None])[0]


METHODS: dict[str, Method] = {
    "Y, studio range": planes("studio", (0,)),
    "Y, full range": planes("full", (0,)),
    "Y, Cb and Cr, studio range": planes("studio", (0, 1, 2)),
    "Y, Cb and Cr, full range": planes("full", (0, 1, 2)),
    "the same, Cb and Cr at half resolution": half_chroma,
    "R, G and B apart": rgb,
    "R, G and B together": together,
    "the same, Y by the larger network": joined,
}
SIDE = 192
"""Of the centre crop that is scored."""
CASES = [("sr", 2), ("sr", 4), ("denoise", 15), ("denoise", 30), ("denoise", 50), ("jpeg", 10), ("jpeg", 30)]


def degraded(task: str, clean: Image, level: float, rng: np.random.Generator) -> Image:
    """As a user's 8-bit file would hold it."""
    if task == "sr":
        low = to_uint8(resize(clean, 1 / level)) / np.float32(255)
        return resize(low, size=clean.shape[1:])
    image = degradation_for(task).apply(clean, level, rng)
    return to_uint8(image) / np.float32(255)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data_root", type=Path)
    parser.add_argument("--task", choices=("sr", "denoise", "jpeg"), help="only this one")
    arguments = parser.parse_args()
    _, held_out = split(list_images([arguments.data_root / name for name in ("t91", "bsd200")]), 20)
    cases = [case for case in CASES if arguments.task in (None, case[0])]
    print("| | " + " | ".join(f"{task} {level}" for task, level in cases) + " |")
    print("|---" * (len(cases) + 1) + "|")
    table = {name: [] for name in ("degraded", *METHODS)}
    for task, level in cases:
        restorer = msrn.Restorer(task, device="cpu", precision="fp32")
        scores: dict[str, list[float]] = {name: [] for name in table}
        for index, path in enumerate(held_out):
            clean = load_plane(path, 3, "full").astype(np.float32) / np.float32(255)
            if task == "jpeg":
                clean = off_grid(clean, index)
            top, left = (max(0, (length - SIDE) // 2) for length in clean.shape[1:])
            clean = multiple_of(clean[:, top : top + SIDE, left : left + SIDE], 4)
            bad = degraded(task, clean, level, np.random.default_rng(index))
            scores["degraded"].append(psnr(bad, clean, 1))
            for name, method in METHODS.items():
                if method is together and restorer.color_engine is restorer.engine:
                    continue
                if method is joined and task != "jpeg":
                    continue
                scores[name].append(psnr(method(restorer, bad.copy()).clip(0, 1), clean, 1))
        for name, values in scores.items():
            table[name].append(float(np.mean(values)) if values else np.nan)
    for name, values in table.items():
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |")


if __name__ == "__main__":
    main()
