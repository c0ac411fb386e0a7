"""``kill -9`` at any moment costs a run the step at hand, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

KILLS = int(os.environ.get("MSRN_KILLS", "6"))
"""100 takes three minutes: ``MSRN_KILLS=100 pytest tests/training/test_killed.py``."""


@pytest.mark.timeout(300 + 10 * KILLS)
def test_a_run_killed_again_and_again_ends_as_if_it_had_not_been(tmp_path):
    folder = tmp_path / "data" / "images"
    folder.mkdir(parents=True)
    for index in range(4):
        small = np.random.default_rng(index).integers(0, 256, (12, 12), dtype=np.uint8)
        Image.fromarray(small).resize((72, 72), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.killed_training", str(folder.parent), str(tmp_path), str(KILLS), "2026"],
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout) == {
        "killed": KILLS,
        "unreadable": 0,
        "failed": 0,
        "same_weights": True,
        "same_log": True,
        "left_over": [],
    }
