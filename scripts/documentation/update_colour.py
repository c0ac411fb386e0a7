"""Draw the figure of docs/colour.md: strong colours enlarged, with chroma interpolated or along with luminance.

    python scripts/documentation/update_colour.py

PSNR is over R, G and B of what is shown.
"""

import numpy as np
from panels import Panel, draw, part
from PIL import Image
from update_guide import PAGES, PHOTOGRAPHS

import msrn
from msrn.evaluation.metrics import psnr
from msrn.images.color import rgb_to_ycbcr, ycbcr_to_rgb
from msrn.images.picture import to_uint8
from msrn.images.resize import multiple_of, resize

PHOTOGRAPH, SCALE = "coffee", 3
CORNER, SIZE = (120, 360), (120, 120)
MAGNIFIED = 3
"""Pixels of the figure to one, as a fringe is one or two wide."""


def main() -> None:
    """Write docs/images/chroma.webp, and print what it says."""
    clean = multiple_of(msrn.read(PHOTOGRAPHS / f"{PHOTOGRAPH}.png").pixels, SCALE).astype(np.float32)
    low = to_uint8(resize(clean, 1 / SCALE)) / np.float32(255)
    along = msrn.Restorer("sr", device="cpu", precision="fp32")(msrn.Picture(low), scale=SCALE).pixels
    planes = np.concatenate([rgb_to_ycbcr(along)[:1], resize(rgb_to_ycbcr(low)[1:], SCALE)])
    panels: list[Panel] = []
    for name, pixels in (
        ("as it was", clean),
        ("chroma interpolated", ycbcr_to_rgb(planes).clip(0, 1)),
        ("chroma along with luminance", along),
    ):
        shown, original = (part(msrn.Picture(each), *CORNER, *SIZE) for each in (pixels, clean))
        score = psnr(np.asarray(shown, np.float64), np.asarray(original))
        words = (name, "" if pixels is clean else f"{score:.2f} dB")
        print(*words)
        size = MAGNIFIED * shown.width, MAGNIFIED * shown.height
        panels.append(Panel(shown.resize(size, Image.Resampling.NEAREST), words))
    draw([panels], PAGES / "chroma.webp")


if __name__ == "__main__":
    main()
