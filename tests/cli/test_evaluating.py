"""`msrn evaluate`: what it saves and writes never costs what it read or scored."""

import functools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tests.helpers.command import assert_refused

from msrn.errors import OutputError, UsageError
from msrn.evaluation.methods import CallableMethod, FolderMethod
from msrn.evaluation.protocol import check_level, evaluate


def picture(path, seed=0, side=24):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def run(msrn):
    return functools.partial(msrn, "evaluate", "--task", "denoise", "--level", "20")


@pytest.mark.parametrize("to", ["data", "data/../data", "restored"])
def test_saved_images_never_replace_what_is_read(run, tmp_path, to):
    before = picture(tmp_path / "data" / "a.png").read_bytes()
    picture(tmp_path / "restored" / "a.png")
    result = run("--data", tmp_path / "data", "--restored", tmp_path / "restored", "--save", tmp_path / to)
    assert_refused(result, 2, "a.png, which is read")
    assert (tmp_path / "data" / "a.png").read_bytes() == before


def test_images_of_one_name_are_not_saved_over_each_other(run, tmp_path):
    for name in ("a.png", "a.bmp"):
        picture(tmp_path / "data" / name)
    result = run("--data", tmp_path / "data", "--baseline", "--save", tmp_path / "out")
    assert_refused(result, 2, "several images called 'a'")
    assert not (tmp_path / "out").exists()


def test_images_may_be_saved_inside_the_folder_of_the_originals(run, tmp_path):
    picture(tmp_path / "data" / "a.png")
    assert run("--data", tmp_path / "data", "--baseline", "--save", tmp_path / "data" / "out").returncode == 0
    assert (tmp_path / "data" / "out" / "a.png").is_file()


@pytest.mark.parametrize("option", ["--report", "--save"])
def test_scores_are_printed_although_something_else_cannot_be_written(run, tmp_path, option):
    for folder in ("one", "two"):
        picture(tmp_path / folder / "a.png")
    place = tmp_path / "out"
    if option == "--report":
        place.write_text("in the way")
    else:
        place.mkdir()
        (place / "two-20").write_text("in the way")
    result = run("--data", tmp_path / "one", "--data", tmp_path / "two", "--baseline", option, place)
    assert result.returncode == OutputError.exit_code
    assert "one" in result.stdout
    assert "mean" in result.stdout.lower()


@pytest.mark.parametrize("stream", ["--help", "--markdown"])
def test_pipes_get_unicode_whatever_the_system_writes_by_default(tmp_path, stream):
    picture(tmp_path / "a.png")
    asked = [] if stream == "--help" else ["--task", "denoise", "--level", "20", "--data", str(tmp_path), "--baseline"]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "msrn.cli", "evaluate", *asked, stream]
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    assert "σ" in done.stdout.decode("utf-8")


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="file names are Unicode there")
def test_a_name_that_is_no_unicode_is_an_image_like_others(tmp_path):
    picture(tmp_path / os.fsdecode(b"caf\xe9.png"))
    assert len(evaluate("denoise", 20, tmp_path).images) == 1
    asked = ["--task", "denoise", "--level", "20", "--data", str(tmp_path), "--baseline", "--json"]
    done = subprocess.run([sys.executable, "-m", "msrn.cli", "evaluate", *asked], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert rb"caf\udce9.png" in done.stdout


@pytest.mark.parametrize("task", ["sr", "denoise", "jpeg"])
@pytest.mark.parametrize("level", [float("inf"), float("nan")])
def test_levels_are_finite(task, level):
    with pytest.raises(UsageError):
        check_level(task, level)


def test_a_restored_file_belongs_to_the_longest_name_it_begins_with(tmp_path):
    for number, name in enumerate(("tree", "tree_night")):
        picture(tmp_path / "clean" / f"{name}.png", number)
        picture(tmp_path / "restored" / f"{name}_x2.png", number)
    method = FolderMethod(tmp_path / "restored", "full", tmp_path / "clean")
    result = evaluate("denoise", 20, tmp_path / "clean", method)
    assert min(image.restored.psnr for image in result.images) > 100
    (tmp_path / "restored" / "tree_x2.png").unlink()
    (tmp_path / "restored" / "tree_night_x2.png").rename(tmp_path / "restored" / "tree_night.png")
    method = FolderMethod(tmp_path / "restored", "full", tmp_path / "clean")
    assert [failure.name for failure in evaluate("denoise", 20, tmp_path / "clean", method).failures] == ["tree.png"]


def test_a_function_may_lie_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "of_this_folder.py").write_text("def same(plane):\n    return plane\n")
    monkeypatch.chdir(tmp_path)
    before = [*sys.path]
    assert CallableMethod("of_this_folder:same").name == "of_this_folder:same"
    assert sys.path == before


