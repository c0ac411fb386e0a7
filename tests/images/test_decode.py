"""Files that others wrote: what is read, and what is refused by name."""

import io
import struct
import tempfile
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageOps
from tests.images.test_files import RNG, SRGB, exif_of, picture

from msrn import images
from msrn.errors import ImageError


def saved(tmp_path, image, name="x.png", **options):
    image.save(tmp_path / name, **options)
    return images.read(tmp_path / name)


def test_gray_stays_gray_and_palettes_become_rgb(tmp_path):
    gray = Image.fromarray(RNG.integers(0, 256, (9, 9), np.uint8))
    assert saved(tmp_path, gray).pixels.shape == (1, 9, 9)
    one_bit = saved(tmp_path, gray.convert("1"))
    assert set(np.unique(one_bit.pixels)) <= {0, 1}
    assert one_bit.is_gray
    palette = Image.fromarray(RNG.integers(0, 256, (9, 9, 3), np.uint8)).quantize(16)
    assert np.array_equal(saved(tmp_path, palette).pixels * 255, np.moveaxis(np.asarray(palette.convert("RGB")), -1, 0))


def test_transparent_colours_of_palettes_and_gray_become_alpha(tmp_path):
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.putpixel((0, 0), 0)
    back = saved(tmp_path, palette, transparency=0)
    assert back.alpha[0, 0, 0] == 0
    assert back.alpha[0, 1, 1] == 1
    gray = saved(tmp_path, Image.new("L", (4, 4), 9), transparency=9)
    assert gray.is_gray
    assert not gray.alpha.any()


def test_sixteen_bit_colour_png_is_not_cut_to_eight(tmp_path):
    samples = RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(samples))
    assert np.array_equal(np.rint(images.read(tmp_path / "x.png").pixels * 65535), np.moveaxis(samples, -1, 0))


def test_float_tiff_in_range_is_read_and_otherwise_refused(tmp_path):
    samples = RNG.random((5, 6, 3), dtype=np.float32)
    tifffile.imwrite(tmp_path / "x.tif", samples, photometric="rgb")
    assert np.array_equal(images.read(tmp_path / "x.tif").pixels, np.moveaxis(samples, -1, 0))
    for bad in (np.nan, 1.5, -0.1):
        samples[0, 0, 0] = bad
        tifffile.imwrite(tmp_path / "y.tif", samples, photometric="rgb")
        with pytest.raises(ImageError, match="floating-point"):
            images.read(tmp_path / "y.tif")


def cmyk_profile() -> bytes:
    """A printer without colours: lightness falls with the black ink, from 100 to 0."""
    identity = b"".join(struct.pack(">i", 65536 * (i % 4 == 0)) for i in range(9))
    ramp = bytes(range(256))
    lattice = b"".join(bytes([255 * (1 - node % 2), 128, 128]) for node in range(16))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + lattice + ramp * 3
    table += bytes(-len(table) % 4)
    head = struct.pack(">I4sI4s4s4s", 128 + 16 + len(table), b"none", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head + bytes(128 - len(head)) + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_is_converted_by_its_profile_and_turned_once(tmp_path, file_format, orientation):
    ink = np.zeros((16, 32, 4), np.uint8)
    ink[:, :16, 3] = 255
    options = {"exif": exif_of(Orientation=orientation), "icc_profile": cmyk_profile(), "quality": 100}
    Image.fromarray(ink, "CMYK").save(tmp_path / "x", file_format, **options)
    back = images.read(tmp_path / "x")
    black_first = Image.fromarray(255 - ink[:, :, 3])
    black_first.getexif()[ExifTags.Base.Orientation] = orientation
    expected = np.asarray(ImageOps.exif_transpose(black_first)) / 255
    assert back.pixels.shape == (3, *expected.shape)
    assert np.abs(back.pixels - expected).max() < 0.05
    assert back.metadata.icc_profile is None


def test_cmyk_without_a_profile_of_its_own_is_refused(tmp_path):
    image = Image.new("CMYK", (8, 8), (10, 20, 30, 40))
    image.save(tmp_path / "x.jpg")
    with pytest.raises(ImageError, match="CMYK without a colour profile"):
        images.read(tmp_path / "x.jpg")
    for wrong in (SRGB, b"nonsense" * 30):
        image.save(tmp_path / "y.jpg", icc_profile=wrong)
        with pytest.raises(ImageError, match="CMYK and its colour profile does not fit"):
            images.read(tmp_path / "y.jpg")


def test_of_a_phones_bundle_the_photograph_is_read(tmp_path):
    photograph, depth = Image.new("RGB", (16, 8), (200, 0, 0)), Image.new("RGB", (4, 4))
    photograph.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[depth])
    assert images.read(tmp_path / "x.jpg").width == 16


