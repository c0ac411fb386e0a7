"""A run that an earlier version began goes on as it would have there."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file
from tests.helpers.recipes import train

from msrn.training import checkpoint, recipe_file

BEGUN = Path(__file__).parent / "fixtures" / "begun_run"
"""Images; a run on them, stopped at step 6 of 12 before its network grew; and the network after all steps there."""

IDLE = ("conv1.bias", "conv2.bias", "gate.bias", "extract.bias")
"""Parameters that a BatchNorm follows everywhere: it takes them away, so that their gradient is rounding alone, which
AdamW makes whole steps of. They differ from processor to processor and change nothing."""


def test_a_run_of_an_earlier_version_goes_on_and_ends_as_it_did_there(tmp_path):
    shutil.copytree(BEGUN / "run", tmp_path / "run")
    recipe = recipe_file.load(tmp_path / "run" / "recipe.json")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run = train(recipe, BEGUN, tmp_path / "run", resume=True)
    finally:
        torch.set_num_threads(threads)
    assert (run.step, run.network.config.recursions) == (12, 2)
    parts = {"network": run.network.state_dict(), "average": run.average.state_dict()}
    ours = {f"{part}.{name}": tensor for part, state in parts.items() for name, tensor in state.items()}
    theirs = load_file(BEGUN / "end.safetensors")
    assert ours.keys() == theirs.keys()
    compared = [name for name in theirs if not name.endswith(IDLE)]
    assert len(compared) == len(theirs) - 2 * len(IDLE)
    for name in compared:  # not bit for bit: processors round differently, by up to 1.3e-4 in twelve steps
        assert torch.allclose(ours[name], theirs[name], atol=5e-4), name


def test_the_log_of_an_earlier_version_is_continued(tmp_path):
    shutil.copytree(BEGUN / "run", tmp_path / "run")
    before = (tmp_path / "run" / "log.jsonl").read_text()
    train(recipe_file.load(tmp_path / "run" / "recipe.json"), BEGUN, tmp_path / "run", resume=True)
    after = (tmp_path / "run" / "log.jsonl").read_text()
    assert after.startswith(before)
    assert [line.split(",")[0] for line in after.splitlines()[2:]] == ['{"step": 10', '{"step": 12']
    assert checkpoint.load(checkpoint.latest(tmp_path / "run"))["step"] == 12
