"""Photographs through the whole way, file to file, with a network that returns its input: what goes in comes out."""

import struct
import subprocess
import sys
import zlib
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin
from tests.helpers.files import IPTC, LAB, SRGB, color, exif_of, rng, slow_jpeg
from tests.helpers.networks import identity_weights

from msrn import images
from msrn.batch import Limits, claim, plan_outputs, restore_files
from msrn.errors import ImageError, UsageError
from msrn.images.picture import Metadata, Picture
from msrn.restoration.restorer import Restorer


@pytest.fixture(scope="module", params=["denoise", "jpeg"])
def restorer(request):
    return Restorer(identity_weights(request.param), device="cpu")


@pytest.fixture(scope="module")
def denoiser():
    return Restorer(identity_weights("denoise"), device="cpu")


@pytest.fixture(scope="module")
def enlarger():
    return Restorer(identity_weights("sr"), device="cpu")


def through(restorer, source, target):
    plan = plan_outputs([source], target)
    with claim(plan) as output:
        (outcome,) = restore_files(plan.jobs, output, restorer)
    if outcome.error:
        raise outcome.error
    return images.read(target)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_round_trip(tmp_path, restorer, suffix, bits, channels, alpha):
    top = 2**bits - 1
    samples = rng().integers(0, top + 1, (channels + alpha, 37, 41)).astype(np.float32) / np.float32(top)
    metadata = Metadata(bits, SRGB, exif_of(Make="Maker"), (300.0, 240.0), b"<x:xmpmeta/>")
    source, target = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    images.write(Picture(samples[:channels], samples[channels:] if alpha else None, metadata), source)
    before, after = images.read(source), through(restorer, source, target)
    assert np.array_equal(after.pixels, samples[:channels])
    assert not alpha or np.array_equal(after.alpha, samples[channels:])
    assert after.metadata == Metadata(**(vars(before.metadata) | {"source": str(target)}))
    assert after.metadata.exif is not None
    assert after.metadata.icc_profile == SRGB
    assert after.metadata.dpi == pytest.approx((300, 240), abs=0.02)


def stored(image, file_format="PNG", **options):
    stream = BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


MODES = {
    "L": (lambda: stored(color().convert("L")), 1, False),
    "LA": (lambda: stored(color().convert("LA")), 1, True),
    "1": (lambda: stored(color().convert("1")), 1, False),
    "P+tRNS": (lambda: stored(color().quantize(8), transparency=0), 3, True),
    "RGBA": (lambda: stored(color().convert("RGBA")), 3, True),
    "I;16": (lambda: imagecodecs.png_encode(rng().integers(0, 65536, (9, 11), dtype=np.uint16)), 1, False),
    "1×1": (lambda: stored(color().resize((1, 1))), 3, False),
    "1×N": (lambda: stored(color().resize((1, 50))), 3, False),
    "N×1": (lambda: stored(color().resize((50, 1))), 3, False),
}


@pytest.mark.parametrize("mode", MODES)
def test_modes_come_out_as_what_they_are(tmp_path, restorer, mode):
    data, channels, alpha = MODES[mode]
    (tmp_path / "in.png").write_bytes(data())
    before, after = images.read(tmp_path / "in.png"), through(restorer, tmp_path / "in.png", tmp_path / "out.png")
    assert len(after.pixels) == channels
    assert (after.alpha is not None) == alpha
    assert np.array_equal(after.pixels, before.pixels)
    assert after.metadata.bits == (16 if mode == "I;16" else 8)


@pytest.mark.parametrize("inverted", [False, True])
def test_ycck_and_cmyk_without_a_profile_are_restored(tmp_path, denoiser, inverted):
    data = stored(color().convert("CMYK"), "JPEG", quality=90)
    if inverted:  # Adobe's marker says that it is YCCK
        at = data.index(b"Adobe")
        data = data[: at + 11] + b"\x02" + data[at + 12 :]
    (tmp_path / "in.jpg").write_bytes(data)
    assert through(denoiser, tmp_path / "in.jpg", tmp_path / "out.png").pixels.shape[0] == 3