def tiff(tmp_path, samples, **options):
    tifffile.imwrite(tmp_path / "x.tif", samples, metadata=None, **options)
    return images.read(tmp_path / "x.tif")


def test_tiff_of_other_layouts(tmp_path):
    samples = RNG.integers(0, 65536, (40, 30, 4), dtype=np.uint16)
    planes = np.moveaxis(samples, -1, 0) / np.float32(65535)
    for options in (
        {"byteorder": ">"},
        {"tile": (16, 16), "compression": "lzw", "predictor": True},
        {"bigtiff": True, "compression": "zstd"},
    ):
        assert np.array_equal(tiff(tmp_path, samples[..., :3], photometric="rgb", **options).pixels, planes[:3])
        gray = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["unassalpha"]}
        back = tiff(tmp_path, samples[..., :2], **gray, **options)
        assert np.array_equal(back.pixels, planes[:1])
        assert np.array_equal(back.alpha, planes[1:2])
    apart = np.ascontiguousarray(np.moveaxis(samples[..., :3], -1, 0))
    assert np.array_equal(tiff(tmp_path, apart, photometric="rgb", planarconfig="separate").pixels, planes[:3])
    padded = tiff(tmp_path, samples, photometric="rgb", extrasamples=["unspecified"])
    assert padded.alpha is None
    assert np.array_equal(padded.pixels, planes[:3])


def test_tiff_that_would_come_out_wrong_is_refused(tmp_path):
    samples = RNG.integers(0, 4096, (8, 9, 5), dtype=np.uint16)
    for expected, cut, options in (
        ("12 bits", samples[..., 0], {"bitspersample": 12}),
        ("extra 1", samples[..., :4], {"photometric": "rgb", "extrasamples": ["assocalpha"]}),
        ("MINISBLACK", samples[..., :3], {"photometric": "minisblack", "planarconfig": "contig"}),
        ("MINISWHITE", samples[..., 0], {"photometric": "miniswhite"}),
        ("SEPARATED", samples[..., :4], {"photometric": "separated"}),
        ("5×16", samples, {"photometric": "rgb"}),
        ("int16", samples[..., 0].astype(np.int16), {}),
        ("uint32", samples[..., 0].astype(np.uint32), {}),
    ):
        with pytest.raises(ImageError, match=expected):
            tiff(tmp_path, cut, **options)


# --- refusals ---------------------------------------------------------------------------------------------------


