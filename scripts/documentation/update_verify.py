"""Draw the figure of docs/verify.md: a small photograph enlarged in three ways, and where each contradicts it.

    python scripts/documentation/update_verify.py

The photograph is reduced to a third by the kernel that is checked, and enlarged by Pillow's bicubic and by `msrn
upscale` without and with `--consistent`. Below each result is the map of `msrn verify --map`, as large as the result.
PSNR, over all channels, and shares are of the whole photograph.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from panels import Panel, draw, part
from PIL import Image
from update_effort import decibels
from update_guide import PAGES, PHOTOGRAPHS, pair

import msrn
from msrn.images.resize import multiple_of

PHOTOGRAPH, SCALE, CORNER, SIZE = "astronaut", 3, (0, 140), (250, 250)


def main() -> None:
    """Write docs/images/verify.webp, and print what `msrn verify` says."""
    photograph = msrn.read(PHOTOGRAPHS / f"{PHOTOGRAPH}.png")
    clean = photograph.with_pixels(multiple_of(photograph.pixels, SCALE))
    with TemporaryDirectory() as folder:
        _, plain = pair("upscale", clean, Path(folder))
        small = Path(folder) / "upscale.png"
        with Image.open(small) as image:
            bicubic = msrn.Picture.from_pil(image.resize((clean.width, clean.height), Image.Resampling.BICUBIC))
        results = {
            "bicubic": bicubic,
            "msrn upscale": plain,
            "with --consistent": msrn.upscale(small, SCALE, consistent=True),
        }
        found = {name: msrn.verify(small, result) for name, result in results.items()}
    above, below = list[Panel](), list[Panel]()
    for name, departure in found.items():
        print(name, departure, sep=": ")
        above.append(Panel(part(results[name], *CORNER, *SIZE), (name, f"{decibels(results[name], clean):.2f} dB")))
        seen = departure.picture().pixels.repeat(SCALE, axis=1).repeat(SCALE, axis=2)
        share = f"{100 * departure.outside / departure.checked:.0f} %" if departure.outside else "none"
        below.append(Panel(part(msrn.Picture(seen), *CORNER, *SIZE), (f"{share} outside",)))
    draw([above, below], PAGES / "verify.webp")


if __name__ == "__main__":
    main()
