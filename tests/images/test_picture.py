"""Pictures and the arrays that other libraries have."""

import numpy as np
import pytest
from PIL import Image
from tests.helpers.files import rng
from tests.helpers.networks import identity_weights

import msrn
from msrn.errors import UsageError
from msrn.images.picture import Metadata, Picture, to_uint8
from msrn.restoration.restorer import Restorer


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.dtype(">u2")])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 2), (5, 7, 3), (5, 7, 4)])
def test_arrays_come_back_as_they_were(dtype, shape):
    array = rng().integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)
    picture = Picture.from_array(array)
    assert picture.is_gray == (len(shape) == 2 or shape[2] == 2)
    assert (picture.alpha is None) == (len(shape) == 2 or shape[2] == 3)
    back = picture.to_array()
    assert back.dtype.name == np.dtype(dtype).name
    assert np.array_equal(back, array)


def test_values_are_rounded_half_up_and_clipped():
    picture = Picture(np.array([[[-1, 0.5 / 255, 0.49 / 255, 2]]], np.float32))
    assert picture.to_array().tolist() == [[0, 1, 0, 255]]
    assert picture.to_array(16).dtype == np.uint16
    with pytest.raises(UsageError, match="8 or 16 bits, not 10"):
        picture.to_array(10)
    with pytest.raises(UsageError, match="not finite"):
        Picture(np.full((1, 1, 1), np.nan, np.float32)).to_array()


def test_eight_bits_are_rounded_half_up():
    assert to_uint8(np.array([-1, 0.5 / 255, 1.5 / 255, 2.4999 / 255, 2.0])).tolist() == [0, 1, 2, 2, 255]


def test_floating_point_is_taken_as_it_is():
    array = rng().random((5, 7, 3))
    assert np.array_equal(Picture.from_array(array).pixels, array.transpose(2, 0, 1).astype(np.float32))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_images_of_pil(mode):
    image = Image.fromarray(rng().integers(0, 256, (5, 7, 4), np.uint8), "RGBA").convert(mode)
    assert Image.fromarray(Picture.from_array(image).to_array()).tobytes() == image.tobytes()


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.new("P", (4, 4)), r"mode P .*convert\('RGBA'\)"),
        (Image.new("CMYK", (4, 4)), r"mode CMYK .*convert\('RGB'\)"),
        (Image.new("I", (4, 4)), r"mode I .*scaled"),
        ([[1, 2], [3]], "no image"),
        (np.zeros((3, 5, 7), np.uint8), r"\(3, 5, 7\)"),
        (np.zeros((0, 7), np.uint8), r"\(0, 7\)"),
        (np.zeros((5, 7), np.int32), "int32"),
        (np.full((5, 7), 255.0), "outside"),
    ],
)
def test_what_cannot_be_meant_is_refused(image, words):
    with pytest.raises(UsageError, match=words):
        Picture.from_array(image)


@pytest.mark.parametrize("wrong", ["photo.jpg", np.zeros((4, 4, 3), np.uint8), Image.new("RGB", (4, 4)), None])
def test_what_is_no_picture_is_said_to_be_none(wrong, tmp_path):
    for use in (Restorer(identity_weights("jpeg"), device="cpu"), lambda x: msrn.write(x, tmp_path / "x.png")):
        with pytest.raises(UsageError, match=r"expected a Picture, got \w+: msrn.read"):
            use(wrong)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16"])
def test_images_of_pil_become_pictures_and_come_back(mode):
    image = Image.fromarray(rng().integers(0, 256, (5, 7, 4), np.uint8), "RGBA")
    if mode == "I;16":
        image = Image.fromarray(rng().integers(0, 65536, (5, 7), np.uint16))
    else:
        image = image.convert("RGB").convert("P") if mode == "P" else image.convert(mode)
    image.info |= {"icc_profile": b"a profile", "dpi": (72.0, 72.0)}
    picture = Picture.from_pil(image)
    assert (picture.metadata.icc_profile, picture.metadata.dpi) == (b"a profile", (72.0, 72.0))
    back = picture.to_pil()
    assert back.mode == {"1": "L", "P": "RGB", "PA": "RGBA"}.get(mode, mode)
    assert back.tobytes() == image.convert(back.mode).tobytes()
    assert back.info == {"icc_profile": b"a profile", "dpi": (72.0, 72.0)}


def test_transparency_in_a_palette_becomes_alpha():
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.info["transparency"] = 1
    alpha = Picture.from_pil(image).alpha
    assert alpha is not None
    assert alpha.tolist() == [[[1.0, 0.0]]]


def test_a_picture_is_shown_in_a_line():
    pixels = np.zeros((3, 5, 7), np.float32)
    assert repr(Picture(pixels)) == "Picture(7×5, RGB, 8 bits)"
    deep = Picture(pixels[:1], pixels[:1], Metadata(16, source="photo.png"))
    assert repr(deep) == "Picture(7×5, gray with alpha, 16 bits, from photo.png)"


def test_a_tensor_is_said_to_be_one():
    torch = pytest.importorskip("torch")
    with pytest.raises(UsageError, match=r"a tensor has its channels first: msrn\.upscale"):
        Picture.from_array(torch.zeros(3, 5, 7))
