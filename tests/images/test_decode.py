"""Files that others wrote become pictures: what is read, and what is refused by name."""

import io
import struct
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps
from tests.helpers.files import KINDS, LAB, SRGB, color, encoded, exif_in, exif_of, picture, rng

from msrn import images
from msrn.errors import ImageError
from msrn.images.picture import Metadata, Picture


def saved(tmp_path, image, name="x.png", **options):
    image.save(tmp_path / name, **options)
    return images.read(tmp_path / name)


def test_gray_stays_gray_and_palettes_become_rgb(tmp_path):
    gray = Image.fromarray(rng().integers(0, 256, (9, 9), np.uint8))
    assert saved(tmp_path, gray).pixels.shape == (1, 9, 9)
    one_bit = saved(tmp_path, gray.convert("1"))
    assert set(np.unique(one_bit.pixels)) <= {0, 1}
    assert one_bit.is_gray
    palette = Image.fromarray(rng().integers(0, 256, (9, 9, 3), np.uint8)).quantize(16)
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
    samples = rng().integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(samples))
    assert np.array_equal(np.rint(images.read(tmp_path / "x.png").pixels * 65535), np.moveaxis(samples, -1, 0))


def test_float_tiff_in_range_is_read_and_otherwise_refused(tmp_path):
    samples = rng().random((5, 6, 3), dtype=np.float32)
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


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
@pytest.mark.parametrize("profile", [None, SRGB, b"nonsense" * 30])
def test_cmyk_without_a_profile_of_its_own_is_taken_as_ideal_inks_which_is_said(tmp_path, suffix, profile):
    inks = np.array([10, 20, 30, 40])
    image = Image.new("CMYK", (8, 8), tuple(inks))
    back = saved(tmp_path, image, f"x.{suffix}", quality=100, subsampling=0, icc_profile=profile)
    expected = (1 - inks[:3] / 255) * (1 - inks[3] / 255)
    assert np.abs(back.pixels - expected[:, None, None]).max() < 2.5 / 255
    assert back.metadata.note == "CMYK without a colour profile that fits, converted as ideal inks"
    assert back.metadata.icc_profile is None


def test_lab_becomes_srgb(tmp_path):
    """L* = 53.6, a* = b* = 0 is the gray of 128 in sRGB."""
    lab = Image.new("LAB", (8, 6), (137, 128, 128))
    lab.save(tmp_path / "x.tif")
    with pytest.raises(ImageError, match="without a colour profile"):
        images.read(tmp_path / "x.tif")
    back = saved(tmp_path, lab, "x.tif", icc_profile=LAB)
    assert back.pixels.shape == (3, 6, 8)
    assert np.abs(back.pixels * 255 - 128).max() < 3


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_reset(tmp_path, suffix, orientation):
    upright = Image.fromarray(np.kron(rng().integers(0, 2, (4, 6), np.uint8) * 200, np.ones((8, 8), np.uint8)))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    stored.save(tmp_path / f"x.{suffix}", exif=exif_of(Orientation=orientation), quality=95)
    back = images.read(tmp_path / f"x.{suffix}")
    assert back.pixels.shape[1:] == (32, 48)
    assert np.abs(back.pixels[0] * 255 - np.asarray(upright)).max() < 40
    assert exif_in(back).get(ExifTags.Base.Orientation) in (1, None)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_deep_files(tmp_path, suffix, orientation):
    samples = rng().integers(0, 65536, (4, 6, 3), dtype=np.uint16)
    if suffix == "tif":
        tag = (ExifTags.Base.Orientation, 3, 1, orientation, True)
        tifffile.imwrite(tmp_path / "x.tif", samples, photometric="rgb", extratags=[tag], metadata=None)
    else:
        image = Picture(np.moveaxis(samples, -1, 0) / np.float32(65535), metadata=Metadata(16))
        exif = exif_of(Orientation=orientation)
        images.write(replace(image, metadata=Metadata(16, exif=exif)), tmp_path / "x.png")
    eighth = Image.fromarray((samples >> 8).astype(np.uint8))
    eighth.getexif()[ExifTags.Base.Orientation] = orientation
    expected = np.asarray(ImageOps.exif_transpose(eighth))
    back = images.read(tmp_path / f"x.{suffix}")
    assert np.array_equal(np.rint(back.pixels * 65535).astype(np.uint16) >> 8, np.moveaxis(expected, -1, 0))
    assert exif_in(back).get(ExifTags.Base.Orientation) in (1, None)


def test_of_a_phones_bundle_the_photograph_is_read(tmp_path):
    photograph, depth = Image.new("RGB", (16, 8), (200, 0, 0)), Image.new("RGB", (4, 4))
    photograph.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[depth])
    assert images.read(tmp_path / "x.jpg").width == 16


