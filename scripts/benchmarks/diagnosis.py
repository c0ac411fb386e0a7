"""What ``msrn restore`` finds in pictures of known damage, and what removing it gains.

    python scripts/benchmarks/diagnosis.py FOLDER [--every 10]

Noise is added to every n-th image of the folder, or it is compressed, at several levels; each row says what was found
and the gain in colour PSNR of removing it whatever the rules say: the median, and the worst image's. The images are cut
so that no JPEG lies on the grid of an earlier one.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from msrn import Restorer, images
from msrn.evaluation.metrics import psnr
from msrn.images.degradations import GaussianNoise, Jpeg
from msrn.images.folder import list_images
from msrn.images.picture import FloatArray, Picture
from msrn.restoration.diagnosis import Diagnosis, diagnose
from msrn.training.retouch import off_grid


def row(clean: list[Picture], degrade: Callable[[FloatArray], FloatArray], restorer: Restorer) -> str:
    """Found σ and quality, medians, and the gain."""
    found: list[Diagnosis] = []
    gains: list[float] = []
    for picture in clean:
        damaged = Picture(degrade(picture.pixels).astype(np.float32))
        found.append(diagnose(damaged))
        scores = [psnr(each.pixels, picture.pixels, data_range=1) for each in (damaged, restorer(damaged))]
        gains.append(scores[1] - scores[0])
    sigma = np.percentile([each.sigma for each in found], [10, 50, 90])
    qualities = [each.quality for each in found if each.quality is not None]
    quality = f"{np.median(qualities):.0f}" if qualities else "–"
    shown = f"{quality} ({len(qualities)} of {len(found)})"
    return f"{sigma[0]:.1f} / {sigma[1]:.1f} / {sigma[2]:.1f} | {shown} | {np.median(gains):+.2f} | {min(gains):+.2f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=10)
    options = parser.parse_args()

    paths = list_images([options.folder])[:: options.every]
    clean = [Picture(off_grid(images.read(path).pixels, number)) for number, path in enumerate(paths)]
    print(f"{len(clean)} images")
    print("| damage | found σ, 10 % / 50 % / 90 % | found quality | median gain, dB | worst |\n|---|---|---|---|---|")
    denoiser, deblocker = Restorer("denoise"), Restorer("jpeg")
    rng = np.random.default_rng(0)
    for sigma in (0.5, 2, 4, 8, 15, 30, 60):
        text = row(clean, lambda pixels, sigma=sigma: GaussianNoise().apply(pixels, sigma, rng), denoiser)
        print(f"| noise σ {sigma:g} | {text} |", flush=True)
    for quality in (10, 30, 50, 70, 80, 85, 90, 92, 95):
        text = row(clean, lambda pixels, quality=quality: Jpeg().apply(pixels, quality), deblocker)
        print(f"| JPEG quality {quality} | {text} |", flush=True)


if __name__ == "__main__":
    main()
