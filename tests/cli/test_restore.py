"""The command line as a user meets it: real processes, exit codes, one clear line on stderr."""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.networks import identity_weights

from msrn import images
from msrn.images.picture import Picture
from msrn.network import weights

pytestmark = pytest.mark.timeout(120)


def msrn(*arguments, cwd=None):
    command = [sys.executable, "-m", "msrn.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def size_of(path):
    with Image.open(path) as image:
        return image.size


def assert_refused(process, code, *words):
    assert process.returncode == code, process.stderr
    lines = process.stderr.strip().splitlines()
    assert len(lines) == 1, process.stderr
    assert lines[0].startswith("msrn: error: ")
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    """Weights files of networks that return their input."""
    folder = tmp_path_factory.mktemp("weights")
    made = {task: identity_weights(task) for task in ("sr", "denoise", "jpeg")}
    return {task: weights.save(w.network, w.card, folder, task) for task, w in made.items()}


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(path)
    return path


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


def test_help_is_fast_and_does_not_import_torch():
    times = []
    for _ in range(5):
        started = time.perf_counter()
        assert "upscale" in msrn("--help").stdout
        times.append(time.perf_counter() - started)
    # 0.3 s is the promise on an idle machine; tests may share theirs with other work.
    assert sorted(times)[2] < 1.0
    code = "import sys, msrn, msrn.cli; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'PIL')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("command", ["upscale", "denoise", "dejpeg", "evaluate", "train", "publish", "weights"])
def test_every_command_has_help(command):
    assert msrn(command, "--help").returncode == 0


def test_upscale_writes_exactly_what_was_asked_for(photo, identity, tmp_path):
    for options, size in (
        (("-s", "2"), (60, 40)),
        (("-s", "1.7"), (51, 34)),
        (("--to", "61x43"), (61, 43)),
        (("--to", "64x"), (64, 43)),
        (("--to", "x41"), (62, 41)),
    ):
        out = tmp_path / "out" / f"{size[0]}.png"
        process = msrn("upscale", photo, "-o", out, "-w", identity["sr"], *options)
        assert process.returncode == 0, process.stderr
        assert size_of(out) == size
        assert process.stdout == ""


@pytest.mark.parametrize(("command", "task"), [("denoise", "denoise"), ("dejpeg", "jpeg")])
def test_restoring_with_an_identity_network_returns_the_pixels(photo, identity, tmp_path, command, task):
    out = tmp_path / "out.png"
    assert msrn(command, photo, "-o", out, "-w", identity[task]).returncode == 0
    assert np.array_equal(images.read(out).pixels, images.read(photo).pixels)


def test_verbose_says_what_was_chosen(photo, identity, tmp_path):
    process = msrn("denoise", photo, "-o", tmp_path / "x.png", "-w", identity["denoise"], "-v", "-g", "cpu")
    assert re.search(r"on cpu, \w+ fp32, automatic tiles \(seconds per megapixel: ", process.stderr)


def test_a_folder_goes_to_a_folder_and_failures_cost_one_file(photo, identity, tmp_path):
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.png"):
        (folder / name).write_bytes(photo.read_bytes())
    (folder / "broken.jpg").write_text("not an image")
    process = msrn("denoise", folder, "-r", "-o", tmp_path / "out", "-w", identity["denoise"], "--json")
    assert process.returncode == 3
    assert "broken.jpg" in process.stderr
    assert "1 of 3 images failed" in process.stderr
    rows = json.loads(process.stdout)
    assert [row["error"] is None for row in rows] == [True, False, True]
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
    assert re.search(r"about [\d.]+ s and 0\.\d\d GiB", process.stderr)


def test_bad_images_give_one_line_and_code_3(photo, identity, tmp_path):
    truncated, text = tmp_path / "truncated.png", tmp_path / "text.png"
    truncated.write_bytes(photo.read_bytes()[:700])
    text.write_text("I am not a picture")
    for bad in (truncated, text):
        process = msrn("denoise", bad, "-o", tmp_path / "x.png", "-w", identity["denoise"])
        assert_refused(process, 3, bad.name)
        assert not (tmp_path / "x.png").exists()


def test_bad_weights_give_one_line_and_code_4(photo, tmp_path):
    assert_refused(msrn("upscale", photo, "-o", tmp_path / "x.png", "-w", "dreams"), 4, "dreams", "msrn-")
    assert_refused(msrn("upscale", photo, "-o", tmp_path / "x.png", "-w", photo), 4, "photo.png")


def test_unwritable_outputs_give_code_5(photo, identity, tmp_path):
    process = msrn("denoise", photo, "-o", photo / "below" / "x.png", "-w", identity["denoise"])
    assert_refused(process, 5, "x.png")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("upscale", "nowhere", "-o", "out"), "nowhere"),
        (("upscale", "photo.png", "nowhere.png", "-o", "out"), "nowhere.png"),
        (("upscale", "photo.png", "-o", "x.png", "-s", "0.5"), "0.5"),
        (("upscale", "photo.png", "-o", "x.png", "--to", "big"), "big"),
        (("upscale", "photo.png", "-o", "x.png", "--to", "x"), "1920x"),
        (("upscale", "photo.png", "-o", "x.png", "--to", "9x9", "-s", "2"), "--to"),
        (("upscale", "photo.png"), "--output"),
        (("upscale", "photo.png", "-o", "x.png", "-g", "tpu"), "tpu"),
        (("upscale", "photo.png", "-o", "x.png", "-w", "jpeg"), "not for 'sr'"),
        (("denoise", "photo.png", "-o", "photo.png"), "input"),
        (("denoise", "photo.png", "-o", "x.png", "--overwrite", "--skip-existing"), "not both"),
        (("evaluate", "--task", "sr", "--level", "2.5", "--data", "."), "2.5"),
        (("evaluate", "--task", "sr", "--level", "2", "--data", "nowhere", "--baseline"), "nowhere"),
        (("train", "nowhere.toml"), "nowhere.toml"),
        (("restyle",), "restyle"),
    ],
)
def test_usage_errors_give_one_line_and_code_2(photo, arguments, word):
    assert_refused(msrn(*arguments, cwd=photo.parent), 2, word)


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


