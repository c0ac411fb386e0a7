"""Training: one step, and runs that resume bit for bit."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.helpers.networks import random_network, random_weights
from tests.helpers.recipes import assert_same, one_step, recipe, tensors_of, train

from msrn.errors import MSRNError, OutputError, UsageError, WeightsError
from msrn.images.degradations import GaussianNoise
from msrn.network.config import MSRNConfig
from msrn.system.locks import locked
from msrn.training import checkpoint
from msrn.training.held_out import HeldOut, restorer_of
from msrn.training.loader import read_folders, save_pack
from msrn.training.publish import publish
from msrn.training.recipe import OptimiserRecipe
from msrn.training.setting import Setting
from msrn.training.state import read_run, start_run
from msrn.training.trainer import train_step

# --- schedule and step ---------------------------------------------------------------------------------------


def test_the_rate_warms_up_holds_and_falls_to_zero():
    options = OptimiserRecipe(rate=1, steps=100, warmup_steps=9, decay_steps=50)
    rates = [options.rate_at(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:51] == [1] * 42
    assert rates[75] == pytest.approx(0.5)
    assert rates[100] == 0
    assert rates[50:] == sorted(rates[50:], reverse=True)
    longer = options.model_copy(update={"steps": 300})
    assert [longer.rate_at(step) for step in range(50)] == rates[:50]


@pytest.fixture
def pair():
    rng = torch.Generator().manual_seed(0)
    clean = torch.rand(2, 1, 12, 12, generator=rng)
    return clean, clean + 0.2 * torch.randn(clean.shape, generator=rng)


@pytest.mark.parametrize("change", [{"optimiser__rate": 3e-3}, {"optimiser__kind": "sgd", "optimiser__rate": 0.1}])
def test_steps_lower_the_loss_on_one_batch(change, pair):
    plan = recipe(growth=None, network__channels=8, optimiser__freeze_batchnorm_step=None, **change)
    run = start_run(plan, None, Setting())
    losses = [one_step(run, *pair)[0] for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]


def test_a_batch_in_parts_gives_the_same_gradient(pair):
    """With frozen BatchNorms; otherwise each part has statistics of its own."""
    plan = recipe(growth=None, optimiser__freeze_batchnorm_step=0, optimiser__kind="sgd")
    halves = [tuple(part[index : index + 1] for part in reversed(pair)) for index in range(2)]
    whole, parts = (start_run(plan, None, Setting()) for _ in range(2))
    loss, norm, _ = one_step(whole, *pair)
    other, other_norm, _ = train_step(parts, halves)
    assert other == pytest.approx(loss, rel=1e-6)
    assert other_norm == pytest.approx(norm, rel=1e-5)
    for a, b in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-7)


def test_a_step_that_is_not_finite_changes_nothing_and_too_many_end_the_run(pair):
    plan = recipe(growth=None, optimiser__skip_limit=2, optimiser__warmup_steps=0)
    run = start_run(plan, None, Setting())
    one_step(run, *pair)
    before = copy.deepcopy(tensors_of(run))
    bad = torch.full((2, 1, 12, 12), float("nan"))
    one_step(run, pair[0], bad)
    for counter in (name for name in before["network"] if name.endswith("num_batches_tracked")):  # nothing reads it
        before["network"][counter] += 1
    assert_same(tensors_of(run), before)
    assert (run.step, run.skipped, run.skipped_in_a_row) == (2, 1, 1)
    one_step(run, *pair)
    assert (run.skipped, run.skipped_in_a_row) == (1, 0)
    one_step(run, pair[0], bad)
    one_step(run, pair[0], bad)
    with pytest.raises(MSRNError, match=r"3 steps in a row .* lower optimiser\.rate"):
        one_step(run, pair[0], bad)


@pytest.mark.parametrize(("rate", "limit"), [(0.1, 0.1), (0.01, 1.0)])
def test_adjustable_clipping_limits_the_step_not_the_gradient(rate, limit, pair):
    """Paper, section 4, with θ = 0.01: the gradient's norm is at most θ / rate, so a plain SGD step at most θ."""
    plan = recipe(
        growth=None,
        loss={"kind": "l2", "reduction": "patch"},
        optimiser__kind="sgd",
        optimiser__momentum=0,
        optimiser__weight_decay=0,
        optimiser__clip="adjustable",
        optimiser__clip_norm=0.01,
        optimiser__rate=rate,
    )
    assert plan.optimiser.clip_at(rate) == pytest.approx(limit)
    run = start_run(plan, None, Setting())
    before = [parameter.clone() for parameter in run.network.parameters()]
    _, norm, _ = one_step(run, *pair)
    assert norm > limit  # so it was clipped
    step = torch.cat([(a - b).flatten() for a, b in zip(before, run.network.parameters(), strict=True)])
    assert step.norm().item() == pytest.approx(0.01, rel=1e-3)


