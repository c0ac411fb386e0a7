"""A folder of pictures, whatever happens to it: planned, restored, interrupted, killed, run again."""

import itertools
import json
import logging
import shutil
import subprocess
import threading
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.albums import RNG, album, run, tree
from tests.helpers.networks import identity_weights, random_weights

from msrn import images
from msrn.batch import Settings, claim, plan_outputs, restore_files
from msrn.errors import ImageError, OutputError
from msrn.images.isolated import Decoder
from msrn.images.picture import Picture
from msrn.network.config import MSRNConfig
from msrn.restoration.restorer import Restorer
from msrn.system.atomic import write_atomically


def test_what_was_assumed_to_read_a_picture_is_told_of_it(tmp_path, denoiser):
    (tmp_path / "in").mkdir()
    Image.new("CMYK", (9, 8), (10, 20, 30, 40)).save(tmp_path / "in" / "a.jpg")
    (outcome,) = run(tmp_path / "in", tmp_path / "out", denoiser)
    assert outcome.note == "CMYK without a colour profile that fits, converted as ideal inks"


# --- the manifest -------------------------------------------------------------------------------------------------


def test_a_second_run_does_only_what_is_missing(tmp_path, denoiser):
    folder, out = album(tmp_path / "in", "a.png", "b.png", "c.png", "d.png"), tmp_path / "out"
    assert not any(outcome.skipped or outcome.error for outcome in run(folder, out, denoiser))
    first = tree(out)
    times = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    (out / "b.png").unlink()
    album(folder, "new.png")
    skipped = {outcome.job.source.name: outcome.skipped for outcome in run(folder, out, denoiser)}
    assert skipped == dict.fromkeys(("a.png", "c.png", "d.png"), "done before") | {"b.png": "", "new.png": ""}
    assert tree(out).items() >= first.items()
    assert all(path.stat().st_mtime_ns == times[path] for path in times if path.name != "b.png")


def test_what_was_made_in_a_hurry_is_not_taken_for_the_whole(tmp_path, denoiser, monkeypatch):
    monkeypatch.setattr(type(denoiser), "within", lambda self, *_: self)  # which would time it first
    folder, out = album(tmp_path / "in", "a.png"), tmp_path / "out"
    run(folder, out, denoiser, deadline=1)
    assert [outcome.skipped for outcome in run(folder, out, denoiser, deadline=1)] == ["done before"]
    assert [outcome.skipped for outcome in run(folder, out, denoiser, existing="overwrite")] == [""]


@pytest.mark.parametrize("change", ["input", "output", "settings"])
def test_what_no_longer_matches_the_manifest_is_somebody_elses(tmp_path, denoiser, change):
    folder, out = album(tmp_path / "in", "a.png", "b.png"), tmp_path / "out"
    run(folder, out, denoiser)
    if change == "input":
        album(folder, "a.png")
    elif change == "output":
        (out / "a.png").write_text("edited")
    settings = Settings(strip_metadata=change == "settings")
    with pytest.raises(OutputError, match=r"a\.png exists"):
        run(folder, out, denoiser, settings)
    assert {o.skipped for o in run(folder, out, denoiser, settings, existing="skip")} <= {"exists", "done before"}
    again = run(folder, out, denoiser, settings, existing="overwrite")
    assert [outcome.skipped for outcome in again] == ["", "" if change == "settings" else "done before"]
    assert all(outcome.skipped == "done before" for outcome in run(folder, out, denoiser, settings))


def test_a_manifest_that_was_cut_off_or_scribbled_on_is_still_read(tmp_path, denoiser):
    folder, out = album(tmp_path / "in", "a.png", "b.png"), tmp_path / "out"
    run(folder, out, denoiser)
    manifest = out / "msrn-manifest.jsonl"
    _, kept, cut = manifest.read_bytes().splitlines(keepends=True)
    strange = b"[" * 100_000 + b"\n"
    for odd in (3, "\0"):
        strange += json.dumps({"output": odd, "source": "a", "settings": "b", "made": "c"}).encode() + b"\n"
    manifest.write_bytes(b'\xff{}\n[1]\n7\n{"output": 3}\n{"choices": 3}\n' + strange + kept + cut[:40])
    (out / "b.png").unlink()
    assert [outcome.skipped for outcome in run(folder, out, denoiser)] == ["done before", ""]
    assert [outcome.skipped for outcome in run(folder, out, denoiser)] == ["done before", "done before"]