def test_standard_output_takes_one_image_or_nothing(photo, identity):
    assert_refused(msrn("denoise", photo, "-o", "-", "--json"), 2, "--json")
    assert_refused(msrn("denoise", photo, photo, "-o", "-"), 2, "standard output")
    command = [sys.executable, "-m", "msrn.cli", "denoise", "-", "-o", "-", "-w", identity["denoise"]]
    for more, given, code, message in (
        ([], b"no picture", 3, b"not an image"),
        (["--max-bytes", "99"], photo.read_bytes(), 3, b"more than 99 bytes"),
    ):
        process = subprocess.run([*command, *more], input=given, capture_output=True)
        assert process.returncode == code
        assert process.stdout == b""
        assert message in process.stderr


def test_names_cannot_smuggle_anything_onto_the_terminal(identity, tmp_path):
    name = "new\nline\x1b[2J\udcff.png"
    (tmp_path / name).write_text("no picture")
    process = msrn("denoise", tmp_path / name, "-o", tmp_path / "o", "-w", identity["denoise"], "--json")
    assert_refused(process, 3, r"new\nline\x1b[2J\udcff.png")
    assert json.loads(process.stdout)[0]["input"] == str(tmp_path / name)


def test_a_leading_dash_is_a_name_after_two_dashes(photo, identity, tmp_path):
    (photo.parent / "-s.png").write_bytes(photo.read_bytes())
    process = msrn("denoise", "-o", "out", "-w", identity["denoise"], "--", "-s.png", cwd=photo.parent)
    assert process.returncode == 0, process.stderr
    assert size_of(photo.parent / "out" / "-s.png") == (30, 20)


def test_a_batch_sums_up_and_a_second_run_has_nothing_to_do(photo, identity, tmp_path):
    arguments = ("denoise", f"{photo.parent}/p*.png", photo.parent / "deep", "-o", tmp_path / "out", "-j", "2")
    arguments += ("-w", identity["denoise"])
    (photo.parent / "deep").mkdir()
    (photo.parent / "deep" / "b.png").write_bytes(photo.read_bytes())
    lines = msrn(*arguments).stderr.splitlines()
    assert lines[-1].startswith("msrn: 2 restored, 0 skipped, 0 failed in ")
    assert "images/s" in lines[-1]
    assert "MP/s" in lines[-1]
    assert msrn(*arguments).stderr.splitlines()[-1].startswith("msrn: 0 restored, 2 skipped, 0 failed in ")
    assert msrn(*arguments, "-q").stderr == ""


def test_limits_are_flags(photo, identity, tmp_path):
    arguments = ("denoise", photo, "-o", tmp_path / "x.png", "-w", identity["denoise"])
    assert_refused(msrn(*arguments, "--max-pixels", "599"), 3, "599 pixels")
    assert_refused(msrn(*arguments, "--max-bytes", "600"), 3, "600 bytes")