# --- runs ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(data_folder, tmp_path_factory):
    """An uninterrupted run: growth after step 4, BatchNorms frozen from step 7, 12 steps."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return train(recipe(), data_folder, folder), folder


@pytest.mark.parametrize("stops", [(1, 4), (5, 7, 8), (11,)])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(stops, whole, data_folder, tmp_path):
    class Stop(Exception):  # noqa: N818
        pass

    for number, stop in enumerate([*stops, None]):

        def report(now, stop=stop):
            if now.step == stop:
                raise Stop

        plan = recipe(checkpoint_minutes=1e-9)  # a checkpoint after every step
        try:
            run = train(plan, data_folder, tmp_path, resume=number > 0, report=report)
        except Stop:
            continue
    assert run.step == 12
    assert_same(tensors_of(run), tensors_of(whole[0]))


def test_a_run_leaves_a_log_its_recipe_and_a_few_checkpoints(whole):
    run, folder = whole
    assert run.network.config == MSRNConfig(2, 2, 3)
    assert len(list(folder.glob("checkpoint-*.ckpt"))) <= recipe().keep
    assert (folder / "recipe.json").is_file()
    assert '"scores": {"20"' in (folder / "log.jsonl").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_leaves_a_checkpoint(number, whole, data_folder, tmp_path):
    def report(now):
        if now.step == 3:
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        train(recipe(), data_folder, tmp_path, report=report)
    assert checkpoint.latest(tmp_path) == checkpoint.path_of(tmp_path, 4)
    run = train(recipe(), data_folder, tmp_path, resume=True)
    assert_same(tensors_of(run), tensors_of(whole[0]))


def test_training_does_not_touch_the_global_generators(data_folder, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    plan = recipe(growth=None, optimiser__steps=1, optimiser__decay_steps=1)
    train(plan, data_folder, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    other = train(plan, data_folder, tmp_path / "b")
    again = read_run(checkpoint.latest(tmp_path))
    assert_same(other.network.state_dict(), again.network.state_dict())


def test_prolonging_before_the_decay_equals_planning_longer(whole, data_folder, tmp_path):
    shorter = recipe(optimiser__steps=9, checkpoint_minutes=1e-9)
    train(shorter, data_folder, tmp_path, minutes=1e-9)
    run = train(recipe(), data_folder, tmp_path, resume=True)
    assert_same(tensors_of(run), tensors_of(whole[0]))


def test_prolonging_during_the_decay_is_refused(whole, data_folder, tmp_path):
    (tmp_path / "checkpoint-00000012.ckpt").write_bytes(checkpoint.latest(whole[1]).read_bytes())
    with pytest.raises(UsageError, match=r"optimiser\.steps: 12 -> 20"):
        train(recipe(optimiser__steps=20), data_folder, tmp_path, resume=True)


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"optimiser__batch": 3}, {"data__patch": 16}, {"loss": {"kind": "l2"}}]
)
def test_resuming_with_another_recipe_names_the_field(whole, data_folder, change):
    field = next(iter(change)).replace("__", ".")
    with pytest.raises(UsageError, match=field):
        train(recipe(**change), data_folder, whole[1], resume=True)


def test_starting_over_a_run_or_resuming_nothing_is_refused(whole, data_folder, tmp_path):
    with pytest.raises(UsageError, match="--resume"):
        train(recipe(), data_folder, whole[1])
    with pytest.raises(UsageError, match="nothing to resume"):
        train(recipe(), data_folder, tmp_path, resume=True)


def test_fine_tuning_starts_from_given_weights_and_checks_their_shape(data_folder, tmp_path):
    initial = random_weights("denoise", MSRNConfig(2, 1, 3))
    plan = recipe(growth=None, network__zero_residual=True, optimiser__steps=1, optimiser__decay_steps=1)
    grown = train(plan, data_folder, tmp_path / "a", initial=initial)
    assert grown.network.config.recursions == 2
    assert publish(tmp_path / "a", tmp_path)[1].training["began_with"] == "random, SHA-256 "
    colored = plan.model_copy(update={"network": plan.network.model_copy(update={"in_channels": 3})})
    assert train(colored, data_folder, tmp_path / "c", initial=initial).network.config.in_channels == 3
    for change, field in (
        ({"channels": 4}, "channels: 4 -> 3"),
        ({"recursions": 3}, "recursions: 3 -> 2"),
        ({"unshuffle": 2}, "unshuffle: 2 -> 1"),
    ):
        wrong = random_weights("denoise", replace(MSRNConfig(2, 1, 3), **change))
        with pytest.raises(UsageError, match=f"does not fit the recipe's network: network.{field}$"):
            train(plan, data_folder, tmp_path / "b", initial=wrong)


def test_resuming_with_other_images_is_refused_and_another_precision_is_said(data_folder, tmp_path, caplog):
    images = shutil.copytree(data_folder / "images", tmp_path / "images")
    plan = recipe(growth=None)
    train(plan, tmp_path, tmp_path / "run", minutes=1e-9)
    train(plan, tmp_path, tmp_path / "run", minutes=1e-9, resume=True, precision="bf16")
    assert "computed in float32 so far, and in bfloat16" in caplog.text
    next(images.iterdir()).unlink()
    with pytest.raises(UsageError, match="images are not those"):
        train(plan, tmp_path, tmp_path / "run", resume=True)


def test_divergence_keeps_what_was_good_and_is_logged(data_folder, tmp_path):
    plan = recipe(growth=None, checkpoint_minutes=1e-9, optimiser__skip_limit=3, optimiser__kind="sgd")
    plan = plan.model_copy(update={"optimiser": plan.optimiser.model_copy(update={"rate": 1e30, "steps": 1000})})
    with pytest.raises(MSRNError, match="4 steps in a row"):
        train(plan, data_folder, tmp_path)
    kept = list(tmp_path.glob("*.ckpt"))
    assert kept
    assert all(checkpoint.load(path)["skipped_in_a_row"] == 0 for path in kept)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert "4 steps in a row" in lines[-1]["stopped"]
    assert [line["skipped"] for line in lines if line.get("skipped")][:3] == [1, 2, 3]


def test_a_picture_that_came_back_as_it_was_counts_as_100_db(data_folder, tmp_path):
    plan = recipe(growth=None, data__validation_levels=[0, 20], network__zero_residual=True)
    train(plan, data_folder, tmp_path)
    first = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0], parse_constant=pytest.fail)
    assert first["scores"]["0"] == 100
    assert publish(tmp_path, tmp_path)[1].training["curve"][0][2]["0"] == 100


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_picture_that_is_not_finite_counts_as_nothing(value):
    network = random_network(MSRNConfig(2, 2, 3))
    torch.nn.init.constant_(network.ensemble, value)
    held_out = HeldOut([np.full((1, 16, 16), 99, np.uint8)], GaussianNoise(), (20,), seed=0)
    assert held_out.score(restorer_of(network)) == {"20": 0.0}


@pytest.mark.parametrize("job", ["", "none", "a job"])
def test_only_attempts_of_one_job_go_on_by_themselves(job, whole, data_folder, tmp_path, monkeypatch):
    """torchrun starts a group again when a process died; without the user's --resume only that goes on."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", job)
    train(recipe(), data_folder, tmp_path, minutes=1e-9)
    if job:
        run = train(recipe(), data_folder, tmp_path)
        assert_same(tensors_of(run), tensors_of(whole[0]))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "another job")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with pytest.raises(UsageError, match="already holds a run"):
        train(recipe(), data_folder, tmp_path)


