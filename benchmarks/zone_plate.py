"""What is left of a zone plate: stripes of every direction and width, down to one pixel.

    python benchmarks/zone_plate.py [-w NAME ...] [--contrast 30] [--picture FILE]

512×512 pixels around grey level 128, whose frequency grows from the centre to the finest that pixels can show at the
edges; cloth, fences and print look so. It is degraded at several levels and restored: PSNR before and after in dB, and
after alone at σ 0, where nothing is to be done. Prints a Markdown table; docs/log.md keeps it. With ``--picture``, each
result at σ 15 or quality 90 is drawn below what came in.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from msrn import Restorer, weights
from msrn.degrade import degradation_for, to_uint8
from msrn.gratings import zone_plate
from msrn.metrics import psnr
from msrn.picture import FloatArray, Picture

SIDE = 512
LEVELS: dict[str, tuple[float, ...]] = {"denoise": (0, 5, 15, 30, 50), "jpeg": (10, 20, 40, 80, 90, 95)}
SHOWN = {"denoise": 15, "jpeg": 90}


def main() -> None:
    """Print a row for each weights file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [entry.name for entry in weights.CATALOGUE if entry.task in LEVELS]
    parser.add_argument("-w", "--weights", nargs="+", default=names, help="names or files; the catalogue's by default")
    parser.add_argument("--contrast", type=float, default=30, help="amplitude in grey levels")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    panels: list[FloatArray] = []
    for name in options.weights:
        restorer = Restorer(name)
        task = restorer.weights.card.task
        plate = zone_plate(SIDE, options.contrast).repeat(restorer.config.in_channels, axis=0)
        cells: list[str] = []
        for level in LEVELS[task]:
            damaged = degradation_for(task).apply(plate, level, np.random.default_rng(0))
            restored = restorer(Picture(damaged)).pixels
            before, after = (psnr(image, plate, data_range=1) for image in (damaged, restored))
            cells.append(f"{level:g}: {after:.1f}" if level == 0 else f"{level:g}: {before:.1f} → {after:.1f}")
            if level == SHOWN[task]:
                panels.append(np.concatenate([damaged[:1], restored[:1]], axis=1))
        print(f"| {restorer.weights.name} | {' | '.join(cells)} |", flush=True)
    if options.picture:
        Image.fromarray(to_uint8(np.concatenate(panels, axis=2))[0]).save(options.picture)


if __name__ == "__main__":
    main()
