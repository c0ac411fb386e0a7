"""Many processes train what one would have trained, and a lost one costs nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers.recipes import train
from torch import nn

from msrn.errors import UsageError
from msrn.images.degradations import degradation_for
from msrn.training import checkpoint, distributed
from msrn.training.distributed import SharedBatchNorm, World, world
from msrn.training.patches import Feed, PatchSampler
from msrn.training.recipe_file import validate
from msrn.training.resident_patches import ResidentSampler

ROOT = Path(__file__).parents[2]


def values(**optimiser):
    return {
        "name": "group",
        "task": "denoise",
        "network": {"memory_blocks": 2, "recursions": 2, "channels": 4},
        "data": {"folders": ["images"], "patch": 12, "validation_every": 4, "validation_levels": [20]},
        "loss": {"kind": "l2"},  # smooth: where the gradient jumps, rounding decides more than rounding
        "optimiser": {"batch": 4, "steps": 8, "rate": 1e-3, "warmup_steps": 2, "kind": "sgd"} | optimiser,
        "checkpoint_minutes": 1e-9,
    }


def launch(command, data, folder, death=-1):
    """Start a group, wait for its end; returns what it printed."""
    arguments = ["tests.helpers.group", json.dumps(values()), str(data), str(folder), str(death)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    command = [sys.executable, "-m", *command, *arguments]
    process = subprocess.run(command, timeout=240, cwd=ROOT, env=environment, capture_output=True, text=True)
    if process.returncode:
        raise RuntimeError(process.stderr)
    return process.stdout


def in_a_group(data, folder, death=-1):
    """Train in two processes; returns how each ended: 0, minus a signal's number, or what went wrong."""
    return json.loads(launch([], data, folder, death))


@pytest.fixture(scope="module")
def in_pairs(data_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "two"
    assert in_a_group(data_folder, folder) == [0, 0]
    return checkpoint.load(checkpoint.latest(folder))


def furthest(one, other):
    return max((a.double() - b.double()).abs().max().item() for a, b in zip(one.values(), other.values(), strict=True))


def test_two_processes_train_what_one_would(data_folder, tmp_path, in_pairs):
    """The same global batch, BatchNorm statistics over all of it, 8 steps."""
    alone = train(validate(values(), "group"), data_folder, tmp_path / "one")
    assert alone.step == in_pairs["step"] == 8
    assert furthest(alone.network.state_dict(), in_pairs["network"]) < 1e-6
    assert furthest(alone.average.state_dict(), in_pairs["average"]) < 1e-6


def test_a_killed_process_is_replaced_by_torchrun_and_the_run_ends_equal(data_folder, tmp_path, in_pairs):
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1", "-m"]
    launch(torchrun, data_folder, tmp_path / "killed", death=4)
    again = checkpoint.load(checkpoint.latest(tmp_path / "killed"))
    for part in ("network", "average"):
        assert furthest(again[part], in_pairs[part]) == 0


def test_a_lost_process_ends_the_others_with_their_last_checkpoint(data_folder, tmp_path):
    first, second = in_a_group(data_folder, tmp_path / "lost", death=3)
    assert second == -signal.SIGKILL
    assert "MSRNError: lost another process of the group" in first
    assert checkpoint.load(checkpoint.latest(tmp_path / "lost"))["step"] == 3


def test_processes_that_see_other_images_do_not_train_together(data_folder, tmp_path):
    for rank in range(2):
        images = shutil.copytree(data_folder / "images", tmp_path / f"data-{rank}" / "images")
    next(images.iterdir()).unlink()
    for ended in in_a_group(tmp_path / "data-RANK", tmp_path / "apart"):
        assert "see different checkpoints, images or recipes" in ended
    assert checkpoint.latest(tmp_path / "apart") is None


@pytest.mark.parametrize("task", ["denoise", "sr"])
@pytest.mark.parametrize("resident", [True, False])
def test_every_patch_of_a_batch_is_drawn_by_exactly_one_process(resident, task):
    """So every image is seen once an epoch, whatever the number of processes and parts."""
    images = [np.random.default_rng(index).integers(0, 256, (1, 60, 60), dtype=np.uint8) for index in range(3)]
    degradation = degradation_for(task, {"denoise": [20, 20], "sr": [2]}[task])
    if resident:
        sampler = ResidentSampler(images, degradation, 12, 0, torch.device("cpu"))
    else:
        sampler = PatchSampler(images, degradation, 12, 0)
    whole = sampler.batch(5 * 12, 12)
    for size, parts in ((1, 1), (2, 1), (3, 2), (4, 3)):
        recipe = validate(values(batch=12, accumulate=parts), "test")
        drawn = {}
        for rank in range(size):
            feed = Feed(sampler, recipe.optimiser, World(rank, size), torch.device("cpu"))
            for part, pair in enumerate(feed.parts(5)):
                drawn[part, rank] = pair
        for index, expected in enumerate(whole):
            assert np.array_equal(torch.cat([drawn[key][index] for key in sorted(drawn)]), expected)


def test_a_batch_that_does_not_divide_is_refused():
    recipe = validate(values(batch=4), "test")
    with pytest.raises(UsageError, match=r"optimiser\.batch \(4\) must be a multiple of 3 processes"):
        Feed(None, recipe.optimiser, World(0, 3), torch.device("cpu"))


def test_an_incomplete_environment_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UsageError, match="torchrun"), world("cpu"):
        pass


@pytest.mark.parametrize(
    ("device", "gpus", "backend"),
    [("auto", True, "nccl"), ("cuda", True, "nccl"), ("auto", False, "gloo"), ("cpu", True, "gloo")],
)
def test_gpus_talk_by_nccl_and_processors_by_gloo(device, gpus, backend, monkeypatch):
    asked = {}
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus)
    monkeypatch.setattr(distributed, "rendezvous", lambda *_, **__: iter([(torch.distributed.HashStore(), 1, 2)]))
    monkeypatch.setattr(distributed.dist, "init_process_group", lambda kind, **how: asked.update(how, kind=kind))
    monkeypatch.setattr(distributed.dist, "destroy_process_group", asked.clear)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", str(gpus))
    with world(device) as here:
        # A store that outlives attempts keeps them apart; of a new one, agents would not agree on the attempt's number.
        assert isinstance(asked["store"], torch.distributed.PrefixStore) == gpus
        assert (asked["kind"], asked["rank"], asked["world_size"]) == (backend, 1, 2)
        assert here.local_rank == 1
    assert not asked


def test_alone_a_shared_batchnorm_is_the_usual_one():
    usual, shared = nn.BatchNorm2d(3), SharedBatchNorm(3)
    x = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(shared(x), usual(x))
    assert list(shared.state_dict()) == list(usual.state_dict())