def test_a_batch_goes_on_with_what_it_was_begun_with(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("msrn.restoration.backends.has_bf16", lambda: True)
    monkeypatch.setattr(logging.getLogger("msrn"), "propagate", True)  # whatever a command has set it to
    folder, out = album(tmp_path / "in", "a.png"), tmp_path / "out"
    weights = identity_weights("denoise")
    weights = replace(weights, card=replace(weights.card, losses={"bf16": {"25": 0.0}}))
    plan = plan_outputs([folder], out)

    def restorer(**options):
        with claim(plan) as claimed:
            return Restorer(weights, device="cpu", **options, begun_with=claimed.begun_with)

    run(folder, out, restorer(backend="eager", precision="bf16"))
    automatic = restorer()
    assert str(automatic.engine.tuned.choice) == "eager bf16"
    assert [outcome.skipped for outcome in run(folder, out, automatic)] == ["done before"]
    asked = restorer(precision="fp32", backend="eager")
    assert str(asked.engine.tuned.choice) == "eager fp32"  # who asks is given
    run(folder, out, asked, existing="overwrite")
    assert str(restorer().engine.tuned.choice) == "eager bf16"  # what came first counts
    manifest = out / "msrn-manifest.jsonl"
    manifest.write_text(manifest.read_text().replace("eager bf16", "abacus int3"))
    assert str(restorer().engine.tuned.choice) in (
        "openvino fp32",
        "onnx fp32",
        "eager bf16",
        "eager fp32",
        "openvino bf16",
    )
    assert "begun with abacus int3" in caplog.text


def test_a_batch_that_an_earlier_version_began_goes_on(tmp_path):
    """The fixture is what the first code of version 0.1.0 left when it was killed after the third of five pictures."""
    shutil.copytree(Path(__file__).parent / "fixtures" / "half_done", tmp_path, dirs_exist_ok=True)
    plan = plan_outputs([tmp_path / "in"], tmp_path / "made", recursive=True)
    with claim(plan) as output:
        (weights,) = tmp_path.glob("*.safetensors")
        restorer = Restorer(weights, device="cpu", begun_with=output.begun_with)
        outcomes = restore_files(plan.jobs, output, restorer, Settings(version="0.1.0"))
    assert str(restorer.engine.tuned.choice) == "eager fp32"  # as the manifest says
    skipped = {outcome.job.source.name: outcome.skipped for outcome in outcomes}
    assert skipped == dict.fromkeys(("a.png", "b.png", "c.png"), "done before") | {"d.png": "", "e.png": ""}
    assert all(outcome.error is None for outcome in outcomes)
    assert sorted(tree(tmp_path / "made")) == ["a.png", "b.png", "c.png", "deep/d.png", "e.png"]


# --- failures -----------------------------------------------------------------------------------------------------


def test_failures_are_recorded_and_the_run_goes_on(tmp_path, denoiser):
    folder, out = album(tmp_path / "in", "a.png", "c.png"), tmp_path / "out"
    (folder / "b.png").write_text("no picture")
    outcomes = run(folder, out, denoiser)
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    (row,) = map(json.loads, (out / "failures.jsonl").read_text().splitlines())
    assert row["input"].endswith("b.png")
    assert row["kind"] == "UnknownFormatError"
    album(folder, "b.png")
    run(folder, out, denoiser)
    assert not (out / "failures.jsonl").exists()
    (folder / "e.png").write_text("no picture")
    with pytest.raises(ImageError):
        run(folder, out, denoiser, fail_fast=True)


def test_an_input_that_goes_away_costs_one_file(tmp_path, denoiser):
    folder = album(tmp_path / "in", *(f"{n}.png" for n in range(9)))
    gone = folder / "8.png"
    outcomes = run(folder, tmp_path / "out", denoiser, done=lambda outcome: gone.unlink(missing_ok=True))
    assert [outcome.job.source for outcome in outcomes if outcome.error] == [gone]


@pytest.mark.parametrize(
    ("error", "message"), [(KeyError("bug"), "internal error"), (MemoryError(), "more memory than there is")]
)
def test_what_goes_wrong_inside_costs_one_file_too(tmp_path, denoiser, monkeypatch, error, message):
    folder = album(tmp_path / "in", "a.png", "b.png")
    real, seen = Restorer.__call__, []

    def fails_once(self, *arguments, **options):
        seen.append(1)
        if len(seen) == 1:
            raise error
        return real(self, *arguments, **options)

    monkeypatch.setattr(Restorer, "__call__", fails_once)
    errors = [outcome.error for outcome in run(folder, tmp_path / "out", denoiser)]
    assert message in str(errors[0])
    assert errors[1] is None


@pytest.mark.parametrize("workers", [1, 3])
def test_a_decoder_that_crashes_or_hangs_costs_one_file(tmp_path, denoiser, workers):
    folder = album(tmp_path / "in", "a.png", "crash.png", "hang.png", "noise.png", "z.png")
    hostile = Decoder(seconds=1, module="tests.helpers.hostile_pictures")
    outcomes = run(folder, tmp_path / "out", denoiser, decoder=hostile, workers=workers)
    errors = {outcome.job.source.stem: str(outcome.error or "") for outcome in outcomes}
    assert "crash" in errors.pop("crash").replace("crash.png", "")
    assert "more than 1 s" in errors.pop("hang")
    assert set(errors.values()) == {""}
    (folder / "hang.png").unlink()
    outcomes = run(folder, tmp_path / "out", denoiser, decoder=hostile, workers=workers)
    assert [outcome.job.source.name for outcome in outcomes if not outcome.skipped] == ["crash.png"]  # not in here


@pytest.mark.parametrize("name", ["crash.png", "hang.png"])
def test_a_single_hostile_file_costs_itself_and_no_more_than_its_time(tmp_path, denoiser, name):
    album(tmp_path, name)
    hostile = Decoder(seconds=1, module="tests.helpers.hostile_pictures")
    hostile.start()
    started = time.monotonic()
    (outcome,) = run([tmp_path / name], tmp_path / "out.png", denoiser, decoder=hostile)
    assert isinstance(outcome.error, ImageError)
    assert name in str(outcome.error)
    assert time.monotonic() - started < 20  # on a busy machine
    assert not (tmp_path / "out.png").exists()


# --- outputs ------------------------------------------------------------------------------------------------------


def test_two_runs_do_not_write_to_one_folder(tmp_path, denoiser):
    folder, out = album(tmp_path / "in", "a.png"), tmp_path / "out"
    plan = plan_outputs([folder], out)
    with claim(plan), pytest.raises(OutputError, match="another run"), claim(plan):
        pass
    assert not out.exists()  # nothing was written
    assert not run(folder, out, denoiser)[0].error


@pytest.mark.parametrize("existing", ["refuse", "skip"])
def test_an_output_that_comes_to_exist_meanwhile_is_kept(existing, tmp_path, denoiser):
    folder, out = album(tmp_path / "in", "a.png"), tmp_path / "out"
    precious = lambda job, share: (out / "a.png").write_text("precious")  # noqa: E731
    (outcome,) = run(folder, out, denoiser, progress=precious, existing=existing)
    assert "meanwhile" in str(outcome.error)
    assert tree(out) == {"a.png": b"precious"}


def test_what_a_killed_run_left_is_swept_but_nothing_in_use(tmp_path, denoiser):
    folder, out = album(tmp_path / "in", "deep/a.png"), tmp_path / "out"
    (out / "deep").mkdir(parents=True)
    (out / "deep" / ".msrn-0123.tmp").write_text("left by a killed run")
    seen = []

    def write(file):
        run(folder, out, denoiser)
        seen.extend(path.name for path in (out / "deep").glob(".msrn-*"))

    write_atomically(out / "deep" / "other.png", write)
    assert len(seen) == 1
    assert sorted(tree(out)) == ["deep/a.png", "deep/other.png"]


def test_a_full_disk_stops_the_run_and_leaves_whole_files(tmp_path, denoiser, small_disk):
    disk = small_disk(64)
    folder = tmp_path / "in"
    for n in range(6):
        images.write(Picture(RNG.random((3, 80, 80), np.float32)), folder / f"{n}.png")
    seen = []
    with pytest.raises(OutputError, match="No space left"):
        run(folder, disk / "out", denoiser, done=seen.append)
    assert 1 < len(seen) < 6
    for name, content in tree(disk).items():
        assert content == (folder / Path(name).name).read_bytes(), name
    subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)
    assert {o.skipped for o in run(folder, disk / "out", denoiser)} == {"", "done before"}
    assert len(tree(disk)) == 6


