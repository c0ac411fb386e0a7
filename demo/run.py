"""Degrade three clean photographs, restore them, say what it gained, and draw one comparison sheet.

    python demo/run.py [OUT]

Each degraded photograph is written as an ordinary 8-bit file and read back: what is restored is what a user
would have, not what the degradation computed.
"""

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import msrn
from msrn.evaluation.metrics import psnr
from msrn.images.degradations import GaussianNoise
from msrn.images.picture import to_uint8
from msrn.images.resize import multiple_of, resize

PHOTOGRAPHS = Path(__file__).parent / "photographs"
# photograph, task, level, what to call it, corner of the crop on the sheet (as shares of height and width)
CASES = [
    ("chelsea", "sr", 3.0, "enlarged 3 times", (0.14, 0.22)),
    ("coffee", "denoise", 30.0, "noise, sigma 30", (0.20, 0.12)),
    ("astronaut", "jpeg", 10.0, "JPEG, quality 10", (0.06, 0.27)),
]
CROP, ZOOM, GAP, HEAD, FOOT = 150, 2, 12, 34, 30


def main(out: Path) -> None:
    """Run all cases and write everything to ``out``."""
    path = out / "comparison.png"
    sheet([restore(out, case, case[1]) for case in CASES]).save(path, optimize=True)
    print(f"comparison sheet: {path}")


def restore(out: Path, case: tuple[str, str, float, str, tuple[float, float]], weights: str) -> dict:
    """Degrade and restore one photograph; returns what a row of the sheet needs."""
    name, task, level, title, corner = case
    clean = msrn.read(PHOTOGRAPHS / f"{name}.png")
    restorer = msrn.Restorer(weights)
    bad_path, good_path = out / f"{name}_degraded.png", out / f"{name}_restored.png"
    if task == "sr":
        clean = clean.with_pixels(multiple_of(clean.pixels, int(level)))
        msrn.write(clean.with_pixels(resize(clean.pixels, 1 / level)), bad_path, overwrite=True)
    elif task == "denoise":
        noisy = GaussianNoise().apply(clean.pixels, level, np.random.default_rng(0))
        msrn.write(clean.with_pixels(noisy), bad_path, overwrite=True)
    else:
        bad_path = bad_path.with_suffix(".jpg")
        pixels = to_uint8(clean.pixels)
        bad_path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.moveaxis(pixels, 0, -1)).save(bad_path, quality=int(level))
    started = time.perf_counter()
    restored = restorer(msrn.read(bad_path), **({"scale": level} if task == "sr" else {}))
    seconds = time.perf_counter() - started
    msrn.write(restored, good_path, overwrite=True)
    bad, good = msrn.read(bad_path).pixels, msrn.read(good_path).pixels
    if task == "sr":  # what enlarging without the network gives
        bad = resize(bad, level).clip(0, 1)
    scores = [psnr(image * 255, clean.pixels * 255) for image in (bad, good)]
    print(f"{name:<10} {title:<17} {scores[0]:6.2f} dB -> {scores[1]:6.2f} dB   ({seconds:.1f} s)  {good_path}")
    return {"title": title, "corner": corner, "images": [bad, good, clean.pixels], "scores": scores}


def sheet(rows: list[dict]) -> Image.Image:
    """Draw degraded, restored and original crops side by side, a row for each photograph."""
    side = CROP * ZOOM
    size = (3 * side + 4 * GAP, HEAD + len(rows) * (side + FOOT) + GAP)
    drawn = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(drawn)
    font = ImageFont.load_default(17)
    for column, text in enumerate(("degraded", "restored", "original")):
        draw.text((GAP + column * (side + GAP) + side / 2, HEAD / 2), text, "black", font, anchor="mm")
    for index, row in enumerate(rows):
        top = HEAD + index * (side + FOOT)
        captions = [
            f"{row['title']}: {row['scores'][0]:.2f} dB",
            f"{row['scores'][1]:.2f} dB ({row['scores'][1] - row['scores'][0]:+.2f})",
            "",
        ]
        for column, (pixels, caption) in enumerate(zip(row["images"], captions, strict=True)):
            left = GAP + column * (side + GAP)
            drawn.paste(_crop(pixels, row["corner"]), (left, top))
            draw.text((left + side / 2, top + side + FOOT / 2), caption, "black", font, anchor="mm")
    return drawn


def _crop(pixels: np.ndarray, corner: tuple[float, float]) -> Image.Image:
    top, left = (int(share * length) for share, length in zip(corner, pixels.shape[1:], strict=True))
    part = to_uint8(pixels[:, top : top + CROP, left : left + CROP])
    image = Image.fromarray(np.moveaxis(part, 0, -1))
    return image.resize((CROP * ZOOM, CROP * ZOOM), Image.Resampling.NEAREST)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out"))
