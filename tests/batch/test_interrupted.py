"""Runs over folders that are killed or interrupted lose nothing and go on where they were."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.helpers.albums import album, tree
from tests.helpers.files import slow_jpeg
from tests.helpers.networks import identity_weights

from msrn.network.weights import save

KILLS = int(os.environ.get("MSRN_KILLS", "4"))
"""``MSRN_KILLS=50`` for the long version."""


@pytest.fixture(scope="module")
def denoise(tmp_path_factory):
    """A command whose weights return what they get, and need no tuning."""
    weights = save(identity_weights("denoise"), tmp_path_factory.mktemp("weights"), "identity")
    how = ("-w", str(weights), "--backend", "onnx", "--precision", "fp32")  # which starts sooner than torch
    return (sys.executable, "-m", "msrn.cli", "denoise", *how)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.timeout(120 + 20 * KILLS)
def test_killed_at_any_moment_and_run_again_gives_every_output_once(tmp_path, denoise):
    folder = album(tmp_path / "in", *(f"{n % 3}/{n}.png" for n in range(120)))

    def begin(out: Path) -> subprocess.Popen[bytes]:
        command = [*denoise, str(folder), "-r", "-q", "-o", str(out)]
        return subprocess.Popen(command, start_new_session=True)

    def finish(out: Path) -> dict[str, bytes]:
        assert begin(out).wait(60) == 0
        return tree(out)

    def await_output(process: subprocess.Popen[bytes], out: Path) -> None:
        before = len(list(out.rglob("*.png")))
        while process.poll() is None and len(list(out.rglob("*.png"))) == before:
            time.sleep(0.001)

    expected = finish(tmp_path / "undisturbed")
    started = time.perf_counter()
    process = begin(tmp_path / "timed")
    await_output(process, tmp_path / "timed")
    first = time.perf_counter() - started
    assert process.wait(60) == 0
    whole = time.perf_counter() - started
    rng, midway = random.Random(0), 0
    for turn in range(KILLS):
        out = tmp_path / f"out{turn}"
        for _ in range(2):  # a run, and the one that was to go on
            process = begin(out)
            if rng.random() < 0.25:
                time.sleep(rng.uniform(0, first))  # while it starts
            else:
                await_output(process, out)
                time.sleep(rng.uniform(0, whole - first))
            process.kill()
            process.wait()
            midway += 0 < len(list(out.rglob("*.png"))) < 120
        assert finish(out) == expected  # which has no temporary files
        rows = [json.loads(line) for line in (out / "msrn-manifest.jsonl").read_text().splitlines() if line]
        assert {row["output"] for row in rows if "output" in row} == set(expected)
    assert midway


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_interrupted_runs_end_cleanly_and_say_how_to_go_on(tmp_path, denoise, number):
    folder, out = album(tmp_path / "in", *(f"{n}.png" for n in range(400))), tmp_path / "out"
    command = [*denoise, str(folder), "-o", str(out)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, **pipes, text=True, start_new_session=True)
    while process.poll() is None and not list(out.glob("*.png")):
        time.sleep(0.01)
    # A terminal sends Ctrl-C to the whole group, decoders included.
    (os.killpg if number == "SIGINT" else os.kill)(process.pid, getattr(signal, number))
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 130, messages
    assert "Traceback" not in messages
    assert "error" not in messages
    assert messages.strip().endswith("msrn: interrupted; the same command goes on where this one was stopped")
    made = tree(out)
    assert 0 < len(made) < 400
    assert all(name.endswith(".png") for name in made)
    recorded = {}
    for row in map(json.loads, (out / "msrn-manifest.jsonl").read_text().splitlines()[1:]):
        recorded[row["output"]] = row["made"]
    assert all(recorded[name] == hashlib.sha256(content).hexdigest() for name, content in made.items())


@contextmanager
def begun(command, **pipes):
    """A command that has loaded its weights, as it says with ``-v``."""
    pipes |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "-v"], **pipes, text=True, start_new_session=True) as process:
        try:
            while "automatic tiles" not in (line := process.stderr.readline()):
                assert line
            time.sleep(0.5)
            assert process.poll() is None
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
@pytest.mark.parametrize("kind", ["standard input", "a pipe nobody writes to"])
def test_ctrl_c_ends_waiting_for_a_pipe(tmp_path, denoise, kind):
    os.mkfifo(tmp_path / "pipe.png")
    source = "-" if kind == "standard input" else str(tmp_path / "pipe.png")
    with begun([*denoise, source, "-o", str(tmp_path / "out.png")], stdin=subprocess.PIPE) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert not (tmp_path / "out.png").exists()


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_ends_a_single_file_that_takes_long_to_decode(tmp_path, denoise):
    (tmp_path / "slow.jpg").write_bytes(slow_jpeg())
    with begun([*denoise, str(tmp_path / "slow.jpg"), "-o", str(tmp_path / "out.png")]) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 130  # a second when nothing else runs; the file takes 10 of them
    assert [path.name for path in tmp_path.iterdir()] == ["slow.jpg"]


def test_a_single_file_that_takes_too_long_is_given_up(tmp_path, denoise):
    (tmp_path / "slow.jpg").write_bytes(slow_jpeg())
    command = [*denoise, str(tmp_path / "slow.jpg"), "-o", str(tmp_path / "out.png"), "--max-seconds", "0.5"]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 3
    assert "slow.jpg takes more than 0.5 s to decode" in process.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["slow.jpg"]