def test_a_read_only_disk_is_found_at_once(tmp_path, small_disk):
    disk = small_disk(64)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    plan = plan_outputs([album(tmp_path / "in", "a.png")], disk / "out")
    with pytest.raises(OutputError, match="Read-only"), claim(plan):
        pass


# --- several at once ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not find_spec("openvino"), reason="only its models are shared by threads")
def test_small_pictures_restored_at_once_are_those_restored_alone(tmp_path, monkeypatch):
    restorer = Restorer(random_weights("denoise", MSRNConfig(1, 1, 4)), device="cpu", backend="openvino")
    folder, alone = tmp_path / "in", threading.Event()
    sides = [8, 9, 300, 8, 31, 300, 64, 5, 8, 8]
    for index, side in enumerate(sides):
        samples = RNG.random((3, side, side + 1), dtype=np.float32)
        images.write(Picture(samples), folder / f"{index}.png")
    seen: set[str] = set()
    whole = Restorer.__call__

    def noting(self, picture, **how):
        kind = "small" if picture.height < 256 else "large"
        seen.add(f"{kind} {'in the main thread' if threading.current_thread() is main else 'apart'}")
        if kind == "small" and not alone.is_set():
            together.wait(30)  # or fail: nobody else came
        return whole(self, picture, **how)

    main, together = threading.current_thread(), threading.Barrier(2)
    monkeypatch.setattr("msrn.restoration.tile_plan.cores", lambda: 2)
    monkeypatch.setattr(Restorer, "__call__", noting)
    outcomes = run(folder, tmp_path / "out", restorer)
    assert not [outcome.error for outcome in outcomes if outcome.error]
    assert seen == {"small apart", "large in the main thread"}
    alone.set()
    monkeypatch.setattr("msrn.restoration.tile_plan.cores", lambda: 1)
    restorer = Restorer(restorer.weights, device="cpu", backend="openvino")
    run(folder, tmp_path / "expected", restorer)
    assert "small in the main thread" in seen
    assert tree(tmp_path / "out") == tree(tmp_path / "expected")


@pytest.mark.skipif(not find_spec("openvino"), reason="only its models are shared by threads")
def test_a_small_picture_that_fails_beside_others_costs_its_own_file(tmp_path, monkeypatch):
    restorer = Restorer(identity_weights("denoise"), device="cpu", backend="openvino")
    folder = album(tmp_path / "in", *(f"{k}.png" for k in range(6)))
    whole, calls = Restorer.__call__, itertools.count()

    def third_fails(self, picture, **how):
        if next(calls) == 2:
            raise MemoryError
        return whole(self, picture, **how)

    monkeypatch.setattr("msrn.restoration.tile_plan.cores", lambda: 2)
    monkeypatch.setattr(Restorer, "__call__", third_fails)
    outcomes = run(folder, tmp_path / "out", restorer)
    (error,) = [outcome.error for outcome in outcomes if outcome.error]
    assert "more memory" in str(error)
    assert len(tree(tmp_path / "out")) == 5
