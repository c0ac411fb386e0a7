"""Kill a training run again and again, as a program of its own: it forks before anything has computed or made threads.

``python -m tests.helpers.killed_training DATA RUNS KILLS SEED`` trains once undisturbed, once killed ``KILLS`` times
at random moments of starting, stepping and saving, and prints what came of it as JSON.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
import torch._dynamo  # which the first optimiser of a process would import: two seconds for every one that is forked

from msrn.training import checkpoint
from msrn.training.recipe_file import validate
from msrn.training.setting import Computing
from msrn.training.trainer import fit


def recipe(steps):
    return validate(
        {
            "name": "killed",
            "task": "denoise",
            "network": {"memory_blocks": 2, "recursions": 2, "channels": 3},
            "growth": {"start": 1, "step": steps // 3},
            "data": {"folders": ["images"], "patch": 12, "validation_every": 4, "validation_levels": [20]},
            "optimiser": {"batch": 2, "steps": steps, "decay_steps": steps // 2, "freeze_batchnorm_step": steps // 2},
            "checkpoint_minutes": 1e-9,  # after every step
            "evaluate_every": 5,
        },
        "killed",
    )


def live(data, folder, steps, say):
    """One life: read every checkpoint, resume the newest, train on. Exits with 3 if one cannot be read."""
    torch.set_num_threads(1)
    try:
        for path in folder.glob("*.ckpt"):
            checkpoint.load(path)
    except Exception as error:
        sys.stderr.write(f"{error}\n")
        os._exit(3)
    resume = checkpoint.latest(folder) is not None
    fit(recipe(steps), data, folder, Computing("cpu", "fp32"), resume=resume, report=lambda now: say())
    os._exit(0)


def one_life(data, folder, steps, kill_after=None, delay=0.0):
    """Fork, wait for some steps and a moment more, kill; returns how the child ended."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        try:
            live(data, folder, steps, lambda: os.write(write, b"."))
        finally:
            os._exit(4)
    os.close(write)
    if kill_after is None:
        while os.read(read, 4096):
            pass
    else:
        seen = 0
        while seen < kill_after and (got := os.read(read, 1)):
            seen += len(got)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    os.close(read)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(data, runs, kills, seed):
    moments, steps, ends = random.Random(seed), 4 * kills + 20, []
    for _ in range(kills):
        after = moments.choice((0, 1, 1, 2, 3))
        delay = moments.uniform(0, 0.02 if after else 0.3)
        ends.append(one_life(data, runs / "killed", steps, after, delay))
    ends.append(one_life(data, runs / "killed", steps))
    ends.append(one_life(data, runs / "whole", steps))
    final = [checkpoint.load(checkpoint.path_of(runs / name, steps)) for name in ("killed", "whole")]
    logs = [(runs / name / "log.jsonl").read_text().splitlines() for name in ("killed", "whole")]
    steps_logged = [[json.loads(line)["step"] for line in lines] for lines in logs]
    same = all(
        torch.equal(a, b)
        for part in ("network", "average")
        for a, b in zip(final[0][part].values(), final[1][part].values(), strict=True)
    )
    sys.stdout.write(
        json.dumps(
            {
                "killed": ends.count(-signal.SIGKILL),
                "unreadable": ends.count(3),
                "failed": sum(end not in (0, 3, -signal.SIGKILL) for end in ends),
                "same_weights": same,
                "same_log": steps_logged[0] == steps_logged[1],
                "left_over": [path.name for path in (runs / "killed").glob(checkpoint.TEMPORARY)],
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
