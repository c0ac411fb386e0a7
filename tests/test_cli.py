"""The command line as a user meets it: real processes, exit codes, one clear line on stderr."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.tools import identity_weights

from msrn import files, weights

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
    for options, size in ((("-s", "2"), (60, 40)), (("-s", "1.7"), (51, 34)), (("--to", "61x43"), (61, 43))):
        out = tmp_path / "out" / f"{size[0]}.png"
        process = msrn("upscale", photo, "-o", out, "-w", identity["sr"], *options)
        assert process.returncode == 0, process.stderr
        assert size_of(out) == size
        assert process.stdout == ""


@pytest.mark.parametrize(("command", "task"), [("denoise", "denoise"), ("dejpeg", "jpeg")])
def test_restoring_with_an_identity_network_returns_the_pixels(photo, identity, tmp_path, command, task):
    out = tmp_path / "out.png"
    assert msrn(command, photo, "-o", out, "-w", identity[task]).returncode == 0
    assert np.array_equal(files.read(out).pixels, files.read(photo).pixels)


def test_verbose_says_what_was_chosen(photo, identity, tmp_path):
    process = msrn("denoise", photo, "-o", tmp_path / "x.png", "-w", identity["denoise"], "-v", "-g", "cpu")
    assert "on cpu, float32, tiles of" in process.stderr


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
    assert written == [Path("a.png"), Path("deep/b.png")]


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
    jpg = tmp_path / "photo.jpg"
    jpg.write_bytes(photo.read_bytes())
    assert_refused(msrn("denoise", photo, jpg, "-o", tmp_path / "out"), 2, "photo.png", "photo.jpg")
    assert not (tmp_path / "out").exists()


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
    assert "+0.000 dB, 95 % interval" in msrn(*both).stdout
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


def test_evaluate_names_what_failed_and_goes_on(photo, tmp_path):
    (tmp_path / "broken.png").write_text("no picture")
    process = msrn("evaluate", "--task", "jpeg", "--level", "10", "--data", tmp_path, "--baseline")
    assert process.returncode == 3
    assert "broken.png" in process.stderr
    assert "mean" in process.stdout


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
    out = tmp_path / "big.png"
    assert msrn("upscale", data / "0.png", "-o", out, "-w", published, "-s", "2").returncode == 0
    assert size_of(out) == (192, 192)
