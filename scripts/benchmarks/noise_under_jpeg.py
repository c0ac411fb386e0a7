"""How well noise under a JPEG is found, by the rule in use and by others: how ``rules.COVERED`` was chosen.

    python scripts/benchmarks/noise_under_jpeg.py FOLDER [--every 3] [--seed 0]

FOLDER holds clean pictures in colours that no network was trained on: the calibration part of
``unseen_photographs.py``. The middle of every third is damaged in each of CASES and restored by the fast networks for
photographs and for JPEGs. Prints a Markdown table: in how many cases each rule takes the former, by how many dB of RGB
PSNR that is ahead then, summed and at worst, and how many of them have no noise.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from photographs import as_file, noisy

from msrn import Restorer, read
from msrn.evaluation.metrics import psnr
from msrn.images.folder import list_images
from msrn.images.picture import FloatArray, to_uint8
from msrn.restoration import rules
from msrn.restoration.noise_level import covers_noise, looks_like_noise

SIDE = 224
CASES = (
    *((0, quality) for quality in (20, 40, 60, 75, 85, 92)),
    *((5, quality) for quality in (75, 85, 92)),
    *((8, quality) for quality in (60, 80)),
    *((12, quality) for quality in (50, 70, 90)),
    *((20, quality) for quality in (40, 60, 80)),
    *((30, quality) for quality in (40, 60, 80)),
)
"""σ and quality."""


class Case(NamedTuple):
    """A damaged picture, what the networks for photographs and JPEGs make of it, and how far the former is ahead."""

    sigma: float
    before: FloatArray
    cleaned: FloatArray
    deblocked: FloatArray
    ahead: float
    """In dB."""


def cases(folder: Path, every: int, rng: np.random.Generator) -> Iterator[Case]:
    """All damages of every so many pictures, with 4:2:0 and 4:4:4 in turns."""
    photo, jpeg = Restorer("photo"), Restorer("jpeg")
    pictures = [picture for path in list_images([folder]) if not (picture := read(path)).is_gray]
    for number, picture in enumerate(pictures[::every]):
        top, left = ((length - SIDE) // 2 for length in picture.pixels.shape[1:])
        clean = to_uint8(picture.pixels[:, max(0, top) :, max(0, left) :][:, :SIDE, :SIDE])
        for k, (sigma, quality) in enumerate(CASES):
            pixels = noisy(clean, sigma, rng) if sigma else clean
            damaged = as_file(pixels, quality, ("4:2:0", "4:4:4")[(number + k) % 2])
            cleaned, deblocked = photo(damaged).pixels, jpeg(damaged).pixels
            scores = [psnr(to_uint8(result), clean, data_range=255) for result in (cleaned, deblocked)]
            yield Case(sigma, damaged.pixels, cleaned, deblocked, scores[0] - scores[1])


def white(case: Case) -> bool:
    """The first rule: what is removed looks like noise."""
    least, kurtosis = rules.LOOKS_UNDER_JPEG
    return looks_like_noise(case.before, case.cleaned, least, kurtosis)


def covered(times: float, kurtosis: float) -> Callable[[Case], bool]:
    """The second rule: far more is removed than artifacts would be."""
    return lambda case: covers_noise(case.before, case.cleaned, case.deblocked, times, kurtosis)


def either(times: float, kurtosis: float) -> Callable[[Case], bool]:
    """Both rules together."""
    return lambda case: white(case) or covered(times, kurtosis)(case)


def main() -> None:
    """Print what each rule takes and gains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = list(cases(options.folder, options.every, np.random.default_rng(options.seed)))
    tried: dict[str, Callable[[Case], bool]] = {"white": white}
    for limits in ((1.8, 5.0), rules.COVERED, (1.5, 5.25)):
        said = f"{limits[0]:g} times, kurtosis below {limits[1]:g}"
        tried |= {said: covered(*limits), f"white, or {said}": either(*limits)}
    tried["whatever is better, with foresight"] = lambda case: case.ahead > 0
    print(f"| rule | taken, of {len(found)} | sum, dB | worst | without noise |\n|---|---|---|---|---|")
    for name, rule in tried.items():
        taken = [case for case in found if rule(case)]
        ahead = [case.ahead for case in taken]
        print(
            f"| {name} | {len(taken)} | {sum(ahead):.0f} | {min(ahead, default=0):.2f} "
            f"| {sum(case.sigma == 0 for case in taken)} |"
        )


if __name__ == "__main__":
    main()
