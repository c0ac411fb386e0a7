"""Decoding in a process of its own gives what decoding here gives, whatever happens to that process."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.files import IPTC, SRGB, XMP, encoded, exif_of, picture, slow_jpeg

from msrn import images
from msrn.errors import ImageError
from msrn.images.isolated import Decoder
from msrn.images.picture import Metadata

METADATA = Metadata(8, SRGB, exif_of(Make="Maker"), (72.0, 73.0), XMP, IPTC, b"a comment")


@pytest.fixture(scope="module")
def decoder():
    decoder = Decoder(max_pixels=10_000)
    yield decoder
    decoder.close()


@pytest.mark.parametrize(
    ("suffix", "bits", "alpha"),
    [(".png", 8, False), (".png", 16, True), (".jpg", 8, False), (".webp", 8, True), (".tif", 8, False)],
)
def test_the_picture_and_all_that_the_file_says_arrive(tmp_path, decoder, suffix, bits, alpha):
    images.write(picture(3, bits, alpha, metadata=METADATA), tmp_path / f"x{suffix}")
    data = (tmp_path / f"x{suffix}").read_bytes()
    here, there = images.decode(data, tmp_path / "x"), decoder.decode(data, tmp_path / "x")
    assert np.array_equal(here.pixels, there.pixels)
    assert (here.alpha is not None) == alpha
    assert np.array_equal(here.alpha, there.alpha) if alpha else there.alpha is None
    assert here.metadata == there.metadata
    assert here.metadata.exif is not None


def test_errors_arrive_as_errors_and_the_next_file_as_a_picture(tmp_path, decoder):
    data = encoded(".png", 8, tmp_path)
    with pytest.raises(ImageError, match=r"broken\.png is truncated or damaged"):
        decoder.decode(data[:-30], Path("broken.png"))
    images.write(picture(1, height=101, width=100), tmp_path / "large.png")
    with pytest.raises(ImageError, match=r"large\.png has more than 10,000 pixels"):
        decoder.decode((tmp_path / "large.png").read_bytes(), Path("large.png"))
    assert decoder.decode(data, Path("x.png")).width == 40


def test_names_need_not_be_unicode(decoder):
    with pytest.raises(ImageError, match="\udcff is empty"):
        decoder.decode(b"", Path("\udcff"))


def test_a_decoder_that_takes_too_long_is_given_up_and_the_next_file_gets_another():
    decoder = Decoder(seconds=0.5)
    try:
        with pytest.raises(ImageError, match=r"slow\.jpg takes more than 0\.5 s to decode"):
            decoder.decode(slow_jpeg(), Path("slow.jpg"))
        with pytest.raises(ImageError, match="is empty"):
            decoder.decode(b"", Path("x"))
    finally:
        decoder.close()


def test_closing_twice_and_decoding_again_is_allowed(tmp_path):
    decoder, data = Decoder(), encoded(".bmp", 8, tmp_path)
    for _ in range(2):
        assert decoder.decode(data, Path("x.bmp")).width == 40
        decoder.close()
        decoder.close()


GREEDY = """
import sys
from pathlib import Path
import imagecodecs, numpy
from msrn.images.isolated import decode_confined
data = Path(sys.argv[1]).read_bytes()
print(decode_confined(data, Path("x")).pixels.shape)
kept = imagecodecs.png_decode
imagecodecs.png_decode = lambda data: numpy.ones(1 << 30, "u1")[:0].size or kept(data)
try:
    decode_confined(data, Path("x"))
except Exception as error:
    print(error)
print(numpy.ones(1 << 30, "u1").nbytes >> 30)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_DATA and /proc")
def test_a_decoder_gets_no_more_memory_than_its_pixels_can_need(tmp_path):
    (tmp_path / "x.png").write_bytes(encoded(".png", 16, tmp_path))
    process = subprocess.run([sys.executable, "-c", GREEDY, tmp_path / "x.png"], capture_output=True, text=True)
    assert process.stdout.splitlines() == ["(3, 40, 40)", "x needs more memory than there is for it", "1"], process