def test_evaluate_prints_one_json_object(photo, identity):
    process = msrn("evaluate", "--task", "sr", "--level", "2", "--data", photo.parent, "-w", identity["sr"], "--json")
    result = json.loads(process.stdout)
    assert result["task"] == "sr"
    assert result["mean"]["psnr"] == pytest.approx(result["baseline"]["psnr"], abs=1e-3)
    table = msrn("evaluate", "--task", "jpeg", "--level", "10", "--data", photo.parent, "--baseline").stdout
    assert "photo.png" in table
    assert "mean" in table


def test_evaluate_scores_several_levels_and_compares_weights(photo, identity):
    arguments = ("evaluate", "--task", "sr", "--level", "2", "--level", "3", "--data", photo.parent)
    both = (*arguments, "-w", identity["sr"], "-w", identity["sr"])
    results = json.loads(msrn(*both, "--json").stdout)
    assert [result["level"] for result in results] == [2, 3, 2, 3]
    assert results[2]["difference"]["scores"]["psnr"] == {"difference": 0, "low": 0, "high": 0}
    for form in ((), ("--markdown",)):
        assert "PSNR +0.000 (95 % interval +0.000 to +0.000)" in msrn(*both, *form).stdout
    markdown = msrn(*arguments, "--baseline", "--markdown").stdout.splitlines()
    assert len(markdown) == 4
    assert markdown[2].startswith("| degraded input |")
    csv = msrn(*arguments, "--baseline", "--csv").stdout.splitlines()
    assert [line.split(",")[4] for line in csv] == ["image", "photo.png", "mean", "photo.png", "mean"]


def test_evaluate_scores_what_something_else_restored(photo, identity, tmp_path):
    saved = tmp_path / "saved"
    arguments = ("evaluate", "--task", "sr", "--level", "2", "--data", photo.parent, "--json")
    first = json.loads(msrn(*arguments, "-w", identity["sr"], "--save", saved).stdout)
    second = json.loads(msrn(*arguments, "--restored", saved).stdout)
    assert first["mean"] == second["mean"]
    (saved / "photo.png").unlink()
    assert_refused(msrn(*arguments, "--restored", saved), 3, "photo.png")


def test_evaluate_keeps_several_cases_apart(photo, identity, tmp_path):
    saved, form = tmp_path / "saved", ("--json", "--task", "sr", "--level", "2", "--level", "3")
    arguments = ("evaluate", *form, "--data", photo.parent)
    first = json.loads(msrn(*arguments, "-w", identity["sr"], "--save", saved).stdout)
    assert sorted(path.name for path in saved.iterdir()) == [f"{photo.parent.name}-{level}" for level in (2, 3)]
    second = json.loads(msrn(*arguments, "--restored", saved).stdout)
    assert [result["mean"] for result in second] == [result["mean"] for result in first]


