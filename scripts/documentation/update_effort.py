"""Draw the figure of docs/effort.md: a noisy photograph, and what fewer and more memory blocks make of it.

    python scripts/documentation/update_effort.py

Time is the processor's, of all cores together, for the whole photograph in fp32: the least of nine rounds, in each of
which every effort has its turn, as a share of that of all blocks. PSNR is over all channels of the whole photograph.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from panels import Panel, draw, part
from update_guide import PAGES, PHOTOGRAPHS, pair

import msrn
from msrn.evaluation.metrics import psnr
from msrn.images.picture import to_uint8

PHOTOGRAPH, CORNER, SIZE = "chelsea", (40, 60), (230, 377)
EFFORTS, ROUNDS = (1, 2, 4), 9


def decibels(picture: msrn.Picture, clean: msrn.Picture) -> float:
    """PSNR of a picture as a file of 8 bits holds it."""
    return psnr(to_uint8(picture.pixels).astype(float), to_uint8(clean.pixels))


def seconds(restorers: list[msrn.Restorer], picture: msrn.Picture) -> list[float]:
    """What each takes; the first round, which prepares this size, does not count."""
    taken: list[list[float]] = []
    for _ in range(1 + ROUNDS):
        taken.append([])
        for restorer in restorers:
            started = time.process_time()
            restorer(picture)
            taken[-1].append(time.process_time() - started)
    return [min(each) for each in zip(*taken[1:], strict=True)]


def main() -> None:
    """Write docs/images/effort.webp, and print what it says."""
    clean = msrn.read(PHOTOGRAPHS / f"{PHOTOGRAPH}.png")
    with TemporaryDirectory() as folder:
        noisy, _ = pair("denoise", clean, Path(folder))
    restorers = [msrn.Restorer("denoise", effort=effort, precision="fp32") for effort in EFFORTS]
    taken = seconds(restorers, noisy)
    panels = [Panel(part(noisy, *CORNER, *SIZE), ("noisy", f"{decibels(noisy, clean):.1f} dB"))]
    for effort, restorer, each in zip(EFFORTS, restorers, taken, strict=True):
        restored = restorer(noisy)
        share = "all of the time" if each == taken[-1] else f"{each / taken[-1]:.0%} of the time".replace("%", " %")
        words = f"effort {effort} of {EFFORTS[-1]}", f"{share}, {decibels(restored, clean):.1f} dB"
        print(*words, f"{each:.3f} s", sep="; ")
        panels.append(Panel(part(restored, *CORNER, *SIZE), words))
    draw([panels[:2], panels[2:]], PAGES / "effort.webp")


if __name__ == "__main__":
    main()
