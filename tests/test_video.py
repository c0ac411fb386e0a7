"""A video restored frame by frame keeps its sound, its times and its colours, whatever interrupts it."""

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from tests.tools import identity_weights

from msrn import video
from msrn.engine import Restorer
from msrn.errors import ImageError, UsageError
from msrn.video import restore_video

av = pytest.importorskip("av")
TAGS = {"color_range": 1, "colorspace": 1, "color_primaries": 1, "color_trc": 1}


@pytest.fixture(scope="module")
def denoiser():
    return Restorer(identity_weights("denoise"), device="cpu")


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
    enlarger = Restorer(identity_weights("sr"), device="cpu")
    restore_video(clip(tmp_path / "in.mp4", sound=False), tmp_path / "out.mp4", enlarger, "", scale=1.5)
    assert contents(tmp_path / "out.mp4")[0][0].width == 72
    with pytest.raises(UsageError, match="even"):
        restore_video(tmp_path / "in.mp4", tmp_path / "odd.mp4", enlarger, "", size=(33, 49))


def test_an_interruption_is_resumed_at_its_segment(tmp_path, denoiser, monkeypatch):
    monkeypatch.setattr(video, "SEGMENT", 7)
    source = clip(tmp_path / "in.mp4")
    restore_video(source, tmp_path / "undisturbed.mp4", denoiser, "")

    def stop(done, total):
        if done == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_video(source, tmp_path / "out.mp4", denoiser, "", progress=stop)
    assert not (tmp_path / "out.mp4").exists()
    seen = []
    restore_video(source, tmp_path / "out.mp4", denoiser, "", progress=lambda done, total: seen.append(done))
    assert seen == list(range(15, 25))
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "undisturbed.mp4").read_bytes()
    assert len(list(tmp_path.iterdir())) == 3


def test_what_cannot_be_restored_is_refused(tmp_path, denoiser):
    source = clip(tmp_path / "in.mp4")
    for limits, message in (({"max_frames": 23}, "23 frames"), ({"max_pixels": 1000}, "1,000 pixels")):
        with pytest.raises(ImageError, match=message):
            restore_video(source, tmp_path / "out.mp4", denoiser, "", **limits)
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
