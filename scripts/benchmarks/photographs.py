"""What ``msrn restore`` does to photographs, screens and text as people have them: in files, damaged in several ways.

    python scripts/benchmarks/photographs.py FOLDER [--seed 0] [--only ROW ...] [--clean FOLDER ...] [--pictures FILE]

FOLDER holds clean pictures that no network was trained on, free of JPEG's traces; gray ones are left out. Each is
damaged, written as a file in memory, and restored as the command line would; scores are PSNR in dB over R, G and B of
8-bit pictures. Prints a Markdown table. ``--clean`` names more folders of clean pictures that must stay as they are;
``--pictures`` is a file for crops at 1:1 (clean, damaged, restored): the best, the median and the worst gain of every
row.
"""

import argparse
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from msrn.evaluation.metrics import psnr
from msrn.images.decode import decode, read
from msrn.images.degradations import GaussianNoise
from msrn.images.folder import list_images
from msrn.images.picture import Picture, to_uint8
from msrn.images.resize import resize
from msrn.restoration.automatic import Automatic

Pixels = np.ndarray
"""uint8 ``(3, H, W)``."""
CROP = 160
"""Side of the crops at 1:1."""
CLEAN_RMS = 0.5, 1.0
"""Grey levels by which a clean picture may be changed: rarely, and never."""


def as_file(pixels: Pixels, quality: int | None = None, subsampling: str = "4:2:0") -> Picture:
    """What is read from a PNG, or a JPEG of some quality."""
    file = io.BytesIO()
    image = Image.fromarray(np.moveaxis(pixels, 0, -1))
    if quality is None:
        image.save(file, "PNG", compress_level=1)
    else:
        image.save(file, "JPEG", quality=quality, subsampling=subsampling)
    return decode(file.getvalue(), Path("picture"))


