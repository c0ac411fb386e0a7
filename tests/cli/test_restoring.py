"""`msrn restore`, `upscale`, `denoise` and `dejpeg`: what they write, and how they refuse."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.command import assert_refused, msrn

from msrn import images
from msrn.images.picture import Picture

pytestmark = pytest.mark.timeout(120)


def size_of(path):
    with Image.open(path) as image:
        return image.size


def test_the_share_of_the_changes_that_is_applied(tmp_path, photo):
    arguments = ("denoise", photo, "-o", tmp_path / "x.png", "--precision", "fp32", "--overwrite")
    pixels = [images.read(photo).pixels]
    for strength in ("0", "1"):
        process = msrn(*arguments, "--strength", strength)
        assert process.returncode == 0, process.stderr
        pixels.append(images.read(tmp_path / "x.png").pixels)
    assert np.array_equal(pixels[0], pixels[1])
    assert not np.array_equal(pixels[0], pixels[2])
    assert_refused(msrn(*arguments, "--strength", "1.5"), 2, "--strength")
    assert_refused(msrn(*arguments, "--strength", "150%"), 2, "--strength")
    assert_refused(
        msrn(*arguments, "--strength", "half"),
        2,
        "--strength takes a share from 0 to 1, such as 0.7 or 70%, got 'half'",
    )
    assert msrn(*arguments, "--strength", "0%").returncode == 0
    assert np.array_equal(images.read(tmp_path / "x.png").pixels, pixels[0])


def test_upscale_writes_exactly_what_was_asked_for(photo, identity, tmp_path):
    for options, size in (
        (("-s", "2"), (60, 40)),
        ((), (60, 40)),
        (("-s", "1.7"), (51, 34)),
        (("-s", "1.1x"), (33, 22)),
        (("--to", "61x43"), (61, 43)),
        (("--to", "64x"), (64, 43)),
        (("--to", "x41"), (62, 41)),
    ):
        out = tmp_path / "out" / f"{len(options)}-{size[0]}.png"
        process = msrn("upscale", photo, "-o", out, "-w", identity["sr"], *options)
        assert process.returncode == 0, process.stderr
        assert size_of(out) == size
        assert process.stdout == ""
        assert ("each side is doubled; --scale or --to sets another size" in process.stderr) == (not options)
        line = process.stderr.splitlines()[-1]
        said = r"enlarged; (proportions changed by 5%; )?30×20 → \d+×\d+; (\d+\.\d|less than 0\.1) s"
        assert re.fullmatch(said, line.removeprefix(f"{out}  (").removesuffix(")"))


def test_enlarging_is_told_once(photo, tmp_path):
    process = msrn("upscale", photo, "-o", tmp_path / "x.png", "-s", "2", "-g", "cpu")
    assert process.returncode == 0, process.stderr
    assert process.stderr.count("enlarged") == 1


@pytest.mark.parametrize(("command", "task"), [("denoise", "denoise"), ("dejpeg", "jpeg")])
def test_restoring_with_an_identity_network_returns_the_pixels(photo, identity, tmp_path, command, task):
    out = tmp_path / "out.png"
    assert msrn(command, photo, "-o", out, "-w", identity[task]).returncode == 0
    assert np.array_equal(images.read(out).pixels, images.read(photo).pixels)


def test_verbose_says_what_was_chosen(photo, identity, tmp_path):
    process = msrn("denoise", photo, "-o", tmp_path / "x.png", "-w", identity["denoise"], "-v", "-g", "cpu")
    assert re.search(r"on cpu, \w+ fp32, automatic tiles \(nothing else to choose from\)", process.stderr)


def test_a_folder_goes_to_a_folder_and_failures_cost_one_file(photo, identity, tmp_path):
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.png"):
        (folder / name).write_bytes(photo.read_bytes())
    (folder / "broken.jpg").write_text("not an image")
    process = msrn("denoise", folder, "-r", "-o", tmp_path / "out", "-w", identity["denoise"], "--json")
    assert process.returncode == 3
    assert "broken.jpg" in process.stderr
    assert "1 of 3 files failed" in process.stderr
    rows = json.loads(process.stdout)
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert (rows[0]["size_before"], rows[0]["size"], rows[0]["note"]) == ([30, 20], [30, 20], "noise removed")
    assert rows[0]["seconds"] > 0
    written = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.*"))
    assert written == [Path(name) for name in ("a.png", "deep/b.png", "failures.jsonl", "msrn-manifest.jsonl")]


def test_existing_outputs_are_safe(photo, identity, tmp_path):
    out = tmp_path / "out.png"
    out.write_text("precious")
    arguments = ("denoise", photo, "-o", out, "-w", identity["denoise"])
    assert_refused(msrn(*arguments), 5, "out.png", "--overwrite")
    assert msrn(*arguments, "--skip-existing").returncode == 0
    assert out.read_text() == "precious"
    assert msrn(*arguments, "--overwrite").returncode == 0
    assert size_of(out) == (30, 20)


def test_dry_run_writes_nothing(photo, tmp_path):
    process = msrn("upscale", photo, "-o", tmp_path / "out", "--dry-run")
    assert process.returncode == 0
    assert "photo.png ->" in process.stdout
    assert not (tmp_path / "out").exists()
    assert re.search(r"less than 0\.1 s and \d+ MiB at most", process.stderr)


def test_bad_images_give_one_line_and_code_3(photo, identity, tmp_path):
    truncated, text = tmp_path / "truncated.png", tmp_path / "text.png"
    truncated.write_bytes(photo.read_bytes()[:700])
    text.write_text("I am not a picture")
    for bad in (truncated, text):
        process = msrn("denoise", bad, "-o", tmp_path / "x.png", "-w", identity["denoise"])
        assert_refused(process, 3, bad.name)
        assert not (tmp_path / "x.png").exists()


def test_bad_weights_give_one_line_and_code_4(photo, tmp_path):
    arguments = ("upscale", photo, "-o", tmp_path / "x.png", "-s", "2", "-w")
    assert_refused(msrn(*arguments, "dreams"), 4, "dreams", "denoise-color", "msrn-m4r1s2-sr")
    assert_refused(msrn(*arguments, photo), 4, "photo.png")
    assert_refused(msrn(*arguments, "msrn-m6r1s2-srr"), 4, "did you mean msrn-m6r1s2-sr?")


def test_unwritable_outputs_give_code_5(photo, identity, tmp_path):
    process = msrn("denoise", photo, "-o", photo / "below" / "x.png", "-w", identity["denoise"])
    assert_refused(process, 5, "x.png")


def test_colliding_outputs_are_found_before_the_first_pixel(photo, tmp_path):
    again = tmp_path / "again" / photo.name
    again.parent.mkdir()
    again.write_bytes(photo.read_bytes())
    assert_refused(msrn("denoise", photo, again, "-o", tmp_path / "out"), 2, str(photo), str(again))
    assert not (tmp_path / "out").exists()


def test_unwritable_outputs_are_found_before_the_weights_are_loaded(photo, tmp_path):
    assert_refused(msrn("denoise", photo, "-o", photo / "below", "-w", "dreams"), 5, "below")
    assert_refused(msrn("denoise", photo, "-o", photo / "x.png", "-w", "dreams"), 5, "x.png")


@pytest.mark.parametrize("ext", ["png", "tif"])
def test_standard_input_and_output(photo, identity, tmp_path, ext):
    command = [sys.executable, "-m", "msrn.cli", "denoise", "-", "-o", "-", "-w", identity["denoise"], "--ext", ext]
    process = subprocess.run(command, input=photo.read_bytes(), capture_output=True)
    assert process.returncode == 0, process.stderr
    assert process.stderr == b""
    pixels = images.decode(process.stdout, Path("stdout")).pixels
    assert np.array_equal(pixels, images.read(photo).pixels)


@pytest.mark.parametrize("buffered", ["", "1"])
def test_whoever_reads_standard_output_and_leaves_early_costs_code_5(identity, tmp_path, buffered):
    samples = np.random.default_rng(0).random((3, 300, 300), np.float32)
    images.write(Picture(samples), tmp_path / "photo.png")
    command = [
        sys.executable,
        "-m",
        "msrn.cli",
        "denoise",
        tmp_path / "photo.png",
        "-o",
        "-",
        "-w",
        identity["denoise"],
    ]
    environment = os.environ | {"PYTHONUNBUFFERED": buffered}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, env=environment) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(60) == 5
        assert process.stderr.read() == b"msrn: error: cannot write to standard output: Broken pipe\n"


def test_a_name_with_an_extension_is_a_file(photo, tmp_path):
    folder, again = tmp_path / "in", tmp_path / "again.png"
    folder.mkdir()
    for copy in (folder / "a.png", again):
        copy.write_bytes(photo.read_bytes())
    mend = "name a folder, without an extension"
    for inputs, output, words in (
        ([photo], "out.xyz", "as .xyz, but as .png"),
        ([photo, again], "one.png", "which 2 inputs cannot be written to"),
        ([folder], "x.png", "which a folder cannot be written to"),
    ):
        assert_refused(msrn("denoise", *inputs, "-o", tmp_path / output, "-w", "dreams"), 2, output, words, mend)
        assert not (tmp_path / output).exists()


def test_an_animation_through_standard_streams_and_one_frame_of_it(identity, tmp_path):
    frames = [Image.new("RGB", (9, 8), (90 * k, 0, 0)) for k in range(3)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:], duration=70, loop=0)
    command = [sys.executable, "-m", "msrn", "denoise", "-", "-o", "-", "-w", identity["denoise"], "--ext", "gif"]
    with (tmp_path / "x.gif").open("rb") as stdin:
        process = subprocess.run(command, stdin=stdin, capture_output=True)
    (tmp_path / "y.gif").write_bytes(process.stdout)
    assert images.read_frames(tmp_path / "y.gif").series == images.read_frames(tmp_path / "x.gif").series
    process = msrn("denoise", tmp_path / "x.gif", "-o", tmp_path, "-w", identity["denoise"], "--page", 3)
    assert process.returncode == 0, process.stderr
    assert images.read(tmp_path / "x.png").to_array()[0, 0, 0] == 180


def test_standard_output_takes_one_image_or_nothing(photo, identity):
    assert_refused(msrn("denoise", photo, "-o", "-", "--json"), 2, "--json")
    assert_refused(msrn("denoise", photo, photo, "-o", "-"), 2, "standard output")
    command = [sys.executable, "-m", "msrn.cli", "denoise", "-", "-o", "-", "-w", identity["denoise"]]
    for more, given, code, message in (
        ([], b"no picture", 3, b"error: standard input is not an image"),
        (["--max-bytes", "99"], photo.read_bytes(), 3, b"standard input has more than 99 bytes"),
    ):
        process = subprocess.run([*command, *more], input=given, capture_output=True)
        assert process.returncode == code
        assert process.stdout == b""
        assert message in process.stderr


def test_a_leading_dash_is_a_name_after_two_dashes(photo, identity, tmp_path):
    (photo.parent / "-s.png").write_bytes(photo.read_bytes())
    process = msrn("denoise", "-o", "out", "-w", identity["denoise"], "--", "-s.png", cwd=photo.parent)
    assert process.returncode == 0, process.stderr
    assert size_of(photo.parent / "out" / "-s.png") == (30, 20)


def test_limits_are_flags(photo, identity, tmp_path):
    arguments = ("denoise", photo, "-o", tmp_path / "x.png", "-w", identity["denoise"])
    assert_refused(msrn(*arguments, "--max-pixels", "599"), 3, "599 pixels", "--max-pixels")
    assert_refused(msrn(*arguments, "--max-bytes", "600"), 3, "600 bytes", "--max-bytes")
    assert_refused(msrn(*arguments, "--max-pixels", "0"), 2, "--max-pixels must be above 0")


def test_of_an_option_given_twice_the_last_counts(photo, identity, tmp_path):
    arguments = ("upscale", photo, "-w", identity["sr"], "-o", tmp_path / "first.png", "-o", tmp_path / "last.png")
    process = msrn(*arguments, "-s", "2", "--scale=3", "-q")
    assert process.returncode == 0, process.stderr
    assert not (tmp_path / "first.png").exists()
    assert size_of(tmp_path / "last.png") == (90, 60)


def test_options_stand_anywhere_and_short_ones_together(photo, identity, tmp_path):
    (tmp_path / "b.png").write_bytes(photo.read_bytes())
    process = msrn("denoise", photo, "-qvxt24", "-w", identity["denoise"], tmp_path / "b.png", f"-o{tmp_path / 'out'}")
    assert process.returncode == 0, process.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["b.png", "photo.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are POSIX's")
def test_closed_standard_streams_are_nobody_elses(photo, identity, tmp_path):
    """The number of a closed one would go to the next file that is opened, and messages into that file."""

    def run(closed, *arguments):
        start = "os.execv(sys.executable, [sys.executable, '-m', 'msrn.cli', *sys.argv[1:]])"
        command = [
            sys.executable,
            "-c",
            f"import os, sys; os.close({closed}); {start}",
            "denoise",
            photo,
            "-w",
            identity["denoise"],
            *arguments,
        ]
        return subprocess.run([*map(str, command)], capture_output=True, text=True)

    assert run(2, "-o", tmp_path / "x.png").returncode == 0
    assert images.read(tmp_path / "x.png").width == images.read(photo).width
    assert run(2, "-o", tmp_path / "x.xyz.png", "--to", "nonsense").returncode == 2
    assert_refused(run(1, "-o", "-"), 5, "standard output")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is full")
def test_full_standard_streams_cost_what_was_to_go_there(photo, identity, tmp_path):
    restoring = ("denoise", photo, "-w", identity["denoise"], "-o", tmp_path / "x.png")
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "msrn", *map(str, restoring)]
        assert subprocess.run(command, stderr=full).returncode == 0
        assert images.read(tmp_path / "x.png").width == images.read(photo).width
        for arguments in (["--help"], ["denoise", "--help"]):
            command = [sys.executable, "-m", "msrn", *arguments]
            process = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
            assert_refused(process, 5, "cannot write to standard output: No space left on device")


def test_a_loop_of_links_is_no_output_folder(photo, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for output in ("loop", "loop/below"):
        for given in (photo, photo.parent):
            assert_refused(msrn("denoise", given, "-o", tmp_path / output), 5, "cannot write to", "loop")


def test_a_raster_keeps_its_coordinates(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    affine = rasterio.Affine(2, 0, 5e5, 0, -2, 6e6)
    shape = {"height": 40, "width": 60, "count": 1, "dtype": "uint16", "crs": "EPSG:32633", "transform": affine}
    with rasterio.open(tmp_path / "scene.tif", "w", driver="GTiff", **shape) as file:
        file.write(np.random.default_rng(0).integers(300, 4000, (1, 40, 60), np.uint16))
    process = msrn("upscale", tmp_path / "scene.tif", "-o", tmp_path / "out", "--scale", "3", "--json")
    assert process.returncode == 0, process.stderr
    (row,) = json.loads(process.stdout)
    assert (row["size_before"], row["size"]) == ([60, 40], [180, 120])
    with rasterio.open(tmp_path / "out" / "scene.tif") as file:
        assert (file.crs, file.transform.a, file.shape) == (
            rasterio.CRS.from_epsg(32633),
            pytest.approx(2 / 3),
            (120, 180),
        )
    assert_refused(msrn("denoise", tmp_path / "scene.tif", "-o", tmp_path / "b.png"), 2, "as .png, but as .tif")
    refused = msrn("upscale", tmp_path / "scene.tif", "-o", tmp_path / "b", "--deadline", "2s")
    assert_refused(refused, 2, "--deadline is for pictures, and", "is a raster: give --effort instead")
    refused = msrn("upscale", tmp_path / "scene.tif", "-o", tmp_path / "b", "--consistent")
    assert_refused(refused, 2, "--consistent is for pictures, and", "is a raster")
    refused = msrn("upscale", tmp_path / "scene.tif", "-o", tmp_path / "b", "--confidence", tmp_path / "maps")
    assert_refused(refused, 2, "--confidence is for pictures, and", "is a raster")
    assert not (tmp_path / "b").exists()
    process = msrn("upscale", tmp_path / "scene.tif", "-o", tmp_path / "b.tif", "--dry-run")
    assert process.returncode == 0, process.stderr
    assert process.stdout == f"{tmp_path / 'scene.tif'} -> {tmp_path / 'b.tif'}  (enlarged)\n"
    assert not (tmp_path / "b.tif").exists()


def test_less_effort_is_told_from_all_of_it_and_from_a_deadline(msrn, photo, tmp_path, identity):
    process = msrn("dejpeg", photo, "-o", tmp_path / "a.png", "-w", identity["jpeg"], "--effort", 2)
    assert process.returncode == 2
    assert "has 1 memory blocks: its effort is from 1 to 1, not 2" in process.stderr
    process = msrn("dejpeg", photo, "-o", tmp_path / "a.png", "--effort", 2, "--deadline", "2s")
    assert process.returncode == 2
    assert "give --effort or --deadline, not both" in process.stderr
    results = []
    for options in ([], ["--effort", 1], ["--deadline", "0.000001s"]):
        process = msrn("dejpeg", photo, "-o", tmp_path / "b.png", "--overwrite", "--precision", "fp32", *options)
        assert process.returncode == 0, process.stderr
        results.append((tmp_path / "b.png").read_bytes())
    assert "effort 1 of 4" in process.stderr
    assert results[0] != results[1] == results[2]
