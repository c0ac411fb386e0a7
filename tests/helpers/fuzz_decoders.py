"""Mutated files for each native decoder that strangers' bytes reach, alone: nothing of ours checks them before.

``python -m tests.helpers.fuzz_decoders --seconds 120 --seed 5 --keep FOLDER`` gives each decoder so long in a process
of its own, with glibc's checks of the heap, and prints files, errors, crashes, hangs and the longest as JSON. The file
on which a decoder crashed is kept. ``--only jpegxr`` tries one.
"""

import argparse
import faulthandler
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image, ImageCms
from tests.helpers.fuzz import MAX_PIXELS, image_seeds, mutated, repaired

from msrn.images.formats import Allowance
from msrn.images.heif import decode_heic
from msrn.images.tiff import unpack_lzw

Decoder = tuple[list[bytes], Callable[[bytes], object]]
"""Seeds, and what decodes a file."""
SHAPE = (24, 31, 3)
HANG = 20
"""Seconds that no file may take."""
CHECKED = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
"""Lets glibc end a process whose heap was written to where it should not be."""


def decoders() -> dict[str, Decoder]:
    """The native decoders behind :mod:`msrn.images`, by name; and two that crash, which are no longer called."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 65536, SHAPE, dtype=np.uint16)
    smooth = np.add.outer(np.arange(24) * 900, np.arange(31) * 800).astype(np.uint16)[..., None].repeat(3, -1)
    small, packed = (noise >> 8).astype(np.uint8), smooth.tobytes()
    seeds = image_seeds()

    def named(*starts: str) -> list[bytes]:
        return [data for name, data in seeds.items() if name.startswith(starts)]

    def coded(codec: str, *options: dict[str, Any], images: tuple[Any, ...] = (noise, smooth)) -> list[bytes]:
        encode = getattr(imagecodecs, f"{codec}_encode")
        return [bytes(encode(image, **option)) for image in images for option in options or ({},)]

    def into_place(codec: str, depth: type = np.uint16) -> Callable[[bytes], object]:
        decode = getattr(imagecodecs, f"{codec}_decode")
        return lambda data: decode(data, out=np.empty(SHAPE, depth))

    def unpacked(codec: str) -> Decoder:
        decode = getattr(imagecodecs, f"{codec}_decode")
        return coded(codec, images=(packed, noise.tobytes())), partial(decode, out=len(packed))

    lossy, exact = {"level": 60}, {"lossless": True}
    bytes_only = (small, (smooth >> 8).astype(np.uint8))
    return {
        "jpegxr": (coded("jpegxr", {"level": 100}, lossy), into_place("jpegxr")),
        "jpeg2k": (coded("jpeg2k", {"level": 0}, {"level": 40}), into_place("jpeg2k")),
        "jpegxl": (coded("jpegxl", exact, lossy), into_place("jpegxl")),
        "jpegxl file": (named("jxl"), imagecodecs.jpegxl_decode),
        "jpegxl to jpeg": (named("jxl-jpeg"), partial(imagecodecs.jpegxl_decode_jpeg, numthreads=1)),
        "webp": (coded("webp", exact, lossy, images=bytes_only), into_place("webp", np.uint8)),
        "png": (coded("png"), imagecodecs.png_decode),
        "avif": (named("avif"), imagecodecs.avif_decode),
        "jpeg": (coded("jpeg8", lossy, images=bytes_only), imagecodecs.jpeg_decode),
        "lossless jpeg": (coded("ljpeg", images=(noise[..., 0], smooth[..., 0])), imagecodecs.jpeg_decode),
        "lzw": (unpacked("lzw")[0], partial(unpack_lzw, rows=SHAPE[0], width=SHAPE[1] * 6)),
        "lzw of imagecodecs": unpacked("lzw"),
        "packbits": unpacked("packbits"),
        "zstd": unpacked("zstd"),
        "lzma": unpacked("lzma"),
        "deflate": unpacked("zlib"),
        "brotli": unpacked("brotli"),
        "heif": (named("heic", "avif"), _heif),
        "colour profile": ([ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()], _profile),
        **{
            f"pillow {kind}": (named(kind), _pillow)
            for kind in ("png", "jpeg", "webp", "bmp", "gif", "avif", "tiff-lzw", "tiff-jpeg", "tiff-deflate")
        },
        "pillow fax": (named("tiff-group4"), _pillow),
        "pillow tiff": ([*named("tiff-packbits", "tiff-pages"), seeds["tiff"]], _pillow),
    }


def _pillow(data: bytes) -> None:
    with Image.open(BytesIO(data)) as image:
        for frame in range(min(3, getattr(image, "n_frames", 1))):
            image.seek(frame)
            np.asarray(image.convert("RGBA"))


def _heif(data: bytes) -> None:
    decode_heic(data, Path("x"), Allowance(MAX_PIXELS, 1 << 30))


def _profile(data: bytes) -> None:
    source, srgb = ImageCms.ImageCmsProfile(BytesIO(data)), ImageCms.createProfile("sRGB")
    ImageCms.profileToProfile(Image.new("RGB", (31, 24), (9, 99, 199)), source, srgb)


def _decode_mutated(decoder: Decoder, seed: int, end: float, last: Path, counts: Any) -> None:
    """Decode mutated files until the time is over; counts files, errors and the longest of all times."""
    seeds, decode = decoder
    rng = np.random.default_rng(seed)
    faulthandler.enable(file=last.with_suffix(".txt").open("w"))
    while (started := time.monotonic()) < end:
        data = repaired(mutated(seeds[rng.integers(len(seeds))], rng))
        last.write_bytes(data)
        try:
            decode(data)
        except Exception:  # other packages' errors are of any kind
            counts[1] += 1
        counts[0] += 1
        counts[2] = max(counts[2], time.monotonic() - started)


def fuzz(name: str, decoder: Decoder, seed: int, seconds: float, keep: Path) -> dict[str, Any]:
    """Let a decoder run in processes of its own until the time is over, or it has crashed ten times."""
    forked = multiprocessing.get_context("fork")
    counts: Any
    counts, crashes = forked.Array("d", 3, lock=False), list[str]()
    end = time.monotonic() + seconds
    while time.monotonic() < end and len(crashes) < 10:
        last = keep / f"{name.replace(' ', '-')}-{seed}-{len(crashes)}"
        child = forked.Process(target=_decode_mutated, args=(decoder, seed + 1000 * len(crashes), end, last, counts))
        child.start()
        child.join(end - time.monotonic() + HANG)
        if child.exitcode == 0:
            last.unlink()
            last.with_suffix(".txt").unlink()
        else:
            child.kill()
            crashes.append(f"ended by {child.exitcode}" if child.exitcode else f"over {HANG} s")
    files, errors, longest = counts
    return {"files": int(files), "errors": int(errors), "longest": round(longest, 2), "crashes": crashes}


def main() -> None:
    """Fuzz each decoder and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="for each decoder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="a decoder's name; again for others")
    parser.add_argument("--keep", type=Path, default=Path("/tmp"), help="folder for files that crash a decoder")
    arguments = parser.parse_args()
    if CHECKED.items() - os.environ.items():
        os.execvpe(sys.executable, [sys.executable, "-m", __spec__.name, *sys.argv[1:]], os.environ | CHECKED)
    arguments.keep.mkdir(parents=True, exist_ok=True)
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    for name, decoder in decoders().items():
        if name in (arguments.only or [name]):
            found = fuzz(name, decoder, arguments.seed, arguments.seconds, arguments.keep)
            print(json.dumps({name: found}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
