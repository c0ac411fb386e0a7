"""Which file goes where, and what is not taken for an input."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.helpers.albums import OURS, album, run, targets, tree
from tests.helpers.command import msrn
from tests.helpers.networks import identity_weights

from msrn.batch import Settings, claim, forecast_batch, plan_outputs, restore_files
from msrn.errors import OutputError, UsageError
from msrn.network.weights import save
from msrn.restoration.restorer import Restorer


def test_trees_are_mirrored_and_patterns_expanded(tmp_path, monkeypatch):
    folder = album(tmp_path / "in", "a.png", "deep/b.tif", "deep/er/c.jpg", "d.PNG")
    (folder / "notes.txt").write_text("no image")
    out = tmp_path / "out"
    plan = plan_outputs([folder], out, recursive=True, suffix="_x")
    assert targets(plan, out) == ["a_x.png", "d_x.PNG", "deep/b_x.tif", "deep/er/c_x.png"]
    assert targets(plan_outputs([folder], out), out) == ["a.png", "d.PNG"]
    assert targets(plan_outputs([folder / "*.png"], out), out) == ["a.png"]
    assert targets(plan_outputs([folder / "**/*.jpg"], out, extension="WEBP"), out) == ["c.webp"]
    monkeypatch.chdir(folder)
    assert targets(plan_outputs([Path("[ad].*")], out), out) == ["a.png", "d.PNG"]
    with pytest.raises(UsageError, match=r"no such file or folder: \*\.bmp"):
        plan_outputs([Path("*.bmp")], out)
    with pytest.raises(UsageError, match="tga"):
        plan_outputs([folder], out, extension="tga")


def test_images_that_are_not_read_are_named(tmp_path):
    folder = album(tmp_path / "in", "a.png")
    for name in ("b.psd", "c.TGA", "notes.txt"):
        (folder / name).write_bytes(b"something")
    plan = plan_outputs([folder], tmp_path / "out")
    assert [path.name for path in plan.not_read] == ["b.psd", "c.TGA"]
    assert len(plan.jobs) == 1
    (folder / "a.png").unlink()
    with pytest.raises(UsageError, match=r"b\.psd"):
        plan_outputs([folder], tmp_path / "out")


def test_full_names_keep_apart_what_differs_in_its_extension(tmp_path):
    folder, out = album(tmp_path / "in", "a.png", "a.jpg", "deep/a.webp"), tmp_path / "out"
    with pytest.raises(UsageError, match="--full-names"):
        plan_outputs([folder], out)
    plan = plan_outputs([folder], out, recursive=True, suffix="_x", full_names=True)
    assert targets(plan, out) == ["a.jpg_x.png", "a.png_x.png", "deep/a.webp_x.webp"]


def test_a_file_that_is_given_twice_is_restored_once(tmp_path, monkeypatch):
    folder, out = album(tmp_path / "in", "a.png"), tmp_path / "out"
    monkeypatch.chdir(tmp_path)
    assert targets(plan_outputs([folder, Path("in/a.png"), folder / "a.png"], out), out) == ["a.png"]


def test_outputs_of_earlier_runs_within_a_folder_are_told(tmp_path, denoiser):
    folder, out = album(tmp_path / "in", "a.png"), tmp_path / "out"
    run(folder, folder / "deep" / "restored", denoiser)
    album(folder / "deep" / "restored", "mine.png")
    plan = plan_outputs([folder], out, recursive=True)
    assert targets(plan, out) == ["a.png", "deep/restored/a.png", "deep/restored/mine.png"]
    assert plan.made_before == [folder / "deep" / "restored" / "a.png"]
    assert plan_outputs([folder / "deep" / "restored"], out).made_before == []  # they were asked for


def test_collisions_are_found_before_the_first_pixel(tmp_path):
    folder = album(tmp_path / "in", "a.png", "b/a.png")
    with pytest.raises(UsageError, match=r"a\.png.*b.a\.png.*folders of their own"):
        plan_outputs([folder, folder / "b"], tmp_path / "out")
    with pytest.raises(UsageError, match="is an input"):
        plan_outputs([folder / "a.png"], folder / "a.png")
    with pytest.raises(UsageError, match="is an input"):
        plan_outputs([folder / "a.png"], folder)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(UsageError, match="is an input"):
        plan_outputs([folder / "a.png"], tmp_path / "link")


def test_an_output_folder_inside_the_input_folder_does_not_feed_on_itself(tmp_path, denoiser):
    folder = album(tmp_path / "in", "a.png", "deep/b.png")
    for _ in range(2):
        assert len(run(folder, folder / "out", denoiser)) == 2
    assert sorted(tree(folder / "out")) == ["a.png", "deep/b.png"]
    album(folder / "out", "somebody's.png")  # in no manifest
    assert targets(plan_outputs([folder], folder / "out", recursive=True), folder / "out") == ["a.png", "deep/b.png"]


def test_the_same_command_goes_on_where_a_shell_expands_its_pattern(tmp_path, denoiser):
    folder = album(tmp_path / "in", "a.png", "b.png")
    for skipped in ("", "done before"):
        inside = run(sorted(folder.iterdir()), folder / "out", denoiser)
        assert [outcome.skipped for outcome in inside] == [skipped] * 2
    shutil.rmtree(folder / "out")
    for skipped in ("", "done before"):
        plan = plan_outputs(sorted(folder.glob("*.png")), folder, suffix="_x")
        with claim(plan) as claimed:
            beside = restore_files(plan.jobs, claimed, denoiser)
        assert [outcome.skipped for outcome in beside] == [skipped] * 2


def test_where_all_inputs_are_outputs_of_before_that_is_said(tmp_path, denoiser):
    out = tmp_path / "out"
    run(album(tmp_path / "in", "a.png", "b.png"), out, denoiser)
    for inputs in (sorted(out.glob("*.png")), [out]):
        with pytest.raises(UsageError, match="all inputs are outputs of an earlier run"):
            plan_outputs(inputs, out, suffix="_x2")
    assert len(plan_outputs([out], tmp_path / "other").jobs) == 2


def test_a_name_that_becomes_too_long_costs_one_file(tmp_path, denoiser):
    folder = album(tmp_path / "in", "a.png", "b" * 251 + ".png")
    plan = plan_outputs([folder], tmp_path / "out", suffix="_x")
    with claim(plan) as claimed:
        first, second = restore_files(plan.jobs, claimed, denoiser)
    assert (first.error, type(second.error)) == (None, OutputError)
    assert "too long" in (tmp_path / "out" / "failures.jsonl").read_text()
    with pytest.raises(UsageError, match="too long"):
        plan_outputs([folder / "a.png"], tmp_path / ("c" * 300 + ".png"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_pipes_in_folders_are_no_images_and_neither_are_links_to_them(tmp_path):
    folder = album(tmp_path / "in", "a.png")
    os.mkfifo(folder / "b.png")
    os.mkfifo(tmp_path / "pipe")
    (folder / "c.png").symlink_to(tmp_path / "pipe")
    (folder / "d.png").symlink_to(tmp_path / ("d" * 300))
    assert targets(plan_outputs([folder], tmp_path / "out"), tmp_path / "out") == ["a.png", "d.png"]


def test_a_folder_that_cannot_be_listed_costs_no_other(tmp_path, monkeypatch):
    folder = album(tmp_path / "in", "a.png", "locked/b.png")
    listed = os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    plan = plan_outputs([folder], tmp_path / "out", recursive=True)
    assert (len(plan.jobs), plan.unlisted) == (1, [f"cannot list {folder / 'locked'}: Permission denied"])
    with pytest.raises(UsageError, match="cannot list"):
        plan_outputs([folder / "locked"], tmp_path / "out")


@pytest.mark.parametrize("name", sorted(OURS))
def test_books_that_cannot_be_written_are_found_at_once(tmp_path, name):
    plan = plan_outputs([album(tmp_path / "in", "a.png")], tmp_path / "out")
    (tmp_path / "out" / name).mkdir(parents=True)
    with pytest.raises(OutputError, match="Is a directory"), claim(plan):
        pass


def test_outputs_beside_their_inputs_are_not_taken_for_inputs(tmp_path, denoiser):
    folder = album(tmp_path, "a.png")
    for skipped in ("", "done before"):
        plan = plan_outputs([folder], folder, suffix="_x")
        with claim(plan) as output:
            outcomes = restore_files(plan.jobs, output, denoiser)
        assert [(o.job.source.name, o.skipped) for o in outcomes] == [("a.png", skipped)]


def test_links_to_folders_are_not_entered_and_links_to_files_are_read(tmp_path, denoiser):
    folder = album(tmp_path / "in", "a.png")
    elsewhere = album(tmp_path / "elsewhere", "private.png")
    (folder / "circle").symlink_to(folder)
    (folder / "away").symlink_to(elsewhere)
    (folder / "file.png").symlink_to(elsewhere / "private.png")
    (folder / "itself.png").symlink_to(folder / "itself.png")
    (folder / "nowhere.png").symlink_to(folder / "gone")
    os.mkfifo(folder / "pipe.png")
    plan = plan_outputs([folder], tmp_path / "out", recursive=True)
    assert targets(plan, tmp_path / "out") == ["a.png", "file.png", "itself.png", "nowhere.png"]
    assert plan.links == [folder / "away", folder / "circle"]
    errors = [outcome.error for outcome in run(folder, tmp_path / "out", denoiser)]
    assert [error is None for error in errors] == [True, True, False, False]
    assert "symbolic links" in str(errors[2])
    assert not (tmp_path / "out" / "file.png").is_symlink()


@pytest.mark.parametrize("name", ["画 🖼.png", "new\nline.png", "-v.png", "a" * 251 + ".png", "\udcff.png", "[x].png"])
def test_strange_names_are_names(tmp_path, denoiser, name):
    folder = album(tmp_path / "in", name)
    assert [o.error for o in run([folder / name], tmp_path / "out", denoiser)] == [None]
    assert list(tree(tmp_path / "out")) == [name]
    assert run(folder, tmp_path / "out", denoiser)[0].skipped == "done before"


def test_a_pattern_that_matches_the_books_of_an_earlier_run_goes_on(tmp_path, denoiser):
    folder = album(tmp_path, "a.png")
    (folder / "b.png").write_bytes(b"broken")
    for _ in range(2):
        plan = plan_outputs(sorted(folder.iterdir()), folder, suffix="_x")
        assert [job.source.name for job in plan.jobs] == ["a.png", "b.png"]
        with claim(plan) as output:
            restore_files(plan.jobs, output, denoiser)
        assert {"failures.jsonl", "msrn-manifest.jsonl"} < {path.name for path in folder.iterdir()}


def test_what_macos_keeps_beside_files_is_no_image(tmp_path):
    folder = album(tmp_path / "in", "a.png")
    (folder / "._a.png").write_bytes(b"\x00\x05\x16\x07")
    assert targets(plan_outputs([folder], tmp_path / "out"), tmp_path / "out") == ["a.png"]
    assert len(plan_outputs([folder / "._a.png"], tmp_path / "out").jobs) == 1  # unless it is asked for


@pytest.mark.parametrize("suffix", ["/x", "\0", f"a{os.sep}b"])
def test_a_suffix_is_a_part_of_a_name(tmp_path, suffix):
    with pytest.raises(UsageError, match="part of a name"):
        plan_outputs([album(tmp_path, "a.png")], tmp_path / "out", suffix=suffix)


@pytest.fixture
def quick(tmp_path):
    """Options for weights that return what they get, and need no tuning."""
    weights = identity_weights("denoise")
    path = save(weights, tmp_path / "weights", "identity")
    return ("-w", path, "--backend", "eager", "--precision", "fp32")


def test_a_dry_run_is_safe_to_show_and_to_read_and_finds_what_will_fail(tmp_path, quick):
    folder = album(tmp_path / "in", "x\x1b[31m.png")
    (folder / "y.png").write_bytes(b"broken")
    command = ("denoise", folder, "-o", tmp_path / "out", "--dry-run", *quick)
    shown = msrn(*command)
    assert "\x1b" not in shown.stdout
    assert r"x\x1b[31m.png" in shown.stdout
    done = msrn(*command, "--json")
    good, bad = json.loads(done.stdout)
    assert good["output"].endswith("x\x1b[31m.png")
    assert good["seconds"] > 0
    assert good["bytes"] > 0
    assert (good["error"], bad["seconds"], done.returncode) == (None, 0, 3)
    assert bad["error"] in done.stderr


def test_a_run_that_stops_at_a_failure_says_what_was_done(tmp_path, quick):
    folder = album(tmp_path / "in", "a.png")
    (folder / "b.png").write_bytes(b"broken")
    done = msrn("denoise", folder, "-o", tmp_path / "out", "--fail-fast", "--json", "-q", *quick)
    assert done.returncode == 3
    assert "b.png" in json.loads(done.stdout)[-1]["error"]


def test_the_digest_holds_the_weights_and_the_version():
    one, other = (Settings().digest(SimpleNamespace(identity={"weights": name})) for name in "ab")
    assert one != other
    assert Settings(version="99").digest(SimpleNamespace(identity={"weights": "a"})) != one


def test_stretching_is_said(tmp_path):
    enlarger = Restorer(identity_weights("sr"), device="cpu", backend="eager", precision="fp32")
    plan = plan_outputs([album(tmp_path / "in", "a.png")], tmp_path / "out")
    (expected,) = forecast_batch(plan.jobs, enlarger, Settings(size=(24, 36)))
    assert expected.note == "proportions changed by 33%"
    (made,) = run(tmp_path / "in", tmp_path / "out", enlarger, Settings(size=(None, 35)))
    assert made.note == ""
