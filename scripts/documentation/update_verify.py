"""Draw the figures of docs/verify.md: what is made of a JPEG and of a small photograph, and where each contradicts it.

    python scripts/documentation/update_verify.py

The JPEG has quality 30 and halved chroma; beside what `msrn dejpeg` makes of it without and with `--consistent`, it is
shown as libjpeg decodes it, and smoothed by Pillow's median of 3×3 pixels. The small photograph was reduced to a third
by the kernel that is checked, and is enlarged by Pillow's bicubic and by `msrn upscale` without and with
`--consistent`. Below each result is the map of `msrn verify --map`, as large as the result. PSNR, over all channels,
and counts and shares are of the whole photograph.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from panels import Panel, draw, part
from PIL import Image, ImageFilter
from update_effort import decibels
from update_guide import PAGES, PHOTOGRAPHS, pair

import msrn
from msrn.images.resize import multiple_of
from msrn.restoration.certificate import Departure

PHOTOGRAPH = "astronaut"
QUALITY, FACE, NARROW = 30, (0, 140), (230, 190)
SCALE, CORNER, SIZE = 3, (0, 140), (250, 250)


def main() -> None:
    """Write docs/images/verify_jpeg.webp and verify.webp, and print what `msrn verify` says."""
    clean = msrn.read(PHOTOGRAPHS / f"{PHOTOGRAPH}.png")
    with TemporaryDirectory() as folder:
        compressed(clean, Path(folder))
        enlarged(clean.with_pixels(multiple_of(clean.pixels, SCALE)), Path(folder))


def compressed(clean: msrn.Picture, folder: Path) -> None:
    """A JPEG, smoothed and restored."""
    path = folder / "photograph.jpg"
    msrn.write(clean, path, quality=QUALITY, subsampling="4:2:0")
    with Image.open(path) as image:
        smoothed = msrn.Picture.from_pil(image.convert("RGB").filter(ImageFilter.MedianFilter(3)))
    results = {
        "the JPEG": msrn.read(path),
        "median filter": smoothed,
        "msrn dejpeg": msrn.dejpeg(path),
        "--consistent": msrn.dejpeg(path, consistent=True),
    }
    rows = panels(clean, path, results, 1, (FACE, NARROW), lambda departure: f"{departure.outside:,} outside")
    draw(rows, PAGES / "verify_jpeg.webp")


def enlarged(clean: msrn.Picture, folder: Path) -> None:
    """A small photograph, enlarged."""
    _, plain = pair("upscale", clean, folder)
    small = folder / "upscale.png"
    with Image.open(small) as image:
        bicubic = msrn.Picture.from_pil(image.resize((clean.width, clean.height), Image.Resampling.BICUBIC))
    results = {
        "bicubic": bicubic,
        "msrn upscale": plain,
        "with --consistent": msrn.upscale(small, SCALE, consistent=True),
    }
    draw(panels(clean, small, results, SCALE, (CORNER, SIZE), share), PAGES / "verify.webp")


def share(departure: Departure) -> str:
    """What is outside, in words."""
    return f"{100 * departure.outside / departure.checked:.0f} % outside" if departure.outside else "none outside"


def panels(
    clean: msrn.Picture,
    source: Path,
    results: dict[str, msrn.Picture],
    scale: int,
    shown: tuple[tuple[int, int], tuple[int, int]],
    told: Callable[[Departure], str],
) -> tuple[list[Panel], list[Panel]]:
    """A row of results of a source, and one of maps that are smaller than these by a scale.

    ``shown`` is the corner and the size of what is shown, ``told`` what is said of each departure.
    """
    above, below = list[Panel](), list[Panel]()
    corner, size = shown
    for name, result in results.items():
        departure = msrn.verify(source, result)
        print(name, departure, sep=": ")
        above.append(Panel(part(result, *corner, *size), (name, f"{decibels(result, clean):.2f} dB")))
        seen = departure.picture().pixels.repeat(scale, axis=1).repeat(scale, axis=2)
        below.append(Panel(part(msrn.Picture(seen), *corner, *size), (told(departure),)))
    return above, below


if __name__ == "__main__":
    main()
