"""Draw the pictures of docs/guide.md: what each command makes of a damaged photograph of the demonstration.

    python scripts/documentation/update_guide.py

Each damaged photograph is a file of 8 bits that is read back, as a user would have it.
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import msrn
from msrn.images.degradations import GaussianNoise
from msrn.images.resize import resize

ROOT = Path(__file__).parents[2]
PHOTOGRAPHS, PAGES = ROOT / "demo" / "photographs", ROOT / "docs" / "images"
WIDE, HIGH, ZOOM, HEAD = 200, 130, 2, 26
# command, photograph, corner of the crop (as shares of height and width)
CASES = [
    ("upscale", "chelsea", (0.14, 0.22)),
    ("denoise", "coffee", (0.30, 0.12)),
    ("dejpeg", "astronaut", (0.02, 0.27)),
    ("restore", "astronaut", (0.55, 0.30)),
]


def main() -> None:
    """Write docs/images/guide_COMMAND.png for each command."""
    with tempfile.TemporaryDirectory() as name:
        for command, photograph, corner in CASES:
            before, after = pair(command, msrn.read(PHOTOGRAPHS / f"{photograph}.png"), Path(name))
            path = PAGES / f"guide_{command}.png"
            sheet(before, after, corner).quantize(255).save(path, optimize=True)
            print(path)


def pair(command: str, clean: msrn.Picture, folder: Path) -> tuple[msrn.Picture, msrn.Picture]:
    """A damaged photograph, and what a command makes of it."""
    rng, path = np.random.default_rng(0), folder / f"{command}.png"
    if command == "upscale":
        small = clean.with_pixels(resize(clean.pixels, 1 / 3))
        msrn.write(small, path)
        larger = msrn.upscale(path, 3)
        return small.with_pixels(np.repeat(np.repeat(small.pixels, 3, 1), 3, 2)), larger
    if command in ("denoise", "restore"):
        sigma = 30.0 if command == "denoise" else 10.0
        clean = clean.with_pixels(GaussianNoise().apply(clean.pixels, sigma, rng))
    if command in ("dejpeg", "restore"):
        path = path.with_suffix(".jpg")
        msrn.write(clean, path, quality=15 if command == "dejpeg" else 60, subsampling="4:2:0")
    else:
        msrn.write(clean, path)
    return msrn.read(path), getattr(msrn, command)(path)


def sheet(before: msrn.Picture, after: msrn.Picture, corner: tuple[float, float]) -> Image.Image:
    """The same part of both, side by side."""
    made = Image.new("RGB", (2 * WIDE * ZOOM + 8, HIGH * ZOOM + HEAD), "white")
    draw, font = ImageDraw.Draw(made), ImageFont.load_default(16)
    for number, (title, picture) in enumerate((("before", before), ("after", after))):
        top, left = int(corner[0] * picture.height), int(corner[1] * picture.width)
        part = picture.to_pil().convert("RGB").crop((left, top, left + WIDE, top + HIGH))
        x = number * (WIDE * ZOOM + 8)
        made.paste(part.resize((WIDE * ZOOM, HIGH * ZOOM), Image.Resampling.NEAREST), (x, HEAD))
        draw.text((x, 3), title, "black", font)
    return made


if __name__ == "__main__":
    main()
