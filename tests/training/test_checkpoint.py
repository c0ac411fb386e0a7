"""Checkpoint files: whole or recognised as damaged, the last one never lost."""

import os
from pathlib import Path

import pytest
import torch

from msrn.errors import OutputError, WeightsError
from msrn.training import checkpoint


def state(step=1, **more):
    """What a checkpoint must have."""
    counters = {"recursions": 1, "seconds": 0.0, "best": 0.0, "skipped": 0, "skipped_in_a_row": 0}
    parts = {name: {} for name in ("recipe", "network", "average", "optimiser", "scaler")}
    return parts | counters | {"step": step} | more


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip"])
def test_damaged_checkpoints_are_named(content, tmp_path):
    path = tmp_path / "checkpoint-00000001.ckpt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="checkpoint-00000001"):
        checkpoint.load(path)
    with pytest.raises(WeightsError):
        checkpoint.load(tmp_path / "nowhere.ckpt")


@pytest.mark.parametrize("change", [{"step": None}, {"step": "3"}, {"network": [1]}, {"best": None}, {"recipe": "x"}])
def test_a_checkpoint_that_lacks_a_part_is_named(change, tmp_path):
    path = checkpoint.save(tmp_path, 1, state(**change))
    with pytest.raises(WeightsError, match=rf"checkpoint-00000001\.ckpt is .*: its '{next(iter(change))}' is missing"):
        checkpoint.load(path)


def test_an_encrypted_or_strangely_compressed_checkpoint_is_named(tmp_path):
    whole = checkpoint.save(tmp_path, 1, state()).read_bytes()
    for place, value in ((8, 1), (10, 99)):  # flags, method of the first entry in the central directory
        at = whole.index(b"PK\x01\x02") + place
        (tmp_path / "x.ckpt").write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
        with pytest.raises(WeightsError, match=r"encrypted|not supported"):
            checkpoint.load(tmp_path / "x.ckpt")


def test_of_damaged_checkpoints_the_one_before_is_taken(tmp_path, caplog):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, state(step, values=torch.ones(1000)), keep=3)
    whole = checkpoint.path_of(tmp_path, 3).read_bytes()
    middle = whole.index(torch.ones(100).numpy().tobytes())
    for damaged in (whole[: middle + 100], whole[:middle] + b"\x7f" + whole[middle + 1 :]):
        caplog.clear()
        checkpoint.path_of(tmp_path, 3).write_bytes(damaged)
        assert checkpoint.resume(tmp_path)["step"] == 2
        assert "checkpoint-00000003.ckpt is damaged" in caplog.text
        assert "going on from checkpoint-00000002.ckpt" in caplog.text
    saved = checkpoint.save(tmp_path, 2, checkpoint.resume(tmp_path), keep=1)  # what is damaged does not count
    assert list(tmp_path.glob("*.ckpt")) == [saved]
    for path in tmp_path.glob("*.ckpt"):
        path.write_bytes(b"")
    with pytest.raises(WeightsError, match="checkpoint-00000002"):
        checkpoint.resume(tmp_path)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError()])
def test_a_checkpoint_that_cannot_be_read_at_the_moment_is_not_passed_over(error, tmp_path, monkeypatch):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, state(step), keep=2)

    def fails(*arguments, **options):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(torch, "load", fails)
        with pytest.raises(WeightsError, match=r"cannot read checkpoint.*00000002"):
            checkpoint.resume(tmp_path)
    assert checkpoint.resume(tmp_path)["step"] == 2


def test_a_kill_between_two_files_loses_no_best_checkpoint(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(checkpoint, "write_atomically", lambda path, write: written.append(path.name))
    checkpoint.save(tmp_path, 2, state(2), best=True)
    assert written == ["best.ckpt", "checkpoint-00000002.ckpt"]


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, state())

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        checkpoint.save(tmp_path, 2, state())
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000001.ckpt"]


def test_a_checkpoint_runs_no_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    torch.save({"recipe": Bomb()}, tmp_path / "x.ckpt")
    with pytest.raises(WeightsError):
        checkpoint.load(tmp_path / "x.ckpt")
    assert not (tmp_path / "executed").exists()
