"""What ``--consistent`` certifies, what it costs, and how far other results depart from their inputs.

    python scripts/benchmarks/certificate.py DATA [--small FOLDER --peer NAME]

DATA holds the folders ``classic5``, ``set5``, ``s14`` and ``bsd200``. The photographs are the colour pictures of these
in this order (those of bsd200 were trained on, which PSNR gains from; before and after alike). Every result is written
as PNG, read again and checked. Of JPEG files, the written result is also coded again by Pillow's libjpeg, with the
file's tables and sampling: "libjpeg agrees" counts those whose coefficients are the file's, every one. Seconds are
of one core, for a megapixel of results.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from msrn import images
from msrn.images import decode
from msrn.images.folder import list_images
from msrn.images.picture import Picture
from msrn.images.resize import multiple_of, resize
from msrn.restoration.certificate import Departure, keep_consistent, measure
from msrn.restoration.restorer import Restorer

QUALITIES, SCALES = (10, 30, 50, 70, 90), (2, 3, 4)
Pixels = NDArray[np.uint8]
Method = Callable[[Picture], Picture]


def pictures(folder: Path, mode: str) -> list[Image.Image]:
    """The pictures of a folder that are in colours, or gray."""
    opened = [Image.open(path) for path in list_images([folder])]
    return [image.copy() for image in opened if (image.mode == "L") == (mode == "L")]


def coded(image: Image.Image, quality: int, subsampling: str) -> bytes:
    """A JPEG file."""
    file = BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=subsampling)
    return file.getvalue()


def agrees(path: Path, data: bytes, subsampling: str) -> bool:
    """Whether libjpeg codes a written picture to a file's own coefficients."""
    file = BytesIO()
    Image.open(path).save(file, "JPEG", qtables=Image.open(BytesIO(data)).quantization, subsampling=subsampling)
    held, made = (
        decode(each, path, coefficients=True).metadata.jpeg.coefficients.components for each in (data, file.getvalue())
    )
    return all(np.array_equal(one.blocks, other.blocks) for one, other in zip(held, made, strict=True))


def written(picture: Picture) -> tuple[Path, Picture]:
    """A picture as its PNG file holds it."""
    path = Path(tempfile.gettempdir()) / "msrn-certificate.png"
    images.write(picture, path, overwrite=True)
    return path, images.read(path)


def psnr(picture: Picture, clean: Pixels) -> float:
    """Over all channels, in dB."""
    difference = picture.to_array().astype(np.float64) - clean
    return float(10 * np.log10(255**2 / np.mean(difference**2)))


class Tally:
    """What comes out for one row of a table."""

    def __init__(self) -> None:
        self.pictures = self.certified = self.agreeing = self.before = self.outside = self.checked = 0
        self.plain, self.kept = list[float](), list[float]()
        self.seconds = self.pixels = 0.0

    def add(self, source: Picture, made: Picture, clean: Pixels) -> Path:
        """Check a result, certify it, and check that; returns where it was written."""
        before = measure(source, written(made)[1])
        started = time.process_time()
        kept = keep_consistent(source, made)
        self.seconds += time.process_time() - started
        path, read = written(kept)
        after = measure(source, read)
        self.pictures, self.certified = self.pictures + 1, self.certified + after.consistent
        self.before, self.outside = self.before + before.outside, self.outside + after.outside
        self.checked, self.pixels = self.checked + after.checked, self.pixels + made.width * made.height / 1e6
        self.plain.append(psnr(made, clean))
        self.kept.append(psnr(read, clean))
        return path

    def row(self) -> str:
        """The columns of a table."""
        plain, kept = float(np.mean(self.plain)), float(np.mean(self.kept))
        least = min(b - a for a, b in zip(self.plain, self.kept, strict=True))
        return (
            f"{self.pictures} | {100 * self.before / self.checked:.2f} % | {self.outside} of {self.checked:,} | "
            f"{self.certified} | {plain:.2f} → {kept:.2f} ({kept - plain:+.3f}, least {least:+.3f}) | "
            f"{self.seconds / self.pixels:.1f}"
        )


def jpeg_files(title: str, chosen: list[Image.Image], sampling: str, restorer: Restorer) -> None:
    """A row for each quality."""
    for quality in QUALITIES:
        tally, agreeing = Tally(), 0
        for image in chosen:
            data = coded(image, quality, sampling)
            source = decode(data, Path("x.jpg"), coefficients=True)
            path = tally.add(source, restorer(source), np.asarray(image))
            agreeing += agrees(path, data, sampling)
        print(f"| {title} | {quality} | {tally.row()} | {agreeing} |", flush=True)


