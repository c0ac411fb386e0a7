"""What decoding takes of memory, beside what the picture takes that it becomes.

    python scripts/benchmarks/decoding_memory.py [--side 4000]

Each file is decoded as a batch decodes it, in a process that has decoded a small one of its kind before. Printed are
the most that process ever held at once, less what it held before, and that in parts of what the pixels need: four bytes
for each sample. The threshold is four parts. Linux only.
"""

import argparse
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import imagecodecs
import numpy as np
import pillow_heif
import tifffile
from PIL import Image

THRESHOLD = 4
MEASURED = """
import sys
from pathlib import Path
from msrn.images.isolated import decode_confined
small, large = (Path(name) for name in sys.argv[1:])
def held(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) << 10
decode_confined(small.read_bytes(), small)
data = large.read_bytes()
Path("/proc/self/clear_refs").write_text("5")
before = held("VmRSS")
picture = decode_confined(data, large)
samples = picture.pixels.size + (0 if picture.alpha is None else picture.alpha.size)
print(held("VmHWM") - before, 4 * samples)
"""


def main() -> None:
    """Print a row for each kind of file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=4000, help="of the picture, which has three quarters of the height")
    side = parser.parse_args().side
    small, large = scene(64), scene(side)
    print(f"| {side}×{side * 3 // 4} | pixels | at most | parts |\n|---|---|---|---|")
    worst = 0.0
    with TemporaryDirectory() as name:
        files = [Path(name, size) for size in ("small", "large")]
        for kind, encode in KINDS.items():
            for file, samples in zip(files, (small, large), strict=True):
                file.write_bytes(encode(samples))
            command = [sys.executable, "-c", MEASURED, *map(str, files)]
            said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            most, needed = map(int, said.split())
            worst = max(worst, most / needed)
            print(f"| {kind} | {needed / 1e6:.0f} MB | {most / 1e6:.0f} MB | {most / needed:.1f} |", flush=True)
    sys.exit(worst > THRESHOLD)


def scene(width: int) -> np.ndarray:
    """A picture ``(H, W, 4)`` of 16 bits with edges, gradients and grain."""
    height, rng = width * 3 // 4, np.random.default_rng(0)
    coarse = rng.integers(0, 65536, (8, 8, 4)).astype(np.float32)
    bands = [Image.fromarray(np.ascontiguousarray(coarse[..., band])) for band in range(4)]
    smooth = np.stack([np.asarray(band.resize((width, height))) for band in bands], -1)
    return np.clip(smooth + rng.normal(0, 800, smooth.shape), 0, 65535).astype(np.uint16)


def rgb(samples: np.ndarray) -> np.ndarray:
    """Without alpha."""
    return np.ascontiguousarray(samples[..., :3])


def _pillow(file_format: str, channels: int = 3, **options) -> Callable[[np.ndarray], bytes]:
    def encode(samples: np.ndarray) -> bytes:
        stream = io.BytesIO()
        kept = (samples[..., :channels] >> 8).astype(np.uint8).squeeze()
        Image.fromarray(kept).save(stream, file_format, **options)
        return stream.getvalue()

    return encode


def _tiff(dtype: type = np.uint16, **options) -> Callable[[np.ndarray], bytes]:
    def encode(samples: np.ndarray) -> bytes:
        stream = io.BytesIO()
        kept = rgb(samples) if dtype == np.uint16 else rgb(samples) / dtype(65535)
        tifffile.imwrite(stream, kept, photometric="rgb", **options)
        return stream.getvalue()

    return encode


def _heic(bits: int) -> Callable[[np.ndarray], bytes]:
    def encode(samples: np.ndarray) -> bytes:
        kept = rgb(samples) if bits > 8 else (rgb(samples) >> 8).astype(np.uint8)
        file, stream = pillow_heif.HeifFile(), io.BytesIO()
        mode = "RGB;16" if bits > 8 else "RGB"
        file.add_frombytes(mode, (samples.shape[1], samples.shape[0]), kept.tobytes())
        file.save(stream, quality=80)
        return stream.getvalue()

    return encode


def _jpegxl_of_jpeg(samples: np.ndarray) -> bytes:
    return bytes(imagecodecs.jpegxl_encode_jpeg(_pillow("JPEG", quality=90)(samples), usecontainer=True))


KINDS: dict[str, Callable[[np.ndarray], bytes]] = {
    "PNG": _pillow("PNG", compress_level=1),
    "PNG, gray": _pillow("PNG", 1, compress_level=1),
    "PNG, alpha": _pillow("PNG", 4, compress_level=1),
    "PNG, 16 bits": lambda samples: bytes(imagecodecs.png_encode(rgb(samples), level=1)),
    "JPEG": _pillow("JPEG", quality=90),
    "JPEG, progressive, whole chroma": _pillow("JPEG", quality=90, progressive=True, subsampling=0),
    "JPEG, gray": _pillow("JPEG", 1, quality=90, progressive=True),
    "WebP": _pillow("WEBP", quality=80, method=0),
    "WebP, lossless, alpha": _pillow("WEBP", 4, lossless=True, method=0),
    "BMP": _pillow("BMP"),
    "GIF": _pillow("GIF"),
    "TIFF": _pillow("TIFF"),
    "TIFF, deflated": _pillow("TIFF", compression="tiff_adobe_deflate"),
    "TIFF, LZW, alpha": _pillow("TIFF", 4, compression="tiff_lzw"),
    "TIFF, JPEG": _pillow("TIFF", compression="jpeg"),
    "TIFF, 16 bits": _tiff(),
    "TIFF, 16 bits, tiles, deflated": _tiff(tile=(256, 256), compression="zlib", predictor=True),
    "TIFF, 16 bits, JPEG XL": _tiff(compression="jpegxl", rowsperstrip=1 << 16),
    "TIFF, 32 bits": _tiff(np.float32),
    "TIFF, 64 bits, deflated": _tiff(np.float64, compression="zlib"),
    "HEIC": _heic(8),
    "HEIC, 10 bits": _heic(10),
    "AVIF": _pillow("AVIF", quality=80, speed=10),
    "AVIF, alpha": _pillow("AVIF", 4, quality=80, speed=10, subsampling="4:4:4"),
    "AVIF, 12 bits": lambda samples: bytes(
        imagecodecs.avif_encode(rgb(samples) >> 4, level=80, speed=10, bitspersample=12)
    ),
    "JPEG XL": lambda samples: bytes(
        imagecodecs.jpegxl_encode((rgb(samples) >> 8).astype(np.uint8), level=85, effort=3)
    ),
    "JPEG XL, 16 bits, lossless": lambda samples: bytes(
        imagecodecs.jpegxl_encode(rgb(samples), lossless=True, effort=3)
    ),
    "JPEG XL of a JPEG": _jpegxl_of_jpeg,
}


if __name__ == "__main__":
    main()
