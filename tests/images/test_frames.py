"""Animations and pages: restored picture by picture, with all that the file says; what cannot be is refused."""

import io
import struct
import time
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import GifImagePlugin, Image
from tests.helpers.files import SRGB, XMP, exif_in, exif_of, rng
from tests.helpers.networks import identity_weights

import msrn
from msrn import images
from msrn.batch import Settings, claim, plan_outputs, restore_files
from msrn.errors import ImageError, OutputError, SeveralPicturesError, TooManyPixelsError, UsageError
from msrn.images.frames.gif import read_gif_head
from msrn.images.frames.series import Series
from msrn.images.isolated import Decoder
from msrn.images.picture import Metadata, Picture
from msrn.restoration.restorer import Restorer

WIDTH, HEIGHT = 24, 18


@pytest.fixture(scope="module")
def denoiser():
    return Restorer(identity_weights("denoise"), device="cpu", backend="eager", precision="fp32")


def moving(count=4, clear=False):
    """A square that moves over noise, or over nothing."""
    behind = Image.fromarray(rng().integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).quantize(60).convert("RGB")
    frames = []
    for k in range(count):
        frame = Image.new("RGBA", behind.size) if clear else behind.copy()
        frame.paste(behind.crop((0, 0, 8, 8)) if clear else (255, 0, 9 * k), (4 * k, 5, 4 * k + 8, 13))
        frames.append(frame)
    return frames


def animation(path, clear=False, **options):
    """The frames that a file of this name holds, as other programs see them."""
    frames = moving(clear=clear)
    if path.suffix == ".gif" and not clear:
        frames = [frame.quantize(80) for frame in frames]
    frames[0].save(path, save_all=True, append_images=frames[1:], **{"duration": [100, 200, 50, 30], **options})
    return shown(path)


def shown(path):
    with Image.open(path) as image:
        frames = []
        for number in range(image.n_frames):
            image.seek(number)
            frames.append(np.asarray(image.convert("RGBA")))
    return frames


def restored(source, target, denoiser, settings=None, **options):
    """What became of a file in a batch of its own."""
    plan = plan_outputs([source], target, **options)
    with claim(plan) as output:
        (outcome,) = restore_files(plan.jobs, output, denoiser, settings or Settings())
    assert not list(target.parent.glob(".msrn-*.tmp"))
    return outcome


KEPT = {
    ".gif": {"loop": 3, "comment": b"a comment"},
    ".png": {"loop": 3, "icc_profile": SRGB, "exif": exif_of(Make="Maker"), "dpi": (300, 300)},
    ".webp": {"loop": 3, "icc_profile": SRGB, "exif": exif_of(Make="Maker"), "xmp": XMP, "lossless": True},
}


@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize("suffix", KEPT)
def test_an_animation_keeps_its_frames_times_loops_and_metadata(suffix, clear, tmp_path, denoiser):
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    options = {"disposal": 1 if suffix == ".png" else 2} if clear else {}
    before = animation(source, clear, **KEPT[suffix], **options)
    outcome = restored(source, target, denoiser, Settings(quality=100))
    assert outcome.error is None
    assert outcome.note.startswith("4 frames")
    assert outcome.pixels == 4 * WIDTH * HEIGHT
    for was, now in zip(before, shown(target), strict=True):
        assert np.array_equal(was[..., 3], now[..., 3])
        assert np.array_equal(was[was[..., 3] > 0], now[now[..., 3] > 0])
    was, now = images.read_frames(source), images.read_frames(target)
    assert now.series == was.series
    assert now.series.plays == 3 + (suffix == ".gif")  # of which Netscape counts the repetitions
    assert now.series.seconds == (Fraction(1, 10), Fraction(1, 5), Fraction(1, 20), Fraction(3, 100))
    was, now = next(iter(was)).metadata, next(iter(now)).metadata
    for name in ("bits", "icc_profile", "xmp", "comment", "dpi"):
        assert getattr(now, name) == getattr(was, name), name
    assert (was.exif is None) == (now.exif is None) == (suffix == ".gif")