@pytest.mark.parametrize("kind", ["wide", "broken", "oversized"])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_colour_profiles_are_carried_never_judged(tmp_path, denoiser, kind, suffix):
    profile = {"wide": LAB, "broken": b"nonsense" * 40, "oversized": rng().bytes(5_000_000)}[kind]
    picture = Picture(rng().random((3, 9, 11), np.float32), metadata=Metadata(icc_profile=profile))
    images.write(picture, tmp_path / f"in.{suffix}")
    after = through(denoiser, tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}")
    assert after.metadata.icc_profile == profile


@pytest.mark.parametrize("source", ["jpg", "png", "tif"])
@pytest.mark.parametrize("target", ["jpg", "png", "tif", "webp"])
def test_captions_in_iptc_and_comments_are_carried_where_there_is_a_place(tmp_path, denoiser, source, target, caplog):
    metadata = Metadata(iptc=IPTC, comment="Käse".encode())
    images.write(Picture(rng().random((3, 9, 11), np.float32), metadata=metadata), tmp_path / f"in.{source}")
    after = through(denoiser, tmp_path / f"in.{source}", tmp_path / f"out.{target}").metadata
    assert after.iptc == (None if target == "webp" else IPTC)
    assert ("iptc of 22 bytes is left out" in caplog.text) == (target == "webp")
    assert after.comment == (metadata.comment if source == target == "jpg" else None)
    if target == "png" and source == "jpg":
        with Image.open(tmp_path / "out.png") as image:
            assert image.text["Comment"] == "Käse"


def test_png_texts_and_colours_are_carried_as_they_came(tmp_path, denoiser, caplog):
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 100_000))
    info.add(b"gAMA", struct.pack(">I", 1))  # a second one, and one that is too long
    info.add(b"sRGB", bytes(9))
    info.add(b"cICP", bytes([9, 16, 0, 1]))
    info.add_text("parameters", "a cat, steps: 20", zip=True)
    info.add_itxt("Title", "Käse", lang="de")
    color().save(tmp_path / "in.png", pnginfo=info)
    after = through(denoiser, tmp_path / "in.png", tmp_path / "out.png")
    assert after.metadata.png_chunks == images.read(tmp_path / "in.png").metadata.png_chunks
    assert [after.metadata.png_chunks.count(name) for name in (b"gAMA", b"cICP", b"zTXt", b"iTXt")] == [1] * 4
    assert b"sRGB" not in after.metadata.png_chunks
    with Image.open(tmp_path / "out.png") as image:
        assert image.text == {"parameters": "a cat, steps: 20", "Title": "Käse"}
        assert image.info["gamma"] == 1
    assert not caplog.text
    through(denoiser, tmp_path / "in.png", tmp_path / "out.jpg")
    assert "they will look different" in caplog.text
    images.write(after, tmp_path / "bare.png", strip_metadata=True)
    assert images.read(tmp_path / "bare.png").metadata.png_chunks is None


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_what_photographers_write_into_files_is_carried_to_every_format(tmp_path, denoiser, suffix):
    block = exif_of(XPTitle="Title".encode("utf-16le"), Rating=5)
    color().save(tmp_path / "in.jpg", exif=block, dpi=(300, 300))
    color().save(tmp_path / "in.tif", exif=block, dpi=(300, 300))
    for source in ("in.jpg", "in.tif"):
        through(denoiser, tmp_path / source, tmp_path / f"{source}.{suffix}")
        with Image.open(tmp_path / f"{source}.{suffix}") as image:
            tags = image.getexif()
            assert bytes(tags[ExifTags.Base.XPTitle]).startswith("Title".encode("utf-16le"))
            assert tags[ExifTags.Base.Rating] == 5


