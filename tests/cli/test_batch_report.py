"""What a batch says: progress on a terminal, a summary, names that cannot do harm."""

import json
import os
import re
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
from tests.helpers.command import assert_refused, msrn

from msrn import images
from msrn.batch import Job, Outcome, Plan
from msrn.cli.batch_report import BatchReport
from msrn.cli.console import Bar, count, duration, storage
from msrn.images.picture import Picture

pytestmark = pytest.mark.timeout(120)


def test_a_batch_sums_up_and_a_second_run_has_nothing_to_do(photo, identity, tmp_path):
    arguments = ("denoise", f"{photo.parent}/p*.png", photo.parent / "deep", "-o", tmp_path / "out", "-j", "2")
    arguments += ("-w", identity["denoise"])
    (photo.parent / "deep").mkdir()
    (photo.parent / "deep" / "b.png").write_bytes(photo.read_bytes())
    lines = msrn(*arguments).stderr.splitlines()
    assert lines[-1].startswith("msrn: 2 restored, 0 skipped, 0 failed in ")
    assert "images/s" in lines[-1]
    assert "MP/s" in lines[-1]
    again = msrn(*arguments).stderr.splitlines()[-1]
    assert again.startswith("msrn: 0 restored, 2 skipped, 0 failed in ")
    assert "/s" not in again  # of nothing there is no speed
    assert msrn(*arguments, "-q").stderr == ""


def test_names_cannot_smuggle_anything_onto_the_terminal(identity, tmp_path):
    name = "new\nline\x1b[2J\udcff.png"
    (tmp_path / name).write_text("no picture")
    process = msrn("denoise", tmp_path / name, "-o", tmp_path / "o", "-w", identity["denoise"], "--json")
    assert_refused(process, 3, r"new\nline\x1b[2J\udcff.png")
    assert json.loads(process.stdout)[0]["input"] == str(tmp_path / name)


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
    seen_halfway = [bar.format(ended, r" *\d+") for ended in range(2, 6)]  # not all of it is drawn
    for expected in ("|".join(seen_halfway), bar.format(6, 100)):
        assert any(re.match(expected, line) for line in lines), lines[-20:]


def test_the_time_left_is_right_after_the_first_tiles(tmp_path):
    """On a busy machine a tile takes forty seconds; most of the batch was done before, and the files differ in size."""
    jobs = [Job(tmp_path / f"{k}.png", tmp_path / "out" / f"{k}.png") for k in range(12)]
    for k, job in enumerate(jobs):
        job.source.write_bytes(b"x" * (100 if k < 10 else 1000 * (k - 9)))
    now = 0.0
    with Bar(quiet=False, shown=True, clock=lambda: now) as bar:
        report = BatchReport(Plan(jobs, tmp_path / "out"), bar, "", quiet=True, as_json=False)
        for job in jobs[:10]:
            report.done(Outcome(job, skipped="done before"))
        tiles = [(jobs[10], k / 10) for k in range(1, 11)] + [(jobs[11], k / 20) for k in range(1, 21)]
        for done, (job, share) in enumerate(tiles, start=1):
            now += 40
            report.advance(job, share)
            if done >= 3:
                assert bar.seconds_left == pytest.approx(40 * (30 - done), abs=2)


@pytest.mark.parametrize(("number", "said"), [(0, "0 videos"), (1, "1 video"), (2, "2 videos"), (1234, "1,234 videos")])
def test_one_thing_is_one(number, said):
    assert count(number, "video") == said


def test_times_and_sizes_are_told_as_people_say_them():
    said = [duration(seconds) for seconds in (0, 0.04, 0.1, 12.34, 99.94, 119.7, 504.3, 3599.6, 7519)]
    assert said == [
        "less than 0.1 s", "less than 0.1 s", "0.1 s", "12.3 s", "99.9 s", "2 min 0 s", "8 min 24 s", "1 h 0 min",
        "2 h 5 min",
    ]  # fmt: skip
    assert [storage(size) for size in (0, 5 << 20, 85 << 20, 1 << 30)] == ["1 MiB", "5 MiB", "85 MiB", "1.00 GiB"]
