"""What every embedded weights file makes of a small picture, recorded; ``test_golden.py`` compares.

After a change that is meant to change results, ``python -m tests.helpers.golden`` records anew, on a processor with
VNNI: without it, 8-bit sums saturate and differ by several grey levels.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from msrn.network.catalogue import CATALOGUE, CatalogueRow

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests" / "restoration" / "golden.npz"
STEPS = 65535
"""Results are kept in steps of 1 / 65535, clipped to [0, 1]."""


def damaged(row: CatalogueRow) -> np.ndarray:
    """Return a crop of a photograph as the network should get it: ``(C, H, W)`` in [0, 1].

    Fast networks get colours, so that the way they go is seen too; larger ones for luminance get gray.
    """
    with Image.open(ROOT / "demo" / "photographs" / "astronaut.png") as photograph:
        eye = photograph.crop((192, 94, 240, 126))  # 48 × 32 pixels
        crop = eye.convert("L" if "m6" in row.name and not row.color else "RGB")
    if row.task == "sr":
        crop = crop.reduce(2)
    elif row.task == "jpeg":
        stream = BytesIO()
        crop.save(stream, "JPEG", quality=20)
        crop = Image.open(stream)
    pixels = np.asarray(crop, dtype=np.float32).reshape(crop.height, crop.width, -1).transpose(2, 0, 1) / 255
    if row.task == "denoise":  # white enough, and the same with every version of numpy
        count = np.arange(pixels.size, dtype=np.int64).reshape(pixels.shape)
        pixels += ((count * count * 7919 % 10007) / np.float32(10007) - np.float32(0.5)) * np.float32(0.3)
    return np.ascontiguousarray(pixels, dtype=np.float32)


def recorded() -> dict[str, np.ndarray]:
    """Return the recorded results by the weights' names, in 8 bit with ``-int8`` behind: ``(C, H, W)`` in [0, 1]."""
    with np.load(RECORDED) as file:
        return {name: file[name].astype(np.float32) / STEPS for name in file.files}


def record(results: dict[str, np.ndarray]) -> None:
    steps = {name: np.rint(pixels.clip(0, 1) * STEPS).astype(np.uint16) for name, pixels in results.items()}
    np.savez_compressed(RECORDED, allow_pickle=False, **steps)


def main() -> None:
    from msrn import Picture, Restorer

    results = {}
    for entry in CATALOGUE:
        picture = Picture(damaged(entry))
        exact = Restorer(entry.name, device="cpu", backend="eager", precision="fp32")
        results[entry.name] = exact(picture).pixels
        in_8_bit = Restorer(entry.name, device="cpu", backend="openvino", precision="int8")
        results[f"{entry.name}-int8"] = in_8_bit(picture).pixels
    record(results)


if __name__ == "__main__":
    main()
