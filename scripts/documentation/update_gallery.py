"""Make the pictures of docs/gallery.md: photographs of the demonstration before and after, at their own size.

    python scripts/documentation/update_gallery.py

They are parts of 440×300 pixels, cut where there is most to see, as WebP of quality 90.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from update_guide import PAGES, PHOTOGRAPHS, pair

import msrn
from msrn.images.resize import resize

WIDE, HIGH = 440, 300
# command, photograph, corner of the part as shares of height and width
CASES = [
    ("upscale", "chelsea", (0.0, 0.0)),
    ("denoise", "coffee", (0.1, 0.1)),
    ("dejpeg", "astronaut", (0.02, 0.1)),
    ("restore", "astronaut", (0.35, 0.05)),
]


def main() -> None:
    """Write docs/images/gallery_COMMAND_before.webp and _after.webp for each command."""
    with TemporaryDirectory() as folder:
        for command, photograph, corner in CASES:
            before, after = pair(command, msrn.read(PHOTOGRAPHS / f"{photograph}.png"), Path(folder))
            if command == "upscale":  # not as squares, but as a viewer enlarges
                small = before.pixels[:, ::3, ::3]
                before = before.with_pixels(resize(small, size=after.pixels.shape[1:]))
            for name, picture in (("before", before), ("after", after)):
                top, left = int(corner[0] * picture.height), int(corner[1] * picture.width)
                part = picture.to_pil().convert("RGB").crop((left, top, left + WIDE, top + HIGH))
                path = PAGES / f"gallery_{command}_{name}.webp"
                part.save(path, quality=90, method=6)
                print(path)


if __name__ == "__main__":
    main()
