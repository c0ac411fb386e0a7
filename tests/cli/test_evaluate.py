"""`msrn evaluate`: what it saves and writes never costs what it read or scored."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from msrn.cli import app
from msrn.errors import OutputError, UsageError
from msrn.evaluation.methods import CallableMethod, FolderMethod
from msrn.evaluation.protocol import check_level, evaluate


def picture(path, seed=0, side=24):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side), dtype=np.uint8)).save(path)
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["evaluate", "--task", "denoise", "--level", "20", *map(str, arguments)])


@pytest.mark.parametrize("to", ["data", "data/../data", "restored"])
def test_saved_images_never_replace_what_is_read(tmp_path, to):
    before = picture(tmp_path / "data" / "a.png").read_bytes()
    picture(tmp_path / "restored" / "a.png")
    result = run("--data", tmp_path / "data", "--restored", tmp_path / "restored", "--save", tmp_path / to)
    assert isinstance(result.exception, UsageError)
    assert "a.png, which is read" in str(result.exception)
    assert (tmp_path / "data" / "a.png").read_bytes() == before


def test_images_of_one_name_are_not_saved_over_each_other(tmp_path):
    for name in ("a.png", "a.bmp"):
        picture(tmp_path / "data" / name)
    result = run("--data", tmp_path / "data", "--baseline", "--save", tmp_path / "out")
    assert "several images called 'a'" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_images_may_be_saved_inside_the_folder_of_the_originals(tmp_path):
    picture(tmp_path / "data" / "a.png")
    assert run("--data", tmp_path / "data", "--baseline", "--save", tmp_path / "data" / "out").exit_code == 0
    assert (tmp_path / "data" / "out" / "a.png").is_file()


@pytest.mark.parametrize("option", ["--report", "--save"])
def test_scores_are_printed_although_something_else_cannot_be_written(tmp_path, option):
    for folder in ("one", "two"):
        picture(tmp_path / folder / "a.png")
    place = tmp_path / "out"
    if option == "--report":
        place.write_text("in the way")
    else:
        place.mkdir()
        (place / "two-20").write_text("in the way")
    result = run("--data", tmp_path / "one", "--data", tmp_path / "two", "--baseline", option, place)
    code = getattr(result.exception, "exit_code", result.exit_code)
    assert code == OutputError.exit_code
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