def enlargements(chosen: list[Image.Image], restorer: Restorer) -> None:
    """A row for each factor."""
    for scale in SCALES:
        tally = Tally()
        for image in chosen:
            clean = multiple_of(np.asarray(image).transpose(2, 0, 1), scale)
            small = Picture.from_array(resize(clean, 1 / scale).transpose(1, 2, 0))
            tally.add(small, restorer(small, scale=float(scale)), clean.transpose(1, 2, 0))
        print(f"| ×{scale} | {tally.row()} |", flush=True)


def by_pillow(change: Callable[[Image.Image], Image.Image]) -> Method:
    """What Pillow makes of a picture."""
    return lambda picture: Picture.from_pil(change(picture.to_pil()))


def compared(name: str, source: list[Picture], method: Method) -> None:
    """A row: how far a method's results depart."""
    found: list[Departure] = [measure(each, method(each)) for each in source]
    outside, checked = sum(each.outside for each in found), sum(each.checked for each in found)
    whole = sum(each.consistent for each in found)
    largest = max(each.largest for each in found)
    print(f"| {name} | {100 * outside / checked:.3f} % | {largest:.2f} | {whole} of {len(found)} |", flush=True)


def of_jpegs(chosen: list[Image.Image], restorer: Restorer) -> None:
    """What several methods make of the same JPEG files."""
    files = [decode(coded(each, 30, "4:2:0"), Path("x.jpg"), coefficients=True) for each in chosen]
    print("\n| JPEG files, q 30, 4:2:0 | coefficients outside | farthest, in steps | consistent |\n|---|---|---|---|")
    compared("as libjpeg decodes it", files, lambda each: Picture(each.pixels))
    compared("Pillow's median filter", files, by_pillow(lambda image: image.filter(ImageFilter.MedianFilter(3))))
    compared("`msrn dejpeg`", files, lambda each: Picture.from_array(restorer(each).to_array()))
    compared("`msrn dejpeg --consistent`", files, lambda each: keep_consistent(each, restorer(each)))


def of_small_pictures(chosen: list[Image.Image], restorer: Restorer, peer: str, folder: Path | None) -> None:
    """What several methods make of the same small pictures, which are written for peers to enlarge."""
    planes = [multiple_of(np.asarray(each).transpose(2, 0, 1), 4) for each in chosen]
    small = [Picture.from_array(resize(each, 0.25).transpose(1, 2, 0)) for each in planes]
    print("\n| enlarged ×4 | values outside | farthest, in levels | consistent |\n|---|---|---|---|")

    def larger(filtering: Image.Resampling) -> Method:
        return by_pillow(lambda image: image.resize((4 * image.width, 4 * image.height), filtering))

    compared("Pillow's bicubic", small, larger(Image.Resampling.BICUBIC))
    compared("Pillow's Lanczos", small, larger(Image.Resampling.LANCZOS))
    if folder is not None:
        for number, each in enumerate(small):
            images.write(each, folder / f"{number}.png", overwrite=True)
        made = iter(sorted(folder.glob("*_x4.png")))
        if peer:
            compared(peer, small, lambda _: images.read(next(made)))
    compared("`msrn upscale`", small, lambda each: Picture.from_array(restorer(each, scale=4.0).to_array()))
    compared("`msrn upscale --consistent`", small, lambda each: keep_consistent(each, restorer(each, scale=4.0)))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--photographs", type=int, default=50)
    parser.add_argument("--small", type=Path, help="folder for the small pictures 0.png, 1.png, …")
    parser.add_argument("--peer", default="", help="what has enlarged them to 0_x4.png, 1_x4.png, … there")
    parser.add_argument("--compare-only", action="store_true", help="print the last two tables only")
    options = parser.parse_args()
    gray = pictures(options.data / "classic5", "L")
    colored = [each for name in ("set5", "s14", "bsd200") for each in pictures(options.data / name, "RGB")]
    colored = colored[: options.photographs]
    jpeg, sr = Restorer("jpeg"), Restorer("sr")
    if not options.compare_only:
        certify(gray, colored, jpeg, sr)
    of_jpegs(colored[:20], jpeg)
    of_small_pictures(colored[:5], sr, options.peer, options.small)


def certify(gray: list[Image.Image], colored: list[Image.Image], jpeg: Restorer, sr: Restorer) -> None:
    """The tables of what is certified."""
    columns = "pictures | outside before | outside after | certified | PSNR | s/MP"
    print(f"| JPEG files | quality | {columns} | libjpeg agrees |\n|{'---|' * 9}")
    jpeg_files("Classic5, gray", gray, "4:4:4", jpeg)
    for sampling in ("4:4:4", "4:2:0"):
        jpeg_files(f"photographs, {sampling}", colored, sampling, jpeg)
    print(f"\n| enlarged | {columns} |\n|{'---|' * 7}")
    enlargements(colored, sr)


if __name__ == "__main__":
    main()