def test_an_interrupted_command_says_how_to_go_on(data_folder, tmp_path):
    run = tmp_path / "run"
    plan = recipe(growth=None, optimiser__steps=10**6, evaluate_every=1)
    (tmp_path / "recipe.json").write_text(plan.model_dump_json())
    command = [sys.executable, "-m", "msrn.cli", "train", "--data-root", str(data_folder), "--device", "cpu"]
    first = [*command, str(tmp_path / "recipe.json"), "-o", str(run)]
    process = subprocess.Popen(first, stderr=subprocess.PIPE, text=True)
    assert "before training" in process.stderr.readline()
    assert "step 1 " in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130
    assert "interrupted at step" in said
    assert f"msrn train --resume {run} --data-root {data_folder} --device cpu" in said
    again = [*command[:4], "--resume", str(run), "--minutes", "1e-9"]  # recipe and images are the run's own
    done = subprocess.run(again, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(run)
    assert "the minutes are over at step" in done.stderr
    assert f"msrn train --resume {run} --data-root {data_folder}" in done.stderr


def test_missing_folders_are_named_with_what_to_do(data_folder, tmp_path):
    with pytest.raises(UsageError, match=r"no such image folder: .*nowhere.images; --data-root .*data\.folders"):
        train(recipe(), data_folder / "nowhere", tmp_path)


def test_a_resident_set_from_a_pack_trains_and_resumes(data_folder, tmp_path):
    plan = recipe(data__resident=True, data__luminance="full")
    pack = tmp_path / "pack.npz"
    save_pack(read_folders([data_folder / "images"], 1, "full"), pack)
    whole = train(plan, pack, tmp_path / "whole")
    train(plan, pack, tmp_path / "parts", minutes=1e-9)
    run = train(plan, data_folder, tmp_path / "parts", resume=True)
    assert_same(tensors_of(run), tensors_of(whole))
    with pytest.raises(UsageError, match="full range"):
        train(recipe(data__resident=True), pack, tmp_path / "other")


def test_bf16_training_keeps_fp32_parameters_near_the_fp32_run(whole, data_folder, tmp_path):
    run = train(recipe(), data_folder, tmp_path, precision="bf16")
    for half, single in zip(run.network.parameters(), whole[0].network.parameters(), strict=True):
        assert half.dtype == torch.float32
        assert torch.allclose(half, single, atol=0.05)
    assert any(
        not torch.equal(half, single)
        for half, single in zip(run.network.parameters(), whole[0].network.parameters(), strict=True)
    )


def test_fp16_training_scales_its_gradients_and_resumes_bit_for_bit(data_folder, tmp_path):
    plan = recipe(optimiser__steps=6, checkpoint_minutes=1e-9)
    whole = train(plan, data_folder, tmp_path / "whole", precision="fp16")
    assert whole.scaler.get_scale() > 1
    train(plan, data_folder, tmp_path / "parts", precision="fp16", minutes=1e-9)
    run = train(plan, data_folder, tmp_path / "parts", resume=True, precision="fp16")
    assert_same(tensors_of(run), tensors_of(whole))
    assert run.scaler.state_dict() == whole.scaler.state_dict()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # the compiler's own
@pytest.mark.skipif(not shutil.which("c++"), reason="compiles C++")
def test_compiled_runs_resume_bit_for_bit(data_folder, tmp_path):
    plan = recipe(network__memory_blocks=1, network__recursions=1, growth=None, optimiser__freeze_batchnorm_step=None)
    how = {"precision": "bf16", "compiled": True}
    whole = train(plan, data_folder, tmp_path / "whole", **how)
    train(plan, data_folder, tmp_path / "parts", minutes=1e-9, **how)
    torch.compiler.reset()  # as in another process
    run = train(plan, data_folder, tmp_path / "parts", resume=True, **how)
    assert run.step == 12
    assert_same(tensors_of(run), tensors_of(whole))


# --- checkpoints and publishing --------------------------------------------------------------------------------


def test_truncated_and_foreign_checkpoints_are_named(whole, tmp_path):
    data = checkpoint.latest(whole[1]).read_bytes()
    (tmp_path / "short.ckpt").write_bytes(data[: len(data) // 2])
    torch.save({"other": 1}, tmp_path / "foreign.ckpt")
    for name in ("short.ckpt", "foreign.ckpt"):
        with pytest.raises(WeightsError, match=name):
            checkpoint.load(tmp_path / name)


def test_the_best_checkpoint_is_kept_beside_the_newest_and_published(data_folder, tmp_path, monkeypatch):
    """Held-out scores of 20, 30, 50 and 40 dB after 0, 5, 10 and 12 steps: the third is the best."""
    scores = iter([20.0, 30.0, 50.0, 40.0])
    monkeypatch.setattr(HeldOut, "score", lambda *_: {"20": next(scores)})
    train(recipe(keep=1), data_folder, tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["best.ckpt", "checkpoint-00000012.ckpt"]
    best = checkpoint.load(checkpoint.best_of(tmp_path))
    assert (best["step"], best["best"]) == (10, 50.0)
    assert publish(tmp_path, tmp_path)[1].training["steps"] == 10
    assert publish(checkpoint.latest(tmp_path), tmp_path)[1].training["steps"] == 12


def test_a_full_disk_ends_the_run_with_its_last_checkpoint_intact(whole, data_folder, small_disk):
    disk = small_disk(1024)

    def report(now):
        if now.step == 3:
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
            (disk / "other").write_bytes(bytes(free - 4096))

    plan, run = recipe(checkpoint_minutes=1e-9), disk / "run"
    with pytest.raises(OutputError, match=r"checkpoint-00000004.*No space left"):
        train(plan, data_folder, run, report=report)
    assert checkpoint.load(checkpoint.latest(run))["step"] == 3
    assert not list(run.glob(checkpoint.TEMPORARY))
    (disk / "other").unlink()
    resumed = train(plan, data_folder, run, resume=True)
    assert_same(tensors_of(resumed), tensors_of(whole[0]))


def test_a_read_only_folder_is_named_before_training(data_folder, small_disk):
    disk = small_disk(1024)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(OutputError, match=r"cannot write to .*Read-only"):
        train(recipe(), data_folder, disk / "run", report=lambda now: pytest.fail("it trained"))


def test_two_processes_do_not_train_in_one_folder(data_folder, tmp_path):
    with locked(tmp_path, "held"), pytest.raises(UsageError, match="another process is training"):
        train(recipe(), data_folder, tmp_path)


def test_the_log_forgets_steps_that_a_killed_run_had_made_after_its_checkpoint(whole, data_folder, tmp_path):
    train(recipe(), data_folder, tmp_path, minutes=1e-9)
    with (tmp_path / "log.jsonl").open("ab") as log:
        log.write(b'{"step": "x"}\n\xff\n' + b"[" * 9999 + b'\n[3]\n{"step": 5, "loss": 1}\n{"step": 10, "lo')
    train(recipe(), data_folder, tmp_path, resume=True)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 5, 10, 12]
    assert all("scores" in line for line in lines)