def noisy(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """With white noise, clipped and rounded."""
    return to_uint8(GaussianNoise().apply(pixels / 255, sigma, rng))


def half(pixels: Pixels) -> Pixels:
    """Reduced to half of its sides."""
    return to_uint8(resize(pixels / 255, 0.5))


@dataclass(frozen=True)
class Damaged:
    """A damaged picture as it was read from its file, and what it was."""

    name: str
    picture: Picture
    clean: Pixels
    scale: float | None = None
    """Enlargement that restores the size of what it was."""


def noise_then_jpeg(name: str, pixels: Pixels, rng: np.random.Generator) -> Iterator[Damaged]:
    """What cameras do: noise of σ 5 to 25, then quality 80."""
    for low, high in ((5, 15), (15, 25)):
        sigma = rng.uniform(low, high)
        yield Damaged(f"{name}, σ {sigma:.0f}", as_file(noisy(pixels, sigma, rng), 80), pixels)


def half_then_jpeg(name: str, pixels: Pixels, rng: np.random.Generator) -> Iterator[Damaged]:
    """What the web does: half the size, quality 30 to 75."""
    small, quality = half(pixels), int(rng.integers(30, 76))
    yield Damaged(f"{name}, half size, quality {quality}", as_file(small, quality), small)


def twice_jpeg(name: str, pixels: Pixels, rng: np.random.Generator) -> Iterator[Damaged]:
    """Quality 30 to 75, cropped by some pixels, quality 50 to 90."""
    first, second = int(rng.integers(30, 76)), int(rng.integers(50, 91))
    top, left = (int(length) for length in rng.integers(1, 8, size=2))
    cropped = to_uint8(as_file(pixels, first).pixels)[:, top:, left:]
    yield Damaged(f"{name}, quality {first}, then {second}", as_file(cropped, second), pixels[:, top:, left:])


def to_enlarge(name: str, pixels: Pixels, rng: np.random.Generator) -> Iterator[Damaged]:
    """Half the size and quality 30 to 75, to be enlarged by 2 again."""
    even = pixels[:, : pixels.shape[1] // 2 * 2, : pixels.shape[2] // 2 * 2]
    quality = int(rng.integers(30, 76))
    yield Damaged(f"{name}, half size, quality {quality}", as_file(half(even), quality), even, scale=2)


def jpeg_alone(name: str, pixels: Pixels, rng: np.random.Generator) -> Iterator[Damaged]:
    """One JPEG of quality 10 to 92, with chroma in full for half of the draws."""
    for low, high in ((10, 50), (50, 93)):
        quality, full = int(rng.integers(low, high)), bool(rng.integers(2))
        way = "4:4:4" if full else "4:2:0"
        yield Damaged(f"{name}, quality {quality}, {way}", as_file(pixels, quality, way), pixels)


def noise_alone(name: str, pixels: Pixels, rng: np.random.Generator) -> Iterator[Damaged]:
    """Noise of σ 8 to 50 in a PNG."""
    for low, high in ((8, 20), (20, 50)):
        sigma = rng.uniform(low, high)
        yield Damaged(f"{name}, σ {sigma:.0f}", as_file(noisy(pixels, sigma, rng)), pixels)


def text_as_jpeg(name: str, pixels: Pixels, rng: np.random.Generator) -> Iterator[Damaged]:
    """Text and screens at quality 50."""
    yield Damaged(f"{name}, quality 50", as_file(pixels, 50), pixels)


ROWS: dict[str, tuple[str, Callable[[str, Pixels, np.random.Generator], Iterator[Damaged]]]] = {
    "noise-jpeg": ("noise σ 5–25, then JPEG 80", noise_then_jpeg),
    "half": ("half size, JPEG 30–75", half_then_jpeg),
    "twice": ("twice compressed", twice_jpeg),
    "enlarge": ("half size, JPEG 30–75, `-s 2` (degraded: bicubic)", to_enlarge),
    "jpeg": ("JPEG 10–92 alone", jpeg_alone),
    "noise": ("noise σ 8–50 alone", noise_alone),
    "text": ("text and screens, JPEG 50", text_as_jpeg),
}
CHECKS = ("quality", "clean", "colour")


@dataclass
class Row:
    """Scores of one kind of damage."""

    title: str
    before: list[float] = field(default_factory=list[float])
    after: list[float] = field(default_factory=list[float])
    names: list[str] = field(default_factory=list[str])
    crops: list[Pixels] = field(default_factory=list[Pixels])

    @property
    def gains(self) -> list[float]:
        """In dB, picture by picture."""
        return [after - before for before, after in zip(self.before, self.after, strict=True)]

    def __str__(self) -> str:
        gains, before, after = self.gains, np.mean(self.before), np.mean(self.after)
        worst = self.names[int(np.argmin(gains))]
        return (
            f"| {self.title} | {before:.2f} | {after:.2f} | {after - before:+.2f} | {min(gains):+.2f} ({worst}) | "
            f"{sum(gain < -0.005 for gain in gains)} of {len(gains)} |"
        )


def scored(title: str, cases: Iterator[Damaged], restore: Automatic) -> Row:
    """Restore all cases and score them."""
    row = Row(title)
    for case in cases:
        given = case.picture.pixels
        shown = to_uint8(given if case.scale is None else resize(given, size=case.clean.shape[1:]))
        chain = restore.settled(case.picture, case.scale, None)
        restored = to_uint8(chain(case.picture, scale=case.scale).pixels)
        row.before.append(psnr(shown, case.clean))
        row.after.append(psnr(restored, case.clean))
        row.names.append(f"{case.name}: {chain.note}")
        row.crops.append(np.concatenate([_centre(each) for each in (case.clean, shown, restored)], axis=2))
    return row


def _centre(pixels: Pixels) -> Pixels:
    top, left = (max(0, (length - CROP) // 2) for length in pixels.shape[1:])
    return pixels[:, top : top + CROP, left : left + CROP]


def told_quality(pictures: dict[str, Pixels], seed: int, restore: Automatic) -> str:
    """How many JPEG files' qualities are told exactly."""
    right, wrong = 0, list[str]()
    for number, (name, pixels) in enumerate(pictures.items()):
        rng = np.random.default_rng((seed, 100, number))
        for quality in rng.integers(1, 101, size=6):
            note = restore.settled(as_file(pixels, int(quality), "4:2:0"), None, None).note
            told = re.search(r"quality (\d+)", note)
            right += bool(told) and int(told[1]) == quality
            if not told or int(told[1]) != quality:
                wrong.append(f"{name} at {quality}: {note}")
    return f"JPEG files whose quality is told exactly: {right} of {right + len(wrong)}. {'; '.join(wrong[:3])}"


def left_alone(pictures: dict[str, Pixels], restore: Automatic) -> str:
    """How far clean pictures are changed."""
    changes: dict[str, float] = {}
    for name, pixels in pictures.items():
        picture = as_file(pixels)
        chain = restore.settled(picture, None, None)
        restored = to_uint8(chain(picture).pixels)
        rms = float(np.sqrt(np.mean((restored.astype(float) - pixels) ** 2)))
        changes[f"{name} ({chain.note})"] = rms
    some, most = (sum(rms > limit for rms in changes.values()) for limit in CLEAN_RMS)
    worst = sorted(changes, key=lambda name: -changes[name])[:6]
    named = "; ".join(f"{name} {changes[name]:.2f}" for name in worst if changes[name] > CLEAN_RMS[0])
    return (
        f"Clean pictures changed by more than {CLEAN_RMS[0]} grey levels RMS: {some} of {len(changes)}, "
        f"by more than {CLEAN_RMS[1]}: {most}. {named}"
    )


def colour_cast(pictures: dict[str, Pixels], seed: int, restore: Automatic) -> str:
    """Mean error of each channel after noise of σ 50, in 8-bit files."""
    errors: list[Pixels] = []
    for number, pixels in enumerate(pictures.values()):
        picture = as_file(noisy(pixels, 50, np.random.default_rng((seed, 101, number))))
        errors.append((restore(picture).pixels * 255 - pixels).mean(axis=(1, 2)))
    mean = ", ".join(f"{channel} {error:+.1f}" for channel, error in zip("RGB", np.mean(errors, axis=0), strict=True))
    return f"Mean error at σ 50 in grey levels: {mean}; of single pictures at most {np.abs(errors).max():.1f}"


def pages() -> dict[str, Pixels]:
    """Text and screens, in typefaces that training does not paint."""
    import matplotlib

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    words = "The quick brown fox jumps over the lazy dog, while 0123456789 (sphinx of black quartz) judge my vow."

    def page(face: str, size: int, ground: str, inks: list[str], boxes: bool = False) -> Pixels:
        image = Image.new("RGB", (560, 420), ground)
        pen, font = ImageDraw.Draw(image), ImageFont.truetype(fonts / face, size)
        if boxes:
            for k, ink in enumerate(inks):
                pen.rounded_rectangle((20 + 130 * k, 12, 130 + 130 * k, 12 + 2 * size), 6, fill=ink, outline="#333333")
                pen.text((34 + 130 * k, 16), "Continue", fill=ground, font=font)
            for k in range(12):
                pen.line((20, 80 + 28 * k, 540, 80 + 28 * k), fill="#a0a0a0")
        for k, top in enumerate(range(84 if boxes else 10, 400, 28 if boxes else round(1.4 * size))):
            pen.text((24 + 16 * (k % 3), top), words[5 * k % 40 :], fill=inks[k % len(inks)], font=font)
        return np.ascontiguousarray(np.moveaxis(np.asarray(image), -1, 0))

    return {
        "article": page("DejaVuSerif.ttf", 13, "#ffffff", ["#000000"]),
        "code": page("DejaVuSansMono.ttf", 12, "#1e1e2e", ["#cdd6f4", "#a6e3a1", "#f38ba8", "#89b4fa"]),
        "dialogue": page("DejaVuSans.ttf", 12, "#f0f0f0", ["#205080", "#b03020", "#207040", "#404040"], boxes=True),
        "small print": page("STIXGeneral.ttf", 10, "#fffbe8", ["#303030"]),
        "poster": page("DejaVuSans-Bold.ttf", 30, "#d02030", ["#ffffff", "#ffe040"]),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=[*ROWS, *CHECKS], default=[*ROWS, *CHECKS])
    parser.add_argument("--clean", type=Path, nargs="+", action="extend", default=[])
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    read_in = {path.stem: to_uint8(read(path).pixels) for path in list_images([options.folder])}
    pictures = {name: pixels for name, pixels in read_in.items() if len(pixels) == 3}
    restore, shown = Automatic(), list[Pixels]()
    print("| damage | degraded | restored | gain | worst gain | made worse |\n|---|---|---|---|---|---|")
    for number, (key, (title, damage)) in enumerate(ROWS.items()):
        if key not in options.only:
            continue
        drawn = enumerate((pages() if key == "text" else pictures).items())
        cases = (
            case
            for k, (name, pixels) in drawn
            for case in damage(name, pixels, np.random.default_rng((options.seed, number, k)))
        )
        row = scored(title, cases, restore)
        print(row, flush=True)
        by_gain = np.argsort(row.gains)
        shown += [row.crops[k] for k in (by_gain[-1], by_gain[len(by_gain) // 2], by_gain[0])]
    print()
    if "quality" in options.only:
        print(told_quality(pictures, options.seed, restore), flush=True)
    if "clean" in options.only:
        paths = [path for folder in options.clean for path in list_images([folder])]
        more = {f"{path.parent.name}/{path.stem}": to_uint8(read(path).pixels) for path in paths}
        halves = {f"{name}, half size": half(pixels) for name, pixels in pictures.items()}
        print(left_alone(pictures | halves | {name: np.repeat(p, 3 // len(p), 0) for name, p in more.items()}, restore))
    if "colour" in options.only:
        print(colour_cast(pictures, options.seed, restore), flush=True)
    if options.pictures and shown:
        sheet = np.concatenate(
            [np.pad(each, ((0, 0), (0, CROP - each.shape[1]), (0, 3 * CROP - each.shape[2]))) for each in shown], axis=1
        )
        Image.fromarray(np.moveaxis(sheet, 0, -1)).save(options.pictures)


if __name__ == "__main__":
    main()