def test_pages_keep_their_sizes_depths_and_metadata(tmp_path, denoiser):
    source, target = tmp_path / "in.tif", tmp_path / "out.tif"
    deep = rng().integers(0, 65536, (9, 11, 3), np.uint16)
    with tifffile.TiffWriter(source, byteorder=">") as file:
        about = {"software": None, "metadata": None, "compression": "zlib"}
        file.write(deep, photometric="rgb", resolution=(300, 200), resolutionunit="INCH", iccprofile=SRGB, **about)
        file.write(deep[:5, :6, 0], photometric="minisblack", description="the second", **about)
        named = [(285, "s", 0, "a name", True), (700, "B", len(XMP), XMP, True)]
        file.write((deep[:, :, :2] >> 8).astype(np.uint8), photometric="minisblack", extrasamples=[2], extratags=named)
    outcome = restored(source, target, denoiser)
    assert outcome.error is None
    assert outcome.note.startswith("3 pages")
    was, now = (list(images.read_frames(path)) for path in (source, target))
    assert [repr(page).partition(", from")[0] for page in now] == [
        "Picture(11×9, RGB, 16 bits", "Picture(6×5, gray, 16 bits", "Picture(11×9, gray with alpha, 8 bits",
    ]  # fmt: skip
    for before, after in zip(was, now, strict=True):
        assert np.array_equal(before.to_array(), after.to_array())
        assert (before.metadata.dpi, before.metadata.icc_profile) == (after.metadata.dpi, after.metadata.icc_profile)
        assert before.metadata.xmp == after.metadata.xmp
    assert now[0].metadata.dpi == (300, 200)
    assert now[2].metadata.xmp == XMP
    assert (exif_in(now[1])[270], exif_in(now[2])[285]) == ("the second", "a name")
    with tifffile.TiffFile(target) as file:
        assert [page.tags[297].value for page in file.pages] == [(0, 3), (1, 3), (2, 3)]


