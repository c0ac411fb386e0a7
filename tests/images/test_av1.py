"""The size of an AV1 stream's frames is known from headers alone, wherever they state it."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from msrn.images.av1 import coded_sizes
from msrn.images.boxes import read_boxes


def unit(kind: int, bits: str) -> bytes:
    """A unit of a stream whose payload begins with these bits."""
    payload = _bytes(bits)
    return bytes((kind << 3 | 2, len(payload))) + payload


def _bytes(bits: str) -> bytes:
    bits = bits.replace(" ", "") + "1"
    return int(bits.ljust(-len(bits) % 8 + len(bits), "0"), 2).to_bytes((len(bits) + 7) // 8, "big")


PLAIN = f"0 0 {0:05b} {0:012b} {0:05b}"
"""No times; one choice of layers, of the lowest level."""
CHOSEN = "0 1 1"
"""No order of frames; each frame says whether it shows a screen, and whether vectors are whole."""


def sequence(
    width: int, height: int, bits: tuple[int, int] = (10, 10), times: str = PLAIN, tools: str = CHOSEN
) -> bytes:
    """A sequence header that states sizes with so many bits; frames have numbers of six bits."""
    sizes = f"{bits[0] - 1:04b} {bits[1] - 1:04b} {width - 1:0{bits[0]}b} {height - 1:0{bits[1]}b}"
    return unit(1, f"0000 0 {times} {sizes} 1 {1:04b} {2:03b} {0:07b} {tools}")


OWN = f"{599:010b} {399:010b}"
"""600×400, in ten bits each."""
KEY = "0 00 1 0 0 000000 1"
"""A key frame that is shown, with a size of its own, of a sequence whose frames say what they are of."""


@pytest.mark.parametrize(
    ("frame", "size"),
    [
        (KEY + OWN, (600, 400)),
        ("0 00 1 0 1 0 000000 1" + OWN, (600, 400)),  # of a screen, which asks one question more
        ("0 00 1 0 0 000000 0", (10, 20)),  # of the sequence's size
        ("1 000", (10, 20)),  # one of before
        ("0 00 0 0 1 0 1 1 000000 1 00000001" + OWN, (600, 400)),  # a key frame for later
        ("0 10 1 0 0 0 000000 1 00000001" + OWN, (600, 400)),  # an intra frame
        ("0 01 1 0 0 0 000000 1", (1024, 1024)),  # of other frames' size, or its own
        ("0 01 1 0 0 0 000000 0", (10, 20)),
        ("0 11 1", (1024, 1024)),
    ],
)
@pytest.mark.parametrize("kind", [3, 6])
def test_a_frame_may_state_its_own_size(frame, size, kind):
    stream = sequence(10, 20) + unit(kind, frame)
    assert list(coded_sizes(stream)) == [(10, 20), size]


def test_sides_have_bits_of_their_own():
    header = sequence(10, 20, (10, 12))
    stream = header + unit(6, KEY + f"{599:010b} {2399:012b}") + unit(6, "0 11 1")
    assert list(coded_sizes(stream)) == [(10, 20), (600, 2400), (1024, 4096)]


@pytest.mark.parametrize(
    ("tools", "frame"),
    [
        ("1 11 1 1 110", f"0 00 1 0 0 000000 1 {0:07b}"),
        ("1 11 1 1 110", f"0 00 0 0 0 0 0 000000 1 {0:07b} 00000001"),  # a key frame for later, not resilient
        ("1 11 1 1 110", f"0 00 0 0 1 0 0 000000 1 {0:07b} 00000001 {0:056b}"),  # resilient: others' order is repeated
        ("1 11 1 1 110", f"0 00 0 0 1 0 0 000000 1 {0:07b} 11111111"),  # none of the others is kept
        ("1 11 00 110", f"0 00 1 0 000000 1 {0:07b}"),  # frames of screens are not allowed
        ("1 11 01 01 110", f"0 00 1 0 000000 1 {0:07b}"),  # all are of screens, with whole vectors
        ("0 01 1", "0 00 1 0 1 000000 1"),  # … which each says
    ],
)
def test_a_sequence_says_what_its_frames_say(tools, frame):
    assert list(coded_sizes(sequence(10, 20, tools=tools) + unit(6, frame + OWN))) == [(10, 20), (600, 400)]


@pytest.mark.parametrize(
    ("times", "size"),
    [
        (f"1 {0:064b} 0 0" + PLAIN[1:], (600, 400)),
        (f"1 {0:064b} 1 0001 010 0" + PLAIN[1:], (600, 400)),  # equal times, each of 9 units
        (f"1 {0:064b} 0 1 {0:047b} 0 {0:05b} {0:012b} {0:05b} 0", (1024, 1024)),  # frames say when they are decoded
        (f"1 {0:064b} 0 1 {2:05b} {0:042b} 0 {0:05b} {0:012b} {0:05b} 1 1010101", (1024, 1024)),  # in three bits
        (f"0 0 {0:05b} {0:012b} {8:05b} 1", (600, 400)),  # a level that has tiers
        (f"0 0 {0:05b} {0:012b} {7:05b}", (600, 400)),  # none yet
        (f"0 0 {1:05b} {0:012b} {0:05b} {0:012b} {0:05b}", (600, 400)),  # two choices of layers
        (f"0 1 {1:05b} {0:012b} {0:05b} 1 1010 {0:012b} {0:05b} 0", (600, 400)),  # shown later
    ],
)
def test_what_a_sequence_says_of_times_and_layers_is_skipped(times, size):
    assert list(coded_sizes(sequence(10, 20, times=times) + unit(6, KEY + OWN))) == [(10, 20), size]


def test_frames_of_a_short_header_have_its_size():
    short = unit(1, f"0001 1 {31:05b} {9:04b} {9:04b} {599:010b} {399:010b}")
    assert list(coded_sizes(short + unit(6, "0 11 1") + unit(3, ""))) == [(600, 400)]


def test_frames_without_more_bits_than_their_sequence_needs_are_not_suspected():
    narrow = sequence(600, 1000) + unit(6, "0 01 1 0 0 0 000000 1")
    assert list(coded_sizes(narrow)) == [(600, 1000), (600, 1000)]


def test_every_form_of_a_unit_is_read():
    header, frame = sequence(10, 20), _bytes(KEY + OWN)
    found = [(10, 20), (600, 400)]
    assert list(coded_sizes(header + b"\x30" + frame)) == found  # without a size: to the end
    assert list(coded_sizes(header + bytes((0x36, 0, len(frame))) + frame)) == found  # with a layer
    long = frame + bytes(300 - len(frame))
    stream = header + b"\x32\xac\x02" + long + header  # 300 in two bytes
    assert list(coded_sizes(stream)) == [*found, (10, 20)]


def test_a_stream_that_is_cut_off_is_an_error():
    for after in (b"", bytes(20)):  # another unit's bytes do not count
        with pytest.raises(ValueError, match="cut off"):
            list(coded_sizes(sequence(10, 20) + b"\x32\x01\x10" + after))


def test_an_encoders_own_headers_are_understood():
    frame, stream = Image.fromarray(np.zeros((44, 70, 3), np.uint8)), BytesIO()
    frame.save(stream, "AVIF", save_all=True, append_images=[frame.rotate(9)])
    data = dict(read_boxes(stream.getvalue()))[b"mdat"]
    assert set(coded_sizes(data)) == {(70, 44)}
