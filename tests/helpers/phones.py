"""HEIC and JPEG XL, of which this program writes neither."""

import struct
from io import BytesIO

import imagecodecs
import numpy as np
import pillow_heif
from PIL import Image

from msrn.images.boxes import read_boxes

_SIDE = ((1, 9), (1, 13), (1, 18), (1, 30))


def heic(samples: np.ndarray, bits: int = 8, more: list[Image.Image] | None = None, **options) -> bytes:
    """``(H, W, 3)``, stored without loss: uint8, or uint16 of which so many bits are kept, with metadata."""
    file = pillow_heif.HeifFile()
    mode = "RGB" if samples.dtype == np.uint8 else "RGB;16"
    file.add_frombytes(mode, (samples.shape[1], samples.shape[0]), samples.tobytes())
    for image in more or []:
        file.add_from_pillow(image)
    file[0].info["thumbnails"] = options.pop("thumbnails", [])
    before, pillow_heif.options.SAVE_HDR_TO_12_BIT = pillow_heif.options.SAVE_HDR_TO_12_BIT, bits == 12
    try:
        stream = BytesIO()
        file.save(stream, **{"quality": -1, "chroma": 444, "matrix_coefficients": 0} | options)
    finally:
        pillow_heif.options.SAVE_HDR_TO_12_BIT = before
    return stream.getvalue()


def heic_grid(samples: np.ndarray, width: int, height: int) -> bytes:
    """A HEIC of 2×2 tiles, as phones write them: each is ``(64, 64, 3)``, and the last column and row are cut off."""
    boxes = dict(read_boxes(heic(samples)))
    inner = dict(read_boxes(boxes[b"meta"][4:]))
    properties = list(read_boxes(dict(read_boxes(inner[b"iprp"]))[b"ipco"]))
    properties.append((b"ispe", struct.pack(">3I", 0, width, height)))
    numbers = {name: number for number, (name, _) in enumerate(properties, 1)}
    tile, whole = bytes(range(1, len(properties))), bytes(numbers[name] for name in (b"colr", b"pixi", b"ispe"))
    used = [struct.pack(">HB", item, len(own)) + own for item, own in [*((k, tile) for k in _TILES), (5, whole)]]
    items = [_box(b"infe", struct.pack(">IHH5s", 2 << 24 | (item < 5), item, 0, kind)) for item, kind in _ITEMS]

    def head(start: int) -> bytes:
        places = [(k, 0, 1, start, len(boxes[b"mdat"])) for k in _TILES] + [(5, 0, 1, start + len(boxes[b"mdat"]), 8)]
        meta = {
            b"hdlr": inner[b"hdlr"],
            b"pitm": struct.pack(">IH", 0, 5),
            b"iloc": struct.pack(">IHH", 0, 0x4400, 5) + b"".join(struct.pack(">3H2I", *place) for place in places),
            b"iinf": struct.pack(">IH", 0, 5) + b"".join(items),
            b"iref": bytes(4) + _box(b"dimg", struct.pack(">6H", 5, 4, *_TILES)),
            b"iprp": _box(b"ipco", b"".join(_box(*each) for each in properties))
            + _box(b"ipma", struct.pack(">2I", 0, 5) + b"".join(used)),
        }
        content = bytes(4) + b"".join(_box(*each) for each in meta.items())
        return _box(b"ftyp", boxes[b"ftyp"]) + _box(b"meta", content)

    return head(len(head(0)) + 8) + _box(b"mdat", boxes[b"mdat"] + struct.pack(">4B2H", 0, 0, 1, 1, width, height))


_TILES = (1, 2, 3, 4)
_ITEMS = (*((k, b"hvc1") for k in _TILES), (5, b"grid"))
"""Items of a grid: their numbers and kinds."""


def _box(name: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + name + content


def jpegxl(samples: np.ndarray, bits: int | None = None, orientation: int = 1, primaries: int = 1, **boxes) -> bytes:
    """Samples stored without loss; ``exif`` and ``xmp`` in boxes of their own.

    libjxl's orientation and primaries cannot be reached from Python: they are written into the codestream's head.
    """
    data = bytes(imagecodecs.jpegxl_encode(samples, lossless=True, usecontainer=False, bitspersample=bits))
    if data[:2] != b"\xff\x0a":  # it came in boxes all the same
        data = b"".join(_codestream(data))
    if (orientation, primaries) != (1, 1):
        data = _with_head(data, orientation, primaries)
    if not boxes:
        return data
    exif, xmp = boxes.get("exif"), boxes.get("xmp")
    parts = [(b"JXL ", b"\r\n\x87\n"), (b"ftyp", b"jxl \0\0\0\0jxl "), (b"jxlc", data)]
    parts += [(b"Exif", bytes(4) + exif.removeprefix(b"Exif\0\0"))] if exif else []
    parts += [(b"xml ", xmp)] if xmp else []
    return b"".join(_box(name, content) for name, content in parts)


def _codestream(data: bytes):
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big") or len(data) - at
        if data[at + 4 : at + 8] in (b"jxlc", b"jxlp"):
            yield data[at + 8 + 4 * (data[at + 4 : at + 8] == b"jxlp") : at + size]
        at += size


def _with_head(data: bytes, orientation: int, primaries: int) -> bytes:
    """A codestream of 8 to 16 bits without alpha, with another orientation and primaries."""
    bits = [int(bit) for byte in data[2:1000] for bit in f"{byte:08b}"[::-1]]
    at = 0

    def read(count: int) -> int:
        nonlocal at
        at += count
        return sum(bit << k for k, bit in enumerate(bits[at - count : at]))

    def side(small: int) -> None:
        read(5) if small else read(_SIDE[read(2)][1])

    def written(value: int, count: int) -> list[int]:
        return [value >> k & 1 for k in range(count)]

    small = read(1)
    side(small)
    if not read(3):
        side(small)
    size = bits[:at]
    assert not read(1)  # not all by default
    extra = read(1)
    read(6 * extra)
    start = at
    assert not read(1)  # no floating point
    if read(2) == 3:
        read(6)
    read(1)
    assert not read(2)  # no more channels
    read(1)
    depth = bits[start:at]
    if not read(1):
        read(1)
        for _ in range(3):
            (lambda kind: read(4 if kind == 2 else 6 if kind == 3 else 0))(read(2))
        read(1)
        for _ in range(2):
            (lambda kind: read(4 if kind == 2 else 6 if kind == 3 else 0))(read(2))
    assert not extra
    assert not read(2)  # no extensions
    assert read(1)
    body = data[2 + (at + 7) // 8 :]
    code = written(primaries, 2) if primaries < 2 else written(2, 2) + written(primaries - 2, 4)
    colors = [0, 0, *written(0, 2), *written(1, 2), *code, 0, *written(2, 2), *written(13 - 2, 4), *written(0, 2)]
    head = [*size, 0, 1, *written(orientation - 1, 3), 0, 0, 0, *depth, *colors, 1, *written(0, 2), 1]
    head += [0] * (-len(head) % 8)
    return data[:2] + bytes(int("".join(map(str, head[k : k + 8][::-1])), 2) for k in range(0, len(head), 8)) + body


def jpegxl_of_jpeg(jpeg: bytes) -> bytes:
    """A JPEG packed without loss, as ``cjxl`` does by default."""
    return bytes(imagecodecs.jpegxl_encode_jpeg(jpeg, usecontainer=True))