def test_evaluate_names_what_failed_and_goes_on(photo, tmp_path):
    (tmp_path / "broken.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "all broken"
    broken.mkdir()
    (broken / "first.png").write_text("no picture")
    arguments = ("evaluate", "--task", "jpeg", "--level", "10", "--baseline")
    folders = [word for name in ("empty", "nowhere", "all broken", ".") for word in ("--data", tmp_path / name)]
    process = msrn(*arguments, *folders, "--report", tmp_path / "report")
    assert process.returncode == 3
    for name in ("empty", "nowhere", "first.png", "broken.png"):
        assert name in process.stderr
    assert "(1 of 2 images) q10, degraded input" in process.stdout
    assert "photo.png" in process.stdout
    assert "broken.png" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert_refused(msrn(*arguments, "--data", tmp_path / "empty"), 2, "empty")
    assert_refused(msrn(*arguments, "--data", broken), 3, "first.png")


def test_evaluate_says_when_the_output_cannot_be_written(photo, tmp_path):
    (tmp_path / "file").write_text("")
    arguments = ("evaluate", "--task", "jpeg", "--level", "10", "--baseline", "--data", photo.parent)
    for option in ("--save", "--report"):
        assert_refused(msrn(*arguments, option, tmp_path / "file" / "out", "-q"), 5, "file")


def test_evaluate_knows_colour_tiles_and_the_ensemble(photo, identity):
    arguments = ("evaluate", "--task", "denoise", "--level", "20", "--data", photo.parent, "--json")
    plain = json.loads(msrn(*arguments, "-w", identity["denoise"]).stdout)
    other = json.loads(
        msrn(*arguments, "-w", identity["denoise"], "--color", "--tta", "--protocol", "authors-tiles").stdout
    )
    assert (plain["color"], other["color"]) == (False, True)
    assert "136 pixels" in other["protocol"]
    assert "8-fold" in other["weights"]
    assert other["mean"]["psnr"] != plain["mean"]["psnr"]
    for method in (("--baseline",), ("--restored", photo.parent), ("--callable", "math:sqrt"), ("-w", "net.onnx")):
        assert_refused(msrn(*arguments, *method, "--tta"), 2, "--tta")


def test_evaluate_refuses_tiles_of_what_is_restored_already(photo):
    arguments = ("evaluate", "--task", "sr", "--level", "2", "--data", photo.parent, "--restored", photo.parent)
    assert_refused(msrn(*arguments, "--protocol", "authors-tiles"), 2, "authors-tiles")


def test_evaluate_writes_json_that_others_can_read(photo):
    process = msrn("evaluate", "--task", "denoise", "--level", "0", "--data", photo.parent, "--baseline", "--json")
    assert json.loads(process.stdout, parse_constant=pytest.fail)["mean"] == {"psnr": None, "ssim": 1}


def test_weights_lists_and_describes():
    listing = msrn("weights").stdout
    for entry in weights.CATALOGUE:
        assert entry.name in listing
    described = json.loads(msrn("weights", "sr", "--json").stdout)
    assert described["task"] == "sr"
    assert described["recipe"]["task"] == "sr"


def test_train_publish_and_use(tmp_path):
    """The whole way: images, a recipe, training, resuming, a weights file, a restored picture."""
    data = tmp_path / "data" / "images"
    data.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(3):
        small = rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)
        Image.fromarray(small).resize((96, 96), Image.Resampling.BICUBIC).save(data / f"{index}.png")
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(
        """
        name = "tiny"
        task = "sr"
        network = { memory_blocks = 1, recursions = 1, channels = 4 }
        data = { folders = ["images"], patch = 16, levels = [2], validation_every = 3, validation_levels = [2] }
        optimiser = { batch = 2, steps = 6, decay_steps = 6, warmup_steps = 1 }
        """
    )
    run = tmp_path / "run"
    common = ("train", recipe, "--data-root", tmp_path / "data", "--threads", "1")
    process = msrn(*common, "-o", run)
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == str(run)
    assert "held-out 2:" in process.stderr
    assert_refused(msrn(*common, "-o", run), 2, "--resume")
    assert_refused(msrn(*common, "--resume", run, "--set", "optimiser.batch=3"), 2, "optimiser.batch")
    assert msrn(*common, "--resume", run).returncode == 0
    process = msrn("publish", run, "-o", tmp_path / "published", "--data", data, "--level", "2")
    assert process.returncode == 0, process.stderr
    published = Path(process.stdout.strip())
    process = msrn("publish", published, "-o", tmp_path / "halved", "--half")
    assert "--data-root" in process.stderr
    halved = Path(process.stdout.strip())
    assert halved.stat().st_size < published.stat().st_size
    assert "float16" in msrn("weights", halved).stdout
    out = tmp_path / "big.png"
    assert msrn("upscale", data / "0.png", "-o", out, "-w", published, "-s", "2").returncode == 0
    assert size_of(out) == (192, 192)


@pytest.mark.skipif(os.name != "posix", reason="needs a terminal")
def test_a_terminal_sees_how_far_a_batch_is(tmp_path):
    import pty

    folder = tmp_path / "in"
    for k in range(6):
        images.write(Picture(np.full((3, 300, 300), k / 8, np.float32)), folder / f"{k}.png")
    (folder / "0.png").write_bytes(b"nothing")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "msrn.cli", "denoise", str(folder), "-o", str(tmp_path / "out")]
    how = {"COLUMNS": "200", "TERM": "xterm"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=os.environ | how)
    os.close(theirs)
    seen = b""
    with suppress(OSError):  # that is how a terminal ends
        while chunk := os.read(ours, 65536):
            seen += chunk
    os.close(ours)
    assert process.wait(60) == 3
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode()))
    bar = r"\d\.png  {} of 6  [\d.]+ images/s, [\d.]+ MP/s  1 failed .*{}%.*\d:\d\d:\d\d"
    seen_halfway = [bar.format(ended, round(100 * ended / 6)) for ended in range(2, 6)]  # not all of it is drawn
    for expected in ("|".join(seen_halfway), bar.format(6, 100)):
        assert any(re.match(expected, line) for line in lines), lines[-20:]
