"""A video restored frame by frame keeps its sound, its times and its colours, whatever interrupts it."""

import os
import re
import subprocess
import sys
from contextlib import closing
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from tests.helpers.networks import identity_weights

from msrn import images
from msrn.batch import STDIO, Settings, claim, forecast_batch, plan_outputs, restore_files
from msrn.errors import ImageError, MSRNError, OutputError, UsageError
from msrn.images.picture import Picture
from msrn.images.video import VideoReader, restore_video
from msrn.restoration.restorer import Restorer
from msrn.types import Limits

av = pytest.importorskip("av")
HOSTILE = "tests.helpers.hostile_videos"
TAGS = {"color_range": 1, "colorspace": 1, "color_primaries": 1, "color_trc": 1}


@pytest.fixture(scope="module")
def denoiser():
    return Restorer(identity_weights("denoise"), device="cpu", backend="eager", precision="fp32")


def clip(path, frames=30, pix_fmt="yuv420p", sound=True, rate=Fraction(24000, 1001)):
    """A gradient that moves, with a tone; every fifth frame is missing, so that the times are uneven."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=rate, options={"crf": "4", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, pix_fmt
        for tag, value in TAGS.items():
            setattr(stream.codec_context, tag, value)
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        tone = out.add_stream("aac", rate=48000, layout="mono") if sound else None
        stream.set_display_rotation(90)
        out.metadata["title"] = "a clip"
        x, y = np.meshgrid(np.arange(48), np.arange(32))
        for number in range(frames):
            if number % 5 == 4:
                continue
            rgb = np.stack([x * 4 + number, y * 6, 255 - x * 4], -1).clip(0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pix_fmt, dst_colorspace=1)
            frame.pts, frame.time_base = number, 1 / rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if tone is not None:
            samples = (8000 * np.sin(np.arange(48000) / 20)).astype(np.int16)[None]
            audio = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            audio.sample_rate, audio.pts = 48000, 0
            out.mux(tone.encode(audio))
            out.mux(tone.encode(None))
    return path


def contents(path):
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
        stream = file.streams.video[0]
        about = (stream.average_rate, stream.sample_aspect_ratio, file.metadata.get("title"))
    with av.open(str(path)) as file:
        sound = [bytes(packet) for packet in file.demux(audio=0) if packet.size] if file.streams.audio else []
    return frames, about, sound


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le"])
def test_everything_but_the_pixels_is_kept(tmp_path, denoiser, suffix, pix_fmt):
    source = clip(tmp_path / f"in{suffix}", pix_fmt=pix_fmt)
    assert restore_video(source, tmp_path / f"out{suffix}", denoiser, "") == 24
    before, about, sound = contents(source)
    after, about_after, sound_after = contents(tmp_path / f"out{suffix}")
    assert [float(frame.time) for frame in after] == pytest.approx([float(frame.time) for frame in before], abs=1e-3)
    assert about_after == about
    assert sound_after == sound
    assert len(sound) > 40
    assert after[0].format.name == pix_fmt
    assert abs(after[0].rotation) == 90
    assert after[0].rotation == before[0].rotation
    for tag, value in TAGS.items():
        assert getattr(after[0], tag) == value, tag
    rgb = [np.stack([frame.to_ndarray(format="rgb24") for frame in frames]).astype(float) for frames in (before, after)]
    assert np.abs(rgb[0] - rgb[1]).mean() < 3
    assert abs((rgb[0] - rgb[1]).mean()) < 0.9  # no drift of range or matrix
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"in{suffix}", f"out{suffix}"]


def test_enlarged(tmp_path):
    enlarger = Restorer(identity_weights("sr"), device="cpu", backend="eager", precision="fp32")
    restore_video(clip(tmp_path / "in.mp4", sound=False), tmp_path / "out.mp4", partial(enlarger, scale=1.5), "")
    assert contents(tmp_path / "out.mp4")[0][0].width == 72
    restore_video(tmp_path / "in.mp4", tmp_path / "odd.mp4", partial(enlarger, size=(33, 49)), "")
    odd = contents(tmp_path / "odd.mp4")[0][0]
    assert (odd.width, odd.height, odd.format.name) == (49, 33, "yuv444p")


def test_an_interruption_is_resumed_at_its_segment(tmp_path, denoiser):
    source = clip(tmp_path / "in.mp4")

    def made(name, key="", **options):
        """Make a file in segments of 7 frames; returns the numbers of those that were restored."""
        seen = []
        how = {"segment_frames": 7, "progress": lambda done, total: seen.append(done)} | options
        restore_video(source, tmp_path / name, denoiser, key, **how)
        return seen

    def stop(done, total):
        if done == 17:
            raise KeyboardInterrupt

    assert made("undisturbed.mp4") == list(range(1, 25))
    with pytest.raises(KeyboardInterrupt):
        made("out.mp4", progress=stop)
    assert not (tmp_path / "out.mp4").exists()
    assert made("out.mp4") == list(range(15, 25))
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "undisturbed.mp4").read_bytes()
    assert len(list(tmp_path.iterdir())) == 3

    (tmp_path / "out.mp4").unlink()
    with pytest.raises(KeyboardInterrupt):
        made("out.mp4", progress=stop)
    assert len(list(tmp_path.glob(".msrn-*.segments"))) == 1
    assert made("out.mp4", "other settings") == list(range(1, 25))
    assert not list(tmp_path.glob(".msrn-*"))


def test_two_runs_do_not_make_one_video(tmp_path, denoiser):
    source = clip(tmp_path / "in.mp4", frames=4, sound=False)

    def another(picture):
        with pytest.raises(OutputError, match="another run is restoring the same video"):
            restore_video(source, tmp_path / "out.mp4", denoiser, "")
        return denoiser(picture)

    assert restore_video(source, tmp_path / "out.mp4", another, "") == 4
    assert not list(tmp_path.glob(".msrn-*"))


def test_a_decoder_that_was_killed_costs_no_segment(tmp_path, denoiser):
    source, kill = clip(tmp_path / "in.mp4"), tmp_path / "in.kill"
    kill.touch()
    with pytest.raises(ImageError, match="its decoder was killed"):
        restore_video(source, tmp_path / "out.mp4", denoiser, "", segment_frames=7, decoder=HOSTILE)
    seen = []
    progress = lambda done, total: seen.append(done)  # noqa: E731
    restore_video(source, tmp_path / "out.mp4", denoiser, "", segment_frames=7, progress=progress)
    assert seen[0] == 15


@pytest.mark.parametrize(
    ("name", "message"),
    [("crash", "made its decoder crash"), ("hang", "more than 2 s"), ("backwards", "no later than the one before it")],
)
def test_a_hostile_video_ends_with_an_error(tmp_path, denoiser, name, message):
    """AVI says when frames are decoded: those of ``backwards`` go back in time, as nobody puts them right."""
    source = clip(tmp_path / f"{name}.avi", sound=False)
    with pytest.raises(ImageError, match=message):
        restore_video(source, tmp_path / "out.mp4", denoiser, "", limits=Limits(max_seconds=2), decoder=HOSTILE)
    assert list(tmp_path.iterdir()) == [source]


def test_a_fault_of_the_network_is_not_the_disks(tmp_path):
    def faulty(picture):
        raise RuntimeError("CUDA error")

    with pytest.raises(MSRNError, match=r"in\.mp4: internal error.*CUDA error") as caught:
        restore_video(clip(tmp_path / "in.mp4"), tmp_path / "out.mp4", faulty, "")
    assert not isinstance(caught.value, OutputError)


@pytest.mark.parametrize(
    ("codec", "stored", "expected"),
    [
        ("libx264rgb", "rgb24", "yuv444p"),
        ("ffv1", "gbrp10le", "yuv444p10le"),
        ("ffv1", "yuv444p12le", "yuv444p10le"),
        ("ffv1", "yuva422p10le", "yuv422p10le"),
        ("ffv1", "yuv411p", "yuv422p"),
        ("ffv1", "gray", "yuv420p"),
    ],
)
def test_other_kinds_of_frames_keep_depth_and_chroma_and_look_the_same(codec, stored, expected, tmp_path, denoiser):
    rgb = np.zeros((32, 48, 3), np.uint8) + np.array([200, 90, 30] if stored != "gray" else [90, 90, 90], np.uint8)
    with av.open(str(tmp_path / "in.mkv"), "w") as out:
        stream = out.add_stream(codec, rate=5)
        stream.width, stream.height, stream.pix_fmt = 48, 32, stored
        # In several threads, PyAV 18 now and then garbles a row between two threads of a frame with alpha.
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=stored, threads=1)
        frame.pts, frame.time_base = 0, Fraction(1, 5)
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    restore_video(tmp_path / "in.mkv", tmp_path / "out.mkv", denoiser, "")
    (made,), _, _ = contents(tmp_path / "out.mkv")
    assert made.format.name.replace("yuvj", "yuv") == expected
    assert np.abs(made.to_ndarray(format="rgb24").astype(int) - rgb).max() <= 4


def test_frames_of_matroska_are_counted_for_the_forecast(tmp_path):
    with closing(VideoReader(clip(tmp_path / "in.mkv", sound=False))) as source:
        assert source.stream.frames == pytest.approx(30, abs=2)


def test_what_cannot_be_restored_is_refused(tmp_path, denoiser):
    source = clip(tmp_path / "in.mp4")
    for limits, message in ((Limits(max_frames=23), "23 frames"), (Limits(max_pixels=1000), "1,000 pixels")):
        with pytest.raises(ImageError, match=message):
            restore_video(source, tmp_path / "out.mp4", denoiser, "", limits=limits)
    with pytest.raises(UsageError, match=r"\.webm"):
        restore_video(source, tmp_path / "out.webm", denoiser, "")
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"#EXTM3U\n#EXTINF:10,\n{source}\n#EXT-X-ENDLIST\n")
    truncated = tmp_path / "cut.mp4"
    truncated.write_bytes(source.read_bytes()[:2000])
    for bad in (playlist, truncated, tmp_path / "nowhere.mp4"):
        with pytest.raises(ImageError, match=bad.stem):
            restore_video(bad, tmp_path / "out.mp4", denoiser, "")
    assert not (tmp_path / "out.mp4").exists()


def test_a_last_frame_may_stand_for_long(tmp_path, denoiser):
    for suffix in (".mp4", ".mkv"):
        source = clip(tmp_path / f"slides{suffix}", frames=4, sound=False, rate=Fraction(1, 3))
        assert restore_video(source, tmp_path / f"out{suffix}", denoiser, "") == 4


def test_sound_that_does_not_fit_is_found_before_the_first_frame(tmp_path, denoiser):
    source = tmp_path / "in.avi"
    with av.open(str(source), "w") as out:
        stream = out.add_stream("mpeg4", rate=5)
        stream.width, stream.height = 48, 32
        tone = out.add_stream("adpcm_ms", rate=44100, layout="mono")
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 90, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 5)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        audio = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.int16), format="s16", layout="mono")
        audio.sample_rate, audio.pts = 44100, 0
        out.mux(tone.encode(audio))
        out.mux(tone.encode(None))
    seen = []
    with pytest.raises(ImageError, match=r"audio \(adpcm_ms\) does not fit into \.mp4"):
        restore_video(source, tmp_path / "out.mp4", denoiser, "", progress=lambda done, total: seen.append(done))
    assert not seen
    assert [path.name for path in tmp_path.iterdir()] == ["in.avi"]  # no segments are left either


def test_without_pyav_the_command_says_what_to_install(tmp_path):
    (tmp_path / "av.py").write_text("raise ImportError")
    source = clip(tmp_path / "in.mp4", frames=2, sound=False)
    command = [sys.executable, "-m", "msrn.cli", "denoise", str(source), "-o", str(tmp_path / "out.mp4")]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    process = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert process.returncode == 2, process.stderr
    assert re.search(r"PyAV.*\[video\]", process.stderr)


def test_a_video_cut_off_in_the_middle_is_not_taken_for_a_short_one(tmp_path, denoiser):
    source = clip(tmp_path / "in.mkv", frames=120, sound=False)
    (tmp_path / "cut.mkv").write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(ImageError, match="truncated"):
        restore_video(tmp_path / "cut.mkv", tmp_path / "out.mkv", denoiser, "")
    assert not (tmp_path / "out.mkv").exists()


def test_the_command(tmp_path):
    source = clip(tmp_path / "in.mp4", frames=4, sound=False)
    command = [sys.executable, "-m", "msrn.cli", "upscale", str(source)]
    process = subprocess.run([*command, "-o", str(tmp_path / "big.mkv")], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert contents(tmp_path / "big.mkv")[0][0].width == 96
    for output, code in (("big.mkv", 5), ("in.mp4", 2)):
        process = subprocess.run([*command, "-o", str(tmp_path / output)], capture_output=True, text=True)
        assert process.returncode == code, process.stderr


def test_videos_in_a_batch_cost_only_themselves(tmp_path, denoiser):
    folder = tmp_path / "in"
    folder.mkdir()
    clip(folder / "good.mp4", frames=8)
    clip(folder / "more.ts", frames=4, sound=False)  # not taken for a video inside a folder
    whole = clip(folder / "cut.mkv", frames=60, sound=False).read_bytes()
    (folder / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    images.write(Picture(np.full((3, 8, 9), 0.5, np.float32)), folder / "picture.png")
    plan = plan_outputs([folder], tmp_path / "out")
    assert [job.source.name for job in plan.jobs] == ["picture.png"]
    assert sorted(path.name for path in plan.videos_left_out) == ["cut.mkv", "good.mp4"]
    plan = plan_outputs([folder], tmp_path / "out", videos=True)

    def run():
        with claim(plan) as output:
            return restore_files(plan.jobs, output, denoiser)

    outcomes = run()
    assert [outcome.job.target.name for outcome in outcomes] == ["cut.mkv", "good.mp4", "picture.png"]
    assert "truncated" in str(outcomes[0].error)
    assert [outcome.error for outcome in outcomes[1:]] == [None, None]
    assert outcomes[1].pixels == 7 * 48 * 32
    made = (tmp_path / "out" / "good.mp4").read_bytes()
    assert [outcome.skipped for outcome in run()] == ["", "done before", "done before"]
    assert (tmp_path / "out" / "good.mp4").read_bytes() == made
    assert not list((tmp_path / "out").glob(".msrn-*"))


def test_a_video_is_restored_by_what_its_first_frame_needs(tmp_path, denoiser):
    source, asked = clip(tmp_path / "in.mp4", frames=75, sound=False), []  # more than a segment

    class Chooser:
        identity, choices = denoiser.identity, denoiser.choices

        def settled(self, picture, scale, size, *, quick):
            asked.append(picture.pixels)
            return denoiser.settled(picture, scale, size)

    def run(**options):
        plan = plan_outputs([source], tmp_path / "out")
        with claim(plan) as output:
            return restore_files(plan.jobs, output, Chooser(), **options)

    def stop(job, share):
        if share > 0.7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(progress=stop)
    run()
    assert len(asked) == 2  # once a run, also of one that goes on in the middle
    assert np.array_equal(*asked)


def test_what_a_container_says_is_left_out_on_request(tmp_path, denoiser):
    source = clip(tmp_path / "in.mp4")
    restore_video(source, tmp_path / "out.mp4", denoiser, "", strip_metadata=True)
    frames, about, sound = contents(tmp_path / "out.mp4")
    assert about[2] is None
    assert sound
    assert abs(frames[0].rotation) == 90


def test_names_of_videos(tmp_path):
    clip(tmp_path / "a.avi", frames=2, sound=False)
    clip(tmp_path / "b.mkv", frames=2, sound=False)
    out = tmp_path / "out"

    def names(*inputs, **options):
        return [job.target.relative_to(tmp_path).as_posix() for job in plan_outputs(list(inputs), out, **options).jobs]

    a, b = tmp_path / "a.avi", tmp_path / "b.mkv"
    assert names(a, b) == ["out/a.mp4", "out/b.mkv"]
    assert names(a, b, extension="mov", suffix="_x") == ["out/a_x.mov", "out/b_x.mov"]
    assert names(a, extension="png") == ["out/a.mp4"]
    out = tmp_path / "one.mkv"
    assert names(a) == ["one.mkv"]
    out = tmp_path / "one.png"
    with pytest.raises(UsageError, match=r"a\.avi cannot be written as \.png"):
        names(a)
    with pytest.raises(UsageError, match="standard output"):
        plan_outputs([a], STDIO)
    with pytest.raises(UsageError, match="name a folder"):
        plan_outputs([tmp_path], out)


def test_frames_of_avi_are_put_in_time(tmp_path, denoiser):
    """AVI says when frames are decoded, and the clip's are predicted from later ones."""
    source = clip(tmp_path / "in.avi", sound=False)
    stored = [frame.pts for frame in contents(source)[0]]
    assert stored != sorted(stored)
    assert restore_video(source, tmp_path / "out.mkv", denoiser, "") == len(stored)
    before, after = (contents(tmp_path / name)[0] for name in ("in.avi", "out.mkv"))
    times = [float(frame.time) for frame in after]
    expected = sorted(float(frame.time) for frame in before)
    assert np.diff(times) == pytest.approx(np.diff(expected), abs=2e-3)
    for a, b in zip(before, after, strict=True):
        assert np.abs(a.to_ndarray(format="gray").astype(int) - b.to_ndarray(format="gray")).mean() < 3


def test_an_exact_size_is_that_of_the_video_as_it_is_shown(tmp_path):
    source = clip(tmp_path / "in.mp4", frames=4)  # stored as 48×32, shown as 32×48
    plan = plan_outputs([source], tmp_path / "out")
    enlarger = Restorer(identity_weights("sr"), device="cpu", backend="eager", precision="fp32")
    settings = Settings(size=(96, 64))
    (expected,) = forecast_batch(plan.jobs, enlarger, settings)
    assert expected.seconds > 0, expected.error
    with claim(plan) as output:
        assert restore_files(plan.jobs, output, enlarger, settings)[0].error is None
    frame = contents(tmp_path / "out" / "in.mp4")[0][0]
    assert (frame.width, frame.height, abs(frame.rotation)) == (96, 64, 90)
