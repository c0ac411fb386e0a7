"""Mutated files for every parser that strangers' files meet, from seeds of every kind.

``python -m tests.helpers.fuzz --seconds 3600 --seed 7`` goes on for an hour, ``--files 100000`` until so many images
were tried; each prints what it found as JSON. A file on which a decoder crashes or takes more than 20 s ends it; that
file is then in the folder of ``--keep``.
"""

import argparse
import faulthandler
import json
import math
import signal
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import imagecodecs
import numpy as np
import tifffile
from PIL import Image
from tests.helpers.networks import identity_weights
from tests.helpers.phones import heic, heic_grid, jpegxl, jpegxl_of_jpeg

from msrn import images
from msrn.batch.manifest import MANIFEST, Row, append, read
from msrn.errors import ImageError, WeightsError
from msrn.images.boxes import check_coded_size
from msrn.images.formats import Allowance
from msrn.images.isolated import decode_confined
from msrn.images.jpeg import jpeg_frame
from msrn.images.jpegxl import check_jpegxl
from msrn.images.png import checked_chunks, kept_chunks
from msrn.images.tiff import SIGNATURES as TIFF_SIGNATURES
from msrn.images.tiff import check_tiff
from msrn.network import weights

Target = tuple[list[bytes], Callable[[bytes], object], tuple[type[Exception], ...]]
"""Seeds, what parses a file, and the errors that it may end with."""
MAX_PIXELS = 10_000_000
SECONDS = 20


def _saved(image: Image.Image, file_format: str, **options) -> bytes:
    stream = BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def _tiff(samples, **options) -> bytes:
    stream = BytesIO()
    tifffile.imwrite(stream, samples, **options)
    return stream.getvalue()


def image_seeds() -> dict[str, bytes]:
    """Small files of every format and of every kind that takes a way of its own through the decoders."""
    rng = np.random.default_rng(0)
    color = Image.fromarray(rng.integers(0, 256, (24, 31, 3), np.uint8))
    deep = rng.integers(0, 65536, (24, 31, 3), dtype=np.uint16)
    exif = Image.Exif()
    exif[274], exif[271] = 6, "Maker"
    gray, palette, clear = color.convert("L"), color.quantize(16), color.convert("RGBA")
    clear.putalpha(gray)
    several = {"save_all": True, "append_images": [color.rotate(90), color.rotate(180)], "duration": 40}
    return {
        "png": _saved(color, "PNG", exif=exif, icc_profile=b"profile", dpi=(72, 72)),
        "png-gray": _saved(gray, "PNG"),
        "png-1": _saved(color.convert("1"), "PNG"),
        "png-palette": _saved(palette, "PNG", transparency=3),
        "png-rgba": _saved(color.convert("RGBA"), "PNG"),
        "png-16": imagecodecs.png_encode(deep),
        "jpeg": _saved(color, "JPEG", exif=exif, icc_profile=b"profile" * 9, quality=90),
        "jpeg-progressive": _saved(color, "JPEG", progressive=True, subsampling=0),
        "jpeg-gray": _saved(gray, "JPEG"),
        "jpeg-cmyk": _saved(color.convert("CMYK"), "JPEG"),
        "webp": _saved(color, "WEBP", quality=80, exif=exif),
        "webp-lossless": _saved(color.convert("RGBA"), "WEBP", lossless=True),
        "webp-animated": _saved(color, "WEBP", **several),
        "png-animated": _saved(color, "PNG", **several),
        "gif-animated": _saved(palette, "GIF", **several, loop=2, transparency=3),
        "tiff-pages": _saved(color, "TIFF", **several),
        "bmp": _saved(color, "BMP"),
        "gif": _saved(color, "GIF", comment=b"comment"),
        "gif-clear": _saved(palette, "GIF", transparency=3),
        "bmp-palette": _saved(palette, "BMP"),
        "tiff": _saved(color, "TIFF", exif=exif),
        "tiff-lzw": _saved(color, "TIFF", compression="tiff_lzw"),
        "tiff-jpeg": _saved(color, "TIFF", compression="jpeg"),
        "tiff-deflate": _saved(color, "TIFF", compression="tiff_adobe_deflate"),
        "tiff-packbits": _saved(palette, "TIFF", compression="packbits"),
        "tiff-group4": _saved(color.convert("1"), "TIFF", compression="group4"),
        "tiff-16-lzma": _tiff(deep, photometric="rgb", compression="lzma"),
        "tiff-16-zstd": _tiff(deep, photometric="rgb", compression="zstd"),
        "tiff-16-jpeg2000": _tiff(deep, photometric="rgb", compression="jpeg2000"),
        "tiff-webp": _tiff(np.asarray(color), photometric="rgb", compression="webp"),
        "tiff-16": _tiff(deep, photometric="rgb", compression="zlib", predictor=True),
        "tiff-16-tiles": _tiff(deep, photometric="rgb", tile=(16, 16), compression="lzw"),
        "tiff-16-png": _tiff(deep, photometric="rgb", tile=(16, 16), compression="png"),
        "tiff-16-jpegxl": _tiff(deep, photometric="rgb", compression="jpegxl"),
        "heic": heic(np.asarray(color), exif=exif.tobytes(), xmp=b"<x/>"),
        "heic-10": heic(deep, 10, quality=50, chroma=420),
        "heic-grid": heic_grid(rng.integers(0, 256, (64, 64, 3), np.uint8), 100, 90),
        "avif": _saved(color, "AVIF", exif=exif, icc_profile=b"profile"),
        "avif-rgba": _saved(clear, "AVIF"),
        "avif-12": bytes(imagecodecs.avif_encode(deep >> 4, level=90, bitspersample=12)),
        "jxl": jpegxl(np.asarray(color), orientation=6, primaries=11, exif=exif.tobytes(), xmp=b"<x/>"),
        "jxl-lossy": bytes(imagecodecs.jpegxl_encode(np.asarray(color), level=80)),
        "jxl-16": jpegxl(np.asarray(deep)),
        "jxl-jpeg": jpegxl_of_jpeg(_saved(color, "JPEG", exif=exif)),
        "tiff-float": _tiff(deep.astype(np.float32) / 65535, photometric="rgb"),
    }