def test_evaluate_prints_one_json_object(msrn, photo, identity):
    process = msrn("evaluate", "--task", "sr", "--level", "2", "--data", photo.parent, "-w", identity["sr"], "--json")
    result = json.loads(process.stdout)
    assert result["task"] == "sr"
    assert result["mean"]["psnr"] == pytest.approx(result["baseline"]["psnr"], abs=1e-3)
    table = msrn("evaluate", "--task", "jpeg", "--level", "10", "--data", photo.parent, "--baseline").stdout
    assert "photo.png" in table
    assert "mean" in table


def test_evaluate_scores_several_levels_and_compares_weights(msrn, photo, identity):
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


def test_evaluate_scores_what_something_else_restored(msrn, photo, identity, tmp_path):
    saved = tmp_path / "saved"
    arguments = ("evaluate", "--task", "sr", "--level", "2", "--data", photo.parent, "--json")
    first = json.loads(msrn(*arguments, "-w", identity["sr"], "--save", saved).stdout)
    second = json.loads(msrn(*arguments, "--restored", saved).stdout)
    assert first["mean"] == second["mean"]
    (saved / "photo.png").unlink()
    assert_refused(msrn(*arguments, "--restored", saved), 3, "photo.png")


def test_evaluate_keeps_several_cases_apart(msrn, photo, identity, tmp_path):
    saved, form = tmp_path / "saved", ("--json", "--task", "sr", "--level", "2", "--level", "3")
    arguments = ("evaluate", *form, "--data", photo.parent)
    first = json.loads(msrn(*arguments, "-w", identity["sr"], "--save", saved).stdout)
    assert sorted(path.name for path in saved.iterdir()) == [f"{photo.parent.name}-{level}" for level in (2, 3)]
    second = json.loads(msrn(*arguments, "--restored", saved).stdout)
    assert [result["mean"] for result in second] == [result["mean"] for result in first]


def test_evaluate_names_what_failed_and_goes_on(msrn, photo, tmp_path):
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


def test_evaluate_says_when_the_output_cannot_be_written(msrn, photo, tmp_path):
    (tmp_path / "file").write_text("")
    arguments = ("evaluate", "--task", "jpeg", "--level", "10", "--baseline", "--data", photo.parent)
    for option in ("--save", "--report"):
        assert_refused(msrn(*arguments, option, tmp_path / "file" / "out", "-q"), 5, "file")


def test_evaluate_knows_colour_tiles_and_the_ensemble(msrn, photo, identity):
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
        assert_refused(msrn(*arguments, *method, "--precision", "bf16"), 2, "leave them out")


def test_evaluate_refuses_tiles_of_what_is_restored_already(msrn, photo):
    arguments = ("evaluate", "--task", "sr", "--level", "2", "--data", photo.parent, "--restored", photo.parent)
    assert_refused(msrn(*arguments, "--protocol", "authors-tiles"), 2, "authors-tiles")


def test_evaluate_writes_json_that_others_can_read(msrn, photo):
    process = msrn("evaluate", "--task", "denoise", "--level", "0", "--data", photo.parent, "--baseline", "--json")
    assert json.loads(process.stdout, parse_constant=pytest.fail)["mean"] == {"psnr": None, "ssim": 1}