def test_smaller_versions_and_masks_are_no_pages(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        for height, kind in ((4, 1), (8, 0), (4, 1)):
            file.write(np.full((height, 8, 3), kind, np.uint8), photometric="rgb", subfiletype=kind)
        file.write(np.ones((8, 8), bool), photometric="mask", subfiletype=4)
    assert [page.height for page in images.read_frames(tmp_path / "x.tif")] == [8]
    assert images.read(tmp_path / "x.tif").height == 8


def test_pages_of_large_tiffs_and_of_the_other_order_are_found(tmp_path):
    for big, order in ((True, "<"), (True, ">"), (False, ">")):
        with tifffile.TiffWriter(tmp_path / "x.tif", bigtiff=big, byteorder=order) as file:
            for value in (1, 2, 3):
                file.write(np.full((value, 4), value, np.uint16), metadata=None)
        pages = list(images.read_frames(tmp_path / "x.tif"))
        assert [(page.height, page.to_array()[0, 0]) for page in pages] == [(1, 1), (2, 2), (3, 3)]
        assert images.read(tmp_path / "x.tif", frame=2).height == 2


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_an_animation_becomes_another(suffix, tmp_path, caplog):
    before = animation(tmp_path / "in.png", duration=[100, 1000 / 30, 1000 / 60, 30], loop=2)
    frames = images.read_frames(tmp_path / "in.png")
    images.write_frames(frames, tmp_path / f"out{suffix}", quality=100)
    again = images.read_frames(tmp_path / f"out{suffix}")
    assert ("TIFF holds no times" in caplog.text) == (suffix == ".tif")
    if suffix != ".tif":
        assert again.series.plays == 2
        assert abs(sum(again.series.seconds) - sum(frames.series.seconds)) <= Fraction(1, 100)
        pairs = zip(again.series.seconds, frames.series.seconds, strict=True)
        assert all(abs(a - b) <= Fraction(1, 100) for a, b in pairs)
    for was, now in zip(before, shown(tmp_path / f"out{suffix}"), strict=True):
        assert np.array_equal(was, now)


def test_what_stands_for_an_animation_elsewhere_is_kept_by_png_alone(tmp_path):
    frames = moving(3)
    frames[0].save(tmp_path / "in.png", save_all=True, append_images=frames[1:], default_image=True, duration=40)
    for suffix, times in ((".png", (None, Fraction(1, 25), Fraction(1, 25))), (".gif", (Fraction(1, 25),) * 2)):
        images.write_frames(images.read_frames(tmp_path / "in.png"), tmp_path / f"out{suffix}")
        assert images.read_frames(tmp_path / f"out{suffix}").series.seconds == times
    assert np.array_equal(shown(tmp_path / "out.png")[0], np.asarray(frames[0].convert("RGBA")))


def test_nothing_flickers_where_nothing_moves(tmp_path):
    still = rng().random((3, 60, 80), dtype=np.float32)
    pictures = [Picture(np.concatenate([still, np.full((3, 60, 9), k / 5, np.float32)], 2)) for k in range(4)]
    frames = images.Frames.of(pictures, [0.05] * 4)
    images.write_frames(frames, tmp_path / "x.gif")
    first, *others = shown(tmp_path / "x.gif")
    for number, other in enumerate(others, start=1):
        assert np.array_equal(other[:, :80], first[:, :80])
        assert abs(int(other[5, 85, 0]) - 51 * number) <= 1
    assert np.abs(first[:, :80, :3].astype(int).mean() - 255 * still.mean()) < 2  # dithered: right from afar


def test_a_gray_first_frame_does_not_make_the_others_gray(tmp_path):
    gray = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    gray.putpalette(bytes(value for value in range(256) for _ in range(3)))
    red = Image.new("RGB", (16, 16), (255, 0, 0)).quantize(2)
    frames = (b"".join(GifImagePlugin.getdata(each, include_color_table=True)) for each in (gray, red))
    (tmp_path / "x.gif").write_bytes(b"GIF89a" + struct.pack("<HHBBB", 16, 16, 0x70, 0, 0) + b"".join(frames) + b";")
    first, second = images.read_frames(tmp_path / "x.gif")
    assert np.array_equal(first.to_array()[..., 1].ravel(), np.arange(256))
    assert second.to_array()[3, 3].tolist() == [255, 0, 0]


def test_what_no_frame_of_a_webp_covers_is_transparent(tmp_path):
    square = Image.fromarray(rng().integers(0, 256, (30, 40, 3), np.uint8))
    frames = [Image.new("RGBA", (80, 60)) for _ in range(3)]
    for k, frame in enumerate(frames):
        frame.paste(square, (8 * k, 10))
    frames[0].save(tmp_path / "x.webp", save_all=True, append_images=frames[1:], lossless=True, duration=50)
    assert not (tmp_path / "x.webp").read_bytes()[20] & 16  # nothing in the file says so
    images.write_frames(images.read_frames(tmp_path / "x.webp"), tmp_path / "y.webp")
    for picture, frame in zip(images.read_frames(tmp_path / "y.webp"), frames, strict=True):
        assert np.array_equal(picture.to_array()[..., 3], np.asarray(frame)[..., 3])
    assert (tmp_path / "y.webp").read_bytes()[20] & 16


def test_half_transparency_is_cut_in_gif_and_metadata_stay(tmp_path):
    alpha = np.tile(np.linspace(0, 1, 11, dtype=np.float32), (7, 1))[None]
    about = Metadata(8, SRGB, None, xmp=XMP, comment=b"x" * 300)
    picture = Picture(rng().random((3, 7, 11), dtype=np.float32), alpha, about)
    for name in ("still.gif", "moving.gif"):
        pictures = [picture, picture] if name == "moving.gif" else [picture]
        frames = images.Frames.of(pictures, [1] * len(pictures), plays=1)
        images.write_frames(frames, tmp_path / name)
        made = shown(tmp_path / name)
        assert all(np.array_equal(each[..., 3] > 0, alpha[0] >= 0.5) for each in made)
        with (tmp_path / name).open("rb") as file:
            head = read_gif_head(file, 9)
        assert (head.icc_profile, head.xmp, head.plays) == (SRGB, XMP, 1)
    assert next(iter(images.read_frames(tmp_path / "moving.gif"))).metadata.comment == b"x" * 300


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_one_frame_or_page_on_request(suffix, tmp_path, denoiser):
    source = tmp_path / f"in{suffix}"
    frames = animation(source, **({"lossless": True} if suffix == ".webp" else {}))
    for number in (1, 3):
        made = images.read(source, frame=number).to_array()
        assert np.array_equal(made[..., :3], frames[number - 1][..., :3])
    with pytest.raises(ImageError, match=r"holds 4 (frames|pages), and none of number 5"):
        images.read(source, frame=5)
    with pytest.raises(SeveralPicturesError, match=r"several .*--frame 1.*read_frames"):
        images.read(source)
    with pytest.raises(ImageError, match=r"frame=1"):
        msrn.restore(source)
    outcome = restored(source, tmp_path / "x.jpg", denoiser, Settings(frame=2))
    assert outcome.error is None
    assert outcome.size == (WIDTH, HEIGHT)


def test_a_format_that_holds_one_picture_says_what_to_do(tmp_path, denoiser):
    animation(tmp_path / "x.gif")
    animation(tmp_path / "x.tif")
    for name, target, words in (
        ("x.gif", "x.jpg", r"JPEG cannot hold 4 frames; write \.gif, \.png, \.webp or \.tif, or only one.*--frame 1"),
        ("x.tif", "x.png", r"PNG cannot hold 4 pages; write \.tif, or only one page: --page 1"),
    ):
        outcome = restored(tmp_path / name, tmp_path / "out" / target, denoiser)
        assert isinstance(outcome.error, UsageError)
        with pytest.raises(UsageError, match=words):
            raise outcome.error
        assert not (tmp_path / "out").exists()


def test_animated_gifs_stay_gifs_and_still_ones_become_png(tmp_path):
    animation(tmp_path / "moving.gif")
    moving()[0].save(tmp_path / "still.gif")
    (tmp_path / "broken.gif").write_bytes(b"GIF89a")
    names = {job.source.name: job.target.name for job in plan_outputs([tmp_path], tmp_path / "out").jobs}
    assert names == {"moving.gif": "moving.gif", "still.gif": "still.png", "broken.gif": "broken.png"}
    for options in ({"extension": "png"}, {"frame": 1}):
        (job,) = plan_outputs([tmp_path / "moving.gif"], tmp_path / "out", **options).jobs
        assert job.target.name == "moving.png"
    (tmp_path / "film.mp4").touch()
    with pytest.raises(UsageError, match=r"film\.mp4 is a video; --frame"):
        plan_outputs([tmp_path / "film.mp4"], tmp_path / "out", frame=1)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_a_file_cut_off_in_the_middle_is_not_taken_for_a_short_one(suffix, tmp_path, denoiser):
    animation(tmp_path / f"x{suffix}")
    data = (tmp_path / f"x{suffix}").read_bytes()
    (tmp_path / f"x{suffix}").write_bytes(data[: len(data) * 7 // 10])
    outcome = restored(tmp_path / f"x{suffix}", tmp_path / "out" / f"x{suffix}", denoiser)
    assert isinstance(outcome.error, ImageError)
    assert "truncated or damaged" in str(outcome.error)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_what_goes_wrong_at_a_later_frame_leaves_nothing(suffix, tmp_path, denoiser, monkeypatch):
    animation(tmp_path / f"x{suffix}")
    restore, calls = Restorer.__call__, []

    def fail_at_third(self, picture, **how):
        calls.append(picture)
        if len(calls) == 3:
            raise ValueError("not of the file")
        return restore(self, picture, **how)

    monkeypatch.setattr(Restorer, "__call__", fail_at_third)
    outcome = restored(tmp_path / f"x{suffix}", tmp_path / "out" / f"x{suffix}", denoiser)
    assert str(outcome.error).endswith("internal error, please report it: ValueError('not of the file')")
    assert not list((tmp_path / "out").iterdir())


def test_all_frames_count_and_a_hundred_thousand_are_refused_at_once(tmp_path):
    stream = io.BytesIO()
    moving()[0].convert("P").save(stream, "GIF")
    start = stream.getvalue()[: stream.getvalue().index(b",")]
    frame = b"\x21\xf9\x04\0\0\0\0\0" + b"\x2c" + struct.pack("<4HB", 0, 0, 8, 8, 0) + b"\x08\x01\xff\0"
    data, path = start + frame * 100_000 + b"\x3b", Path("x.gif")  # of pixels that cannot be decoded
    started = time.monotonic()
    with pytest.raises(TooManyPixelsError, match=r"100,000 frames of 43,200,000 pixels together.*--max-pixels"):
        images.decode_frames(data, path, max_pixels=43_199_999)
    with pytest.raises(ImageError, match=r"more than 99,999 frames and is refused \(--max-frames\)"):
        images.decode_frames(data, path, max_frames=99_999)
    assert len(images.decode_frames(data, path)) == 100_000
    assert time.monotonic() - started < 20
    with pytest.raises(ImageError, match="truncated or damaged"):
        next(iter(images.decode_frames(data, path)))


def test_pages_that_lead_in_circles_or_nowhere_end(tmp_path):
    animation(tmp_path / "x.tif")
    data = bytearray((tmp_path / "x.tif").read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)
    link = first + 2 + 12 * struct.unpack_from("<H", data, first)[0]
    for place, what in ((first, None), (len(data) + 9, "damaged"), (len(data) - 1, "damaged")):
        struct.pack_into("<I", data, link, place)
        if what is None:
            assert images.decode(bytes(data), Path("x")).width == WIDTH
        else:
            with pytest.raises(ImageError, match=what):
                images.decode(bytes(data), Path("x"))


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_frames_pass_through_one_by_one(suffix, tmp_path):
    """Thirty frames take no more memory than the few that are under way."""
    pixels = rng().random((3, 300, 400), dtype=np.float32)
    series = Series("frame", 30, (Fraction(1, 20),) * 30)
    frames = images.Frames(series, lambda: (Picture(np.roll(pixels, k, 2)) for k in range(30)))
    images.get_ready()
    tracemalloc.start()
    images.write_frames(frames, tmp_path / f"x{suffix}")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * pixels.nbytes + 2 * (tmp_path / f"x{suffix}").stat().st_size * (suffix == ".webp")


def test_frames_come_out_of_another_process_as_they_are(tmp_path):
    animation(tmp_path / "x.gif", comment=b"a comment")
    data, path = (tmp_path / "x.gif").read_bytes(), tmp_path / "x.gif"
    decoder = Decoder()
    try:
        here, there = images.decode_frames(data, path), decoder.decode_frames(data, path)
        assert here.series == there.series
        for one, other in zip(here, there, strict=True):
            assert np.array_equal(one.pixels, other.pixels)
            assert one.metadata == other.metadata
        pictures = iter(there)
        assert next(pictures).width == WIDTH
        pictures.close()  # in the middle: the next question is another
        assert decoder.decode(data, path, 4).width == WIDTH
        with pytest.raises(ImageError, match="0 bytes"):
            decoder.decode_frames(b"", path)
        with pytest.raises(ImageError, match="more than 3 frames"):
            decoder.decode_frames(data, path, max_frames=3)
    finally:
        decoder.close()


def test_frames_of_two_kinds_make_no_animation_and_leave_nothing(tmp_path):
    small, large = (Picture(np.zeros((3, 4, side), np.float32)) for side in (4, 5))
    frames = images.Frames.of([small, large], [1, 1])
    for suffix in (".gif", ".png", ".webp"):
        with pytest.raises(UsageError, match="frame 2 is"):
            images.write_frames(frames, tmp_path / f"x{suffix}")
    images.write_frames(images.Frames.of([small, large]), tmp_path / "x.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["x.tif"]
    with pytest.raises(OutputError, match="exists"):
        images.write_frames(frames, tmp_path / "x.tif")
    with pytest.raises(UsageError, match="2 frames need as many times, got 1"):
        images.Frames.of([small, large], [1])
    with pytest.raises(UsageError, match="no picture"):
        images.Frames.of([])


def test_functions_take_frames_and_return_frames(tmp_path, denoiser):
    before = animation(tmp_path / "x.png")
    frames = images.read_frames(tmp_path / "x.png")
    assert repr(frames) == "Frames(4 frames)"
    msrn.write_frames(frames.map(denoiser), tmp_path / "y.png")
    assert all(np.array_equal(a, b) for a, b in zip(before, shown(tmp_path / "y.png"), strict=True))
    assert isinstance(msrn.denoise(frames), msrn.Frames)
    moving()[0].save(tmp_path / "still.png")
    assert [picture.width for picture in msrn.read_frames(tmp_path / "still.png")] == [WIDTH]