def repaired(data: bytes) -> bytes:
    """A PNG with its checksums made right again, so that what was changed reaches the decoder."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    out, at = [data[:8]], 8
    while at + 12 <= len(data):
        length = min(struct.unpack(">I", data[at : at + 4])[0], len(data) - at - 12)
        body = data[at + 4 : at + 8 + length]
        out.append(data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + length
    return b"".join(out)


def flipped(data: bytes, rng: np.random.Generator, head: bool) -> bytes:
    """Up to eight bytes replaced, at the ``head``, where decoders take their decisions, or anywhere."""
    broken = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        broken[rng.integers(min(len(data), 300) if head else len(data))] = rng.integers(256)
    return bytes(broken)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """A file in which bytes were replaced, removed, doubled, or set to what counts and sizes overflow at."""
    kind = rng.integers(6)
    if kind < 3:
        return flipped(data, rng, head=kind == 0)
    start = int(rng.integers(len(data)))
    end = min(len(data), start + int(rng.integers(1, 65)))
    fillings = (b"", data[start:end] * 3, b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4), rng.bytes(8))
    return data[:start] + fillings[rng.integers(len(fillings))] + data[end:]


def parsers(folder: Path) -> dict[str, Target]:
    """What of ours reads images, weights and manifests: seeds, what parses a file, and what it may end with."""
    seeds = image_seeds()
    kinds = {kind: [data for name, data in seeds.items() if name.startswith(kind)] for kind in ("png", "jpeg", "tiff")}
    card = weights.save(identity_weights("sr"), folder, "identity").read_bytes()
    avif = [data for name, data in seeds.items() if name.startswith("avif")]
    heads = [data for name, data in seeds.items() if name.startswith("jxl")]
    append(folder, {"choices": {"a" * 64: "openvino int8"}})
    append(folder, Row("x.png", "b" * 64, "c" * 64, "d" * 64))
    rows = (folder / MANIFEST).read_bytes()

    def parse_card(data: bytes) -> None:
        (folder / "mutated.safetensors").write_bytes(data)
        weights.load_file(folder / "mutated.safetensors")

    def parse_manifest(data: bytes) -> None:
        (folder / MANIFEST).write_bytes(data)
        read(folder)

    def parse_tiff(data: bytes) -> None:
        with suppress(tifffile.TiffFileError, MemoryError, Image.DecompressionBombError):
            check_tiff(data, Allowance(MAX_PIXELS, 1 << 30))

    def parse_jpegxl(data: bytes) -> None:
        with suppress(MemoryError, Image.DecompressionBombError):
            check_jpegxl(data, folder, Allowance(MAX_PIXELS, 1 << 30))

    def parse_frames(data: bytes) -> None:
        frames = images.decode_frames(data, folder, max_pixels=MAX_PIXELS)
        assert all(np.isfinite(picture.pixels).all() for picture in islice(frames, 9))

    several = [data for name, data in seeds.items() if name.endswith(("animated", "pages"))]
    return {
        "frames and pages": (several, parse_frames, (ImageError,)),
        "chunks of PNG": (kinds["png"], lambda data: kept_chunks(checked_chunks(data)), (ValueError,)),
        "markers of JPEG": (kinds["jpeg"], jpeg_frame, (ValueError,)),
        "strips of TIFF": (kinds["tiff"], parse_tiff, (Exception,)),  # of any kind: other libraries take part
        "head of JPEG XL": (heads, parse_jpegxl, (ValueError, ImageError)),
        "boxes of AVIF": (avif, lambda data: check_coded_size(data, 31, 24), (ValueError,)),
        "weights": ([card], parse_card, (WeightsError,)),
        "manifest": ([rows], parse_manifest, ()),
    }


def fuzz_parsers(seed: int, seconds: float, targets: dict[str, Target]) -> Counter[str]:
    """Parse mutated files in turn; what is no error that a parser may end with is raised. Returns counts."""
    rng, counts = np.random.default_rng(seed), Counter[str]()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name, (seeds, parse, errors) in targets.items():
            data = mutated(seeds[rng.integers(len(seeds))], rng)
            try:
                parse(repaired(data) if rng.integers(2) else data)
                counts[f"{name}, parsed"] += 1
            except errors:
                counts[f"{name}, refused"] += 1
    return counts


def fuzz_images(seed: int, seconds: float, files: float, keep: Path) -> tuple[Counter[str], dict[str, float]]:
    """Decode mutated images, confined as a batch does it; a crash or a hang ends this process.

    Returns:
        Counts, and the worst of times.
    """
    rng, counts, worst = np.random.default_rng(seed), Counter[str](), dict[str, float]()
    seeds = image_seeds()
    names = sorted(seeds)
    covered = {name: covered_bytes(data) for name, data in seeds.items()}
    frames = {name: 2 if name.endswith(("animated", "pages")) else None for name in names}
    whole = {name: images.decode(seeds[name], Path("x"), frame=frames[name]).pixels for name in names if covered[name]}
    end = time.monotonic() + seconds
    while time.monotonic() < end and counts.total() < files:
        name = names[rng.integers(len(names))]
        single = bool(covered[name] and rng.integers(4) == 0)
        data = one_bit(seeds[name], rng, covered[name]) if single else mutated(seeds[name], rng)
        data = data if single or rng.integers(2) else repaired(data)
        (keep / "last").write_bytes(data)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        started = time.monotonic()
        try:
            picture = decode_confined(data, Path("x"), MAX_PIXELS, frames[name])
            counts[f"{name}, {'one bit, ' * single}read"] += 1
            assert np.isfinite(picture.pixels).all()
            if single:
                assert np.array_equal(picture.pixels, whole[name]), "a wrong pixel from a flipped bit"
        except ImageError:
            counts[f"{name}, {'one bit, ' * single}refused"] += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        worst[name] = max(worst.get(name, 0.0), round(time.monotonic() - started, 3))
    return counts, worst


def covered_bytes(data: bytes) -> range:
    """The bytes that a checksum covers: all of a PNG, and strips of a TIFF that are deflated, LZMA or PNG."""
    if data.startswith(b"\x89PNG"):
        return range(len(data))
    if data[:4] in TIFF_SIGNATURES:
        with tifffile.TiffFile(BytesIO(data)) as file:
            page = file.pages.first
            if page.compression in (8, 32946, 34925, 34933):
                return range(page.dataoffsets[0], page.dataoffsets[-1] + page.databytecounts[-1])
    return range(0)


def one_bit(data: bytes, rng: np.random.Generator, within: range) -> bytes:
    """A file with one bit of some bytes flipped."""
    broken = bytearray(data)
    broken[rng.integers(within.start, within.stop)] ^= 1 << int(rng.integers(8))
    return bytes(broken)


def main() -> None:
    """Fuzz for some time and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="in all, a tenth of it for our own parsers")
    parser.add_argument("--files", type=float, default=math.inf, help="end after so many images, however long it takes")
    parser.add_argument("--seed", type=int, default=0)
    kept = Path(gettempdir()) / "fuzz"
    parser.add_argument("--keep", type=Path, default=kept, help=f"folder for the file that is tried last ({kept})")
    arguments = parser.parse_args()
    arguments.keep.mkdir(parents=True, exist_ok=True)
    faulthandler.enable()
    from tests.helpers.fuzz_training import training_parsers  # imports torch

    with TemporaryDirectory() as folder:
        targets = parsers(Path(folder)) | training_parsers(Path(folder))
        parsed = fuzz_parsers(arguments.seed, 0.1 * arguments.seconds, targets)
    seconds = 0.9 * arguments.seconds if math.isinf(arguments.files) else math.inf
    counts, worst = fuzz_images(arguments.seed, seconds, arguments.files, arguments.keep)
    found = {"images": counts.total(), "parsed": parsed.total(), "slowest": max(worst.values())}
    print(json.dumps(found | {"of images": counts, "of parsers": parsed, "seconds": worst}, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
