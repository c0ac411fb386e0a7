"""Manifests, lists of failures and outputs that a stranger put into an output folder reach nothing outside it."""

import json
import os

import pytest
from tests.helpers.albums import album, run, tree

from msrn.batch import claim, plan_outputs
from msrn.errors import OutputError

MANIFEST, FAILURES = "msrn-manifest.jsonl", "failures.jsonl"


def row(output, **others):
    return json.dumps({"output": output, "source": "a" * 64, "settings": "b" * 64, "made": "c" * 64} | others)


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", ["../in/a.png", "/{}/in/a.png", "x/../../in/a.png"])
def test_a_manifest_says_nothing_of_files_outside_its_folder(tmp_path, out, denoiser, name):
    """Otherwise inputs would be taken for outputs of before, and left out in silence."""
    folder = album(tmp_path / "in", "a.png", "b.png")
    (out / MANIFEST).write_text(row(name.format(str(tmp_path).strip("/"))) + "\n")
    assert len(run(sorted(folder.iterdir()), out, denoiser)) == 2


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 1_000_000,
        b'{"a":' * 500_000,
        b'{"output": "' + b"x" * 50_000_000,
        b"7" * 100_000,
        b"\x00" * 100_000,
        json.dumps({"choices": {"x": [{}]}, "more": 1}).encode(),
        row(["a.png"]).encode(),
        row("a.png", made={}).encode(),
        row("a.png", odd="x").encode(),
        b'{"choices": "\\ud800"}',
    ],
    ids=lambda line: line[:12].decode(errors="replace"),
)
def test_lines_that_are_none_of_ours_are_passed_over(tmp_path, out, denoiser, line):
    folder = album(tmp_path / "in", "a.png")
    (out / MANIFEST).write_bytes(line + b"\n" + row("gone.png").encode() + b"\n")
    assert [outcome.error for outcome in run(folder, out, denoiser)] == [None]
    assert [outcome.skipped for outcome in run(folder, out, denoiser)] == ["done before"]


@pytest.mark.skipif(os.name != "posix", reason="needs links")
@pytest.mark.parametrize("name", [MANIFEST, FAILURES])
def test_books_that_are_links_are_refused_and_what_they_lead_to_is_kept(tmp_path, out, denoiser, name):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (out / name).symlink_to(precious)
    (out / "b.png").write_bytes(b"somebody's")
    folder = album(tmp_path / "in", "a.png")
    with pytest.raises(OutputError, match="symbolic links"):
        run(folder, out, denoiser)
    assert precious.read_text() == "precious"
    assert sorted(tree(out)) == ["b.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
@pytest.mark.timeout(30)  # each of them used to be waited for, without end
@pytest.mark.parametrize("name", [MANIFEST, FAILURES, ".msrn-0123.tmp", "a.png"])
def test_pipes_in_an_output_folder_are_not_waited_for(tmp_path, out, denoiser, name):
    folder = album(tmp_path / "in", "a.png")
    if name == "a.png":
        run(folder, out, denoiser)
        (out / name).unlink()
    os.mkfifo(out / name)
    plan = plan_outputs([folder], out)
    if name == ".msrn-0123.tmp":
        with claim(plan):
            pass
    else:
        with pytest.raises(OutputError, match=r"no plain file|a\.png exists"):
            run(folder, out, denoiser)


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_links_among_the_outputs_are_replaced_and_not_followed(tmp_path, out, denoiser):
    precious = tmp_path / "precious.png"
    precious.write_text("precious")
    (out / "a.png").symlink_to(precious)
    (out / ".msrn-0123.tmp").symlink_to(precious)
    (out / ".msrn.lock").symlink_to(precious)
    folder = album(tmp_path / "in", "a.png")
    with pytest.raises(OutputError, match="symbolic links"):
        run(folder, out, denoiser, existing="overwrite")
    (out / ".msrn.lock").unlink()
    assert run(folder, out, denoiser, existing="overwrite")[0].error is None
    assert precious.read_text() == "precious"
    assert not (out / "a.png").is_symlink()