def test_missing_empty_and_foreign_files_are_named(tmp_path):
    with pytest.raises(ImageError, match="No such file"):
        images.read(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match="directory"):
        images.read(tmp_path)
    with pytest.raises(ImageError, match="null byte"):
        images.read("a\0b.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match="0 bytes"):
        images.read(tmp_path / "empty.png")
    for name, content in (
        ("text.png", b"hello"),
        ("x.svg", b"<svg/>"),
        ("x.png", b"%PDF-1.7"),
        ("y.png", b"%!PS-Adobe"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match="is not an image this program reads"):
            images.read(tmp_path / name)


def test_formats_outside_the_list_are_not_opened(tmp_path):
    for name in ("x.gif", "x.ppm", "x.ico"):
        Image.new("L", (16, 16)).save(tmp_path / name)
        (tmp_path / name).rename(tmp_path / "disguised.png")
        with pytest.raises(ImageError, match="not an image"):
            images.read(tmp_path / "disguised.png")


def test_content_counts_not_the_name(tmp_path):
    Image.new("L", (5, 4), 50).save(tmp_path / "x.png", "JPEG")
    assert images.read(tmp_path / "x.png").width == 5


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_animations_and_pages_are_refused(tmp_path, file_format):
    frames = [Image.new("L", (8, 8), value) for value in (10, 200)]
    frames[0].save(tmp_path / "x", file_format, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="2 frames"):
        images.read(tmp_path / "x")


def test_bombs_are_refused_before_decoding_and_the_limit_is_ours(tmp_path):
    Image.new("1", (3000, 3000)).save(tmp_path / "x.png")
    with pytest.raises(ImageError, match="more than 1,000,000 pixels"):
        images.read(tmp_path / "x.png", max_pixels=1_000_000)
    before = Image.MAX_IMAGE_PIXELS
    assert images.read(tmp_path / "x.png", max_pixels=9_000_000).width == 3000
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_tile_larger_than_its_image_is_a_bomb_too(tmp_path):
    samples = np.zeros((16, 16, 3), np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", samples, photometric="rgb", tile=(16, 16), compression="zlib")
    data = (tmp_path / "x.tif").read_bytes()
    for tag in (322, 323):
        assert struct.pack("<HHII", tag, 4, 1, 16) in data
        data = data.replace(struct.pack("<HHII", tag, 4, 1, 16), struct.pack("<HHII", tag, 4, 1, 60_000))
    (tmp_path / "x.tif").write_bytes(data)
    with pytest.raises(ImageError, match="possible bomb"):
        images.read(tmp_path / "x.tif")


def test_pictures_without_pixels_are_refused(tmp_path):
    for file_format, at in (("PNG", 16), ("BMP", 18)):
        stream = io.BytesIO()
        Image.new("RGB", (4, 4)).save(stream, file_format)
        data = bytearray(stream.getvalue())
        data[at : at + 4] = bytes(4)
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(ImageError, match="damaged"):
            images.read(tmp_path / "x")


def encoded(file_format, bits=8):
    image = picture(3, bits, height=40, width=40)
    suffix = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}[file_format]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        images.write(image, path)
        return path.read_bytes()


KINDS = [("PNG", 8), ("PNG", 16), ("JPEG", 8), ("WEBP", 8), ("TIFF", 8), ("TIFF", 16), ("BMP", 8)]


@pytest.mark.parametrize(("file_format", "bits"), KINDS)
def test_pillows_own_limit_does_not_count(tmp_path, monkeypatch, file_format, bits):
    (tmp_path / "x").write_bytes(encoded(file_format, bits))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert images.read(tmp_path / "x").width == 40
    with pytest.raises(ImageError, match="more than 1,599 pixels"):
        images.read(tmp_path / "x", max_pixels=1599)


@pytest.mark.parametrize(("file_format", "bits"), KINDS)
def test_truncated_files_are_errors(tmp_path, file_format, bits):
    data = encoded(file_format, bits)
    shares = [int(len(data) * tenths / 10) for tenths in range(1, 10)]
    for length in (1, 3, 8, 12, 26, 33, 60, *shares, len(data) - 21, len(data) - 13, len(data) - 8, len(data) - 1):
        (tmp_path / "x").write_bytes(data[:length])
        if file_format == "JPEG" and length >= len(data) - 2:
            continue  # only the end marker is missing; whether libjpeg looks for it depends on the last bits
        with pytest.raises(ImageError, match=r"x (is|has) ") as caught:
            images.read(tmp_path / "x")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_bad_checksum_is_an_error(tmp_path, bits):
    data = bytearray(encoded("PNG", bits))
    data[data.index(b"IDAT") + 40] ^= 0xFF
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(ImageError, match="damaged"):
        images.read(tmp_path / "x.png")


@pytest.mark.parametrize(("file_format", "bits"), KINDS)
def test_flipped_bytes_give_a_picture_or_a_typed_error(tmp_path, file_format, bits):
    data, rng = encoded(file_format, bits), np.random.default_rng(1)
    for turn in range(60):
        broken = bytearray(data)
        reach = len(broken) if turn % 2 else 200  # the head is where the decoders' decisions fall
        for _ in range(rng.integers(1, 6)):
            broken[rng.integers(reach)] = rng.integers(256)
        (tmp_path / "x").write_bytes(broken)
        try:
            image = images.read(tmp_path / "x")
        except ImageError:
            continue
        assert np.isfinite(image.pixels).all()


SIGNATURES = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe1", b"RIFF\xff\0\0\0WEBPVP8 ", b"BM", b"II*\0\x08\0\0\0", b"MM\0*"]


@given(st.sampled_from(SIGNATURES), st.binary(max_size=300))
def test_signatures_followed_by_anything_are_errors(tmp_path_factory, signature, rest):
    path = tmp_path_factory.getbasetemp() / "anything"
    path.write_bytes(signature + rest)
    with pytest.raises(ImageError):
        images.read(path)


# --- writing safely ---------------------------------------------------------------------------------------------


def test_lab_becomes_srgb(tmp_path):
    """L* = 53.6, a* = b* = 0 is the gray of 128 in sRGB."""
    lab = Image.new("LAB", (8, 6), (137, 128, 128))
    lab.save(tmp_path / "x.tif")
    with pytest.raises(ImageError, match="without a colour profile"):
        images.read(tmp_path / "x.tif")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    back = saved(tmp_path, lab, "x.tif", icc_profile=profile)
    assert back.pixels.shape == (3, 6, 8)
    assert np.abs(back.pixels * 255 - 128).max() < 3
