"""The size of an AV1 stream's frames is known from headers alone, wherever they state it."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from msrn.images.av1 import coded_sizes
from msrn.images.boxes import read_boxes


def unit(kind: int, bits: str) -> bytes:
    """A unit of a stream whose payload begins with these bits."""
    bits = bits.replace(" ", "") + "1"
    payload = int(bits.ljust(-len(bits) % 8 + len(bits), "0"), 2).to_bytes((len(bits) + 7) // 8, "big")
    return bytes((kind << 3 | 2, len(payload))) + payload


def sequence(width: int, height: int, count: int, ordered: bool = False, timed: bool = False) -> bytes:
    """A sequence header that states sizes with so many bits."""
    timing = f"1 {0:064b} 0 1 {0:05b} {0:042b}" if timed else "0"
    sizes = f"{count - 1:04b} {count - 1:04b} {width - 1:0{count}b} {height - 1:0{count}b}"
    order = "1 00" if ordered else "0"
    tail = f"1 {0:04b} {1:03b} {0:07b} {order} 1 1" + (f"{6:03b}" if ordered else "")
    return unit(1, f"0000 0 {timing} 0 {0:05b} {0:012b} {0:05b} {'0' * timed} {sizes} {tail}")


OWN = f"{599:010b} {399:010b}"
"""600×400, in ten bits each."""


@pytest.mark.parametrize(
    ("frame", "size"),
    [
        ("0 00 1 0 0 0000 1" + OWN, (600, 400)),  # a key frame that is shown
        ("0 00 1 0 0 0000 0", (10, 20)),  # likewise, of the sequence's size
        ("1 000", (10, 20)),  # one of before
        ("0 00 0 0 1 0 1 1 0000 1 00000001" + OWN, (600, 400)),  # a key frame for later
        ("0 10 1 0 0 0 0000 1 00000001" + OWN, (600, 400)),  # an intra frame
        ("0 01 1 0 0 0 0000 1", (1024, 1024)),  # of other frames' size, or its own
        ("0 11 1 0 0 0000", (1024, 1024)),
    ],
)
@pytest.mark.parametrize("kind", [3, 6])
def test_a_frame_may_state_its_own_size(frame, size, kind):
    stream = sequence(10, 20, 10) + unit(kind, frame)
    assert list(coded_sizes(stream)) == [(10, 20), size]


def test_with_ordered_frames_as_well():
    stream = sequence(10, 20, 10, ordered=True)
    stream += unit(6, f"0 00 1 0 0 0000 1 {0:07b}" + OWN)
    stream += unit(6, f"0 00 0 0 1 0 0 0000 1 {0:07b} 00000001 {0:056b}" + OWN)
    assert list(coded_sizes(stream)) == [(10, 20), (600, 400), (600, 400)]


def test_what_is_not_read_to_the_end_is_as_large_as_it_could_be():
    assert list(coded_sizes(sequence(10, 20, 16, timed=True) + unit(6, "0 00 1"))) == [(10, 20), (65536, 65536)]
    narrow = sequence(600, 1000, 10) + unit(6, "0 01 1 0 0 0 0000 1")
    assert list(coded_sizes(narrow)) == [(600, 1000), (600, 1000)]


def test_a_stream_that_is_cut_off_is_an_error():
    with pytest.raises(ValueError, match="cut off"):
        list(coded_sizes(sequence(10, 20, 10) + b"\x32\x01\x10"))


def test_an_encoders_own_headers_are_understood():
    frame, stream = Image.fromarray(np.zeros((44, 70, 3), np.uint8)), BytesIO()
    frame.save(stream, "AVIF", save_all=True, append_images=[frame.rotate(9)])
    data = dict(read_boxes(stream.getvalue()))[b"mdat"]
    assert set(coded_sizes(data)) == {(70, 44)}