@pytest.mark.parametrize("target", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("source", ["jpg", "png", "tif", "webp"])
def test_resolution_is_carried_from_every_format_to_every_other(tmp_path, denoiser, source, target):
    images.write(
        Picture(rng().random((3, 9, 11), np.float32), metadata=Metadata(dpi=(300, 240))), tmp_path / f"in.{source}"
    )
    after = through(denoiser, tmp_path / f"in.{source}", tmp_path / f"out.{target}")
    assert after.metadata.dpi == pytest.approx((300, 240), abs=0.1)


def test_a_profile_that_is_a_bomb_costs_the_profile_or_the_file(tmp_path, denoiser):
    data = stored(color())
    chunk = b"iCCP" + b"bomb\0\0" + zlib.compress(bytes(64 << 20))
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "in.png").write_bytes(data[:33] + chunk + data[33:])
    try:
        after = through(denoiser, tmp_path / "in.png", tmp_path / "out.png")
    except ImageError:
        assert not (tmp_path / "out.png").exists()
    else:
        assert after.metadata.icc_profile is None


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (13, 1), (31, 33)])
@pytest.mark.parametrize(("scale", "exact"), [(2, None), (1.7, None), (3.33, None), (None, (101, 67))])
def test_output_sizes_are_exactly_what_was_asked_for(enlarger, size, scale, exact):
    result = enlarger(Picture(rng().random((3, *size), np.float32)), scale=scale, size=exact)
    expected = exact or tuple(int(np.ceil(side * scale)) for side in size)
    assert (result.height, result.width) == expected


@pytest.mark.parametrize(("suffix", "side"), [("jpg", 33_000), ("webp", 8_200)])
def test_sizes_beyond_the_formats_are_refused_before_any_work(tmp_path, enlarger, monkeypatch, suffix, side):
    Image.new("L", (side, 1)).save(tmp_path / "in.png")
    monkeypatch.setattr(Restorer, "restore_planes", lambda *arguments: pytest.fail("work was done"))
    with pytest.raises(UsageError, match="at most"):
        through(enlarger, tmp_path / "in.png", tmp_path / f"out.{suffix}")


def test_a_jpeg_of_many_scans_is_refused_by_its_size_and_given_up_by_the_clock(tmp_path, denoiser):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(slow_jpeg())
    plan = plan_outputs([tmp_path / "a.jpg", tmp_path / "b.jpg"], tmp_path / "out")
    for limits, message in (
        (Limits(max_pixels=2_000_000), "2,000,000 pixels"),
        (Limits(max_seconds=0.5), "more than 0.5 s"),
    ):
        with claim(plan) as output:
            outcomes = restore_files(plan.jobs, output, denoiser, limits=limits)
        assert [message in str(outcome.error) for outcome in outcomes] == [True, True]


SHORT_OF_MEMORY = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.helpers.networks import identity_weights
from msrn.batch import claim, plan_outputs, restore_files
from msrn.restoration.restorer import Restorer
denoiser = Restorer(identity_weights("denoise"), device="cpu", backend="eager", precision="fp32")
plan = plan_outputs([Path({source!r})], Path({target!r}))
with claim(plan) as output:
    restore_files(plan.jobs[:1], output, denoiser)  # everything is imported and started
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + (256 << 20), resource.RLIM_INFINITY))
with claim(plan) as output:
    for outcome in restore_files(plan.jobs, output, denoiser):
        print(outcome.job.source.name, outcome.skipped, outcome.error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS and /proc")
def test_out_of_memory_costs_one_file(tmp_path, request):
    folder = tmp_path / "in"
    for name in ("a", "c"):
        images.write(Picture(rng().random((3, 9, 11), np.float32)), folder / f"{name}.png")
    Image.new("RGB", (5000, 5000)).save(folder / "b.png")  # of which decoding takes less than is free
    code = SHORT_OF_MEMORY.format(root=str(request.config.rootpath), source=str(folder), target=str(tmp_path / "out"))
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    a, b, c = process.stdout.splitlines()
    assert a == "a.png done before None"
    assert "more memory than there is" in b
    assert c == "c.png  None"


def test_a_still_gif_is_restored_with_its_transparency_and_comment(tmp_path, denoiser):
    palette = color().quantize(16)
    palette.save(tmp_path / "in.gif", transparency=3, comment=b"A comment")
    with Image.open(tmp_path / "in.gif") as image:
        expected = np.asarray(image.convert("RGBA"))
    through(denoiser, tmp_path / "in.gif", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        made = np.asarray(image)
    assert 0 < (made[..., 3] == 0).sum() < made[..., 3].size
    assert np.array_equal(made[..., 3], expected[..., 3])
    opaque = made[..., 3] > 0
    assert np.array_equal(made[opaque], expected[opaque])
    color().convert("L").save(tmp_path / "gray.gif", comment=b"A comment")
    assert through(denoiser, tmp_path / "gray.gif", tmp_path / "out.jpg").metadata.comment == b"A comment"