def test_a_photograph_whose_index_speaks_of_pictures_that_were_cut_off_is_read(tmp_path):
    photograph, preview = Image.new("RGB", (16, 8), (200, 0, 0)), Image.new("RGB", (16, 8))
    photograph.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[preview])
    data = (tmp_path / "x.jpg").read_bytes()
    (tmp_path / "x.jpg").write_bytes(data[: data.rindex(b"\xff\xd8\xff")])
    assert images.read(tmp_path / "x.jpg").width == 16


def test_of_several_views_none_is_taken_silently(tmp_path):
    pair = {"format": "MPO", "save_all": True, "append_images": [color().rotate(180)]}
    color().save(tmp_path / "stereo.jpg", **pair)
    with pytest.raises(ImageError, match="several pictures"):
        images.read(tmp_path / "stereo.jpg")
    color().save(tmp_path / "hdr.jpg", **pair, xmp=b"http://ns.adobe.com/hdr-gain-map/1.0/")
    color().save(tmp_path / "preview.jpg", **pair | {"append_images": [color().reduce(2)]})
    for name in ("hdr.jpg", "preview.jpg"):
        assert images.read(tmp_path / name).width == color().width


def tiff(tmp_path, samples, **options):
    tifffile.imwrite(tmp_path / "x.tif", samples, metadata=None, **options)
    return images.read(tmp_path / "x.tif")


def test_tiff_of_other_layouts(tmp_path):
    samples = rng().integers(0, 65536, (40, 30, 4), dtype=np.uint16)
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
    samples = rng().integers(0, 4096, (8, 9, 5), dtype=np.uint16)
    for expected, cut, options in (
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
    tiff(tmp_path, samples[..., 0])
    with tifffile.TiffFile(tmp_path / "x.tif", mode="r+") as file:
        file.pages[0].tags["BitsPerSample"].overwrite(12)
    with pytest.raises(ImageError, match="12 bits"):
        images.read(tmp_path / "x.tif")


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


def test_files_beyond_the_limit_of_bytes_are_not_read(tmp_path):
    images.write(picture(), tmp_path / "x.png")
    size = (tmp_path / "x.png").stat().st_size
    assert images.read(tmp_path / "x.png", max_bytes=size).width == 17
    with pytest.raises(ImageError, match="bytes and is not read"):
        images.read(tmp_path / "x.png", max_bytes=size - 1)
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    with pytest.raises(ImageError, match="more than 9,999,999 bytes"):
        images.read(tmp_path / "endless.png", max_bytes=9_999_999)


def test_frames_of_a_gif_are_refused_without_decoding_them(tmp_path):
    frames = io.BytesIO()
    Image.new("L", (8, 8)).save(frames, "GIF", save_all=True, append_images=[Image.new("L", (8, 8), 200)])
    start, second = frames.getvalue()[:-1].split(b"\x21\xf9", 1)[0], b"\x21\xf9\x04\0\0\0\0\0"
    second += b"\x2c" + struct.pack("<4HB", 0, 0, 8, 8, 0) + b"\x08\x01\xff\0"  # pixels that cannot be decoded
    (tmp_path / "x.gif").write_bytes(start + second * 100_000 + b"\x3b")
    with pytest.raises(ImageError, match="several frames"):
        images.read(tmp_path / "x.gif")


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


@pytest.mark.parametrize(("suffix", "bits"), KINDS)
def test_truncated_files_are_errors(tmp_path, suffix, bits):
    data = encoded(suffix, bits, tmp_path)
    shares = [int(len(data) * tenths / 10) for tenths in range(1, 10)]
    for length in (1, 3, 8, 12, 26, 33, 60, *shares, len(data) - 21, len(data) - 13, len(data) - 8, len(data) - 1):
        (tmp_path / "x").write_bytes(data[:length])
        if suffix == ".jpg" and length >= len(data) - 2:
            continue  # only the end marker is missing; whether libjpeg looks for it depends on the last bits
        with pytest.raises(ImageError, match=r"x (is|has) ") as caught:
            images.read(tmp_path / "x")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_bad_checksum_is_an_error(tmp_path, bits):
    data = bytearray(encoded(".png", bits, tmp_path))
    data[data.index(b"IDAT") + 40] ^= 0xFF
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(ImageError, match="damaged"):
        images.read(tmp_path / "x.png")


@pytest.mark.parametrize(("suffix", "bits"), KINDS)
def test_flipped_bytes_give_a_picture_or_a_typed_error(tmp_path, suffix, bits):
    data, rng = encoded(suffix, bits, tmp_path), np.random.default_rng(1)
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
