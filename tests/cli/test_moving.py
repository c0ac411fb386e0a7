"""The original's README, line by line: what docs/from_the_original.md says instead is done, in its folders."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from msrn.network.weights import _warn_of_stand_in

PAGE = (Path(__file__).parents[2] / "docs" / "from_the_original.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("## Its README\n")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| (.*) \| (.*) \|$", TABLE, re.MULTILINE)[1:]
COMMANDS = [command for _, here in ROWS for command in re.findall(r"`(msrn .*?)`", here) if command != "msrn train"]
COMMANDS += re.findall(r"^msrn convert \S+\.pth\.tar .*$", PAGE, re.MULTILINE)  # beside the authors' Caffe model
CHECKPOINT = "results/pretrained_models/MSRN_M6R6_x2-T91-2096ee7f.pth.tar"
SMALL = {  # as written, but a network and a run for which a test has time
    "train": "--set network.channels=4 --set network.recursions=1 --set optimiser.batch=2 --set optimiser.steps=2 "
    "--set optimiser.decay_steps=2 --set data.patch=16 --set data.validation_every=2 --threads 1",
    "prepare": "--min-side 1",
}


def checkpoint(path: Path) -> None:
    """A network of the original's kind as its trainer saves it, of one block, one unit and two channels."""
    state: dict[str, torch.Tensor] = {}
    for name, channels in {
        "feature_extractor.0": 3,
        "dense_memory_blocks.0.recursive_unit.0.residual_block.0": 2,
        "dense_memory_blocks.0.recursive_unit.0.residual_block.3": 2,
        "dense_memory_blocks.0.gate_unit.0": 4,
        "reconstructor.0": 2,
    }.items():
        state |= {f"{name}.{leaf}": torch.zeros(channels) for leaf in ("weight", "bias", "running_mean")}
        state |= {f"{name}.running_var": torch.ones(channels), f"{name}.num_batches_tracked": torch.tensor(1)}
    for name, shape in {
        "feature_extractor.2": (2, 3, 3, 3),
        "dense_memory_blocks.0.recursive_unit.0.residual_block.2": (2, 2, 3, 3),
        "dense_memory_blocks.0.recursive_unit.0.residual_block.5": (2, 2, 3, 3),
        "dense_memory_blocks.0.gate_unit.2": (2, 4, 1, 1),
        "reconstructor.2": (3, 2, 1, 1),
    }.items():
        state[f"{name}.weight"] = torch.zeros(shape)
    path.parent.mkdir(parents=True)
    torch.save({"epoch": 1, "best_psnr": 30.0, "state_dict": state}, path)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The original's folders, with pictures of 24 to 48 pixels."""
    noise = np.random.default_rng(0)
    for name in ("data/T91/t1", "data/T91/t2", "data/BSDS200/1", "data/BSDS200/2", "data/Set5/GTmod12/baby"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(noise.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        small.resize((48, 36), Image.Resampling.BICUBIC).save(path)
    (tmp_path / "figure").mkdir()
    picture = Image.open(tmp_path / "data/Set5/GTmod12/baby.png")
    picture.save(tmp_path / "figure/barbara_lr.png")
    picture.resize((24, 18)).save(tmp_path / "figure/barbara_small.png")
    checkpoint(tmp_path / CHECKPOINT)
    shutil.copy(tmp_path / CHECKPOINT, tmp_path / "epoch_100.pth.tar")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_line_of_its_readme_has_one_here():
    theirs = " ".join(theirs for theirs, _ in ROWS)
    for words in ("Download weights", "Download datasets", "Test", "Train", "Resume", "Result", "inference.py"):
        assert words in theirs
    assert {command.split()[1] for command in COMMANDS} >= {
        "weights",
        "prepare",
        "train",
        "evaluate",
        "convert",
        "upscale",
    }


def test_every_command_runs(folders, msrn):
    _warn_of_stand_in.cache_clear()  # which another test may have made it say
    said = {}
    for command in COMMANDS:
        words = shlex.split(command)[1:]
        more = SMALL.get(words[0], "") if "--resume" not in words else "--threads 1"
        done = msrn(*words, *shlex.split(more))
        assert done.returncode == 0, (command, done.stderr)
        said[command] = done
    texts = {command: done.stdout + done.stderr for command, done in said.items()}
    assert not any("stands in" in text for text in texts.values())
    (table,) = [done.stdout for command, done in said.items() if "--markdown" in command]
    assert "paper" in table
    assert all(f"×{scale}" in table for scale in (2, 3, 4))
    (told,) = [done.stdout for command, done in said.items() if "--json" in command]
    assert "barbara_sr.png" in json.dumps(json.loads(told))
    for name in ("figure/barbara_sr.png", "figure/barbara_x2.png"):
        with Image.open(name) as image:
            assert image.size == (48, 36)
    assert Path("results/test/MSRN_M6R6_x2").is_dir()
    assert len(list(Path("weights").glob("*.safetensors"))) == 3
