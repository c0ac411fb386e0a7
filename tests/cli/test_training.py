"""`msrn train` and `publish`: the whole way from images to a restored picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.command import assert_refused, msrn

from msrn.cli.training import TrainingSpeedOptions

pytestmark = pytest.mark.timeout(120)


def test_train_publish_and_use(tmp_path):
    """The whole way: images, a recipe, training, resuming, a weights file, a restored picture."""
    data = tmp_path / "data" / "images"
    data.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(3):
        small = rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)
        Image.fromarray(small).resize((96, 96), Image.Resampling.BICUBIC).save(data / f"{index}.png")
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(
        """
        name = "tiny"
        task = "sr"
        network = { memory_blocks = 1, recursions = 1, channels = 4 }
        data = { folders = ["images"], patch = 16, levels = [2], validation_every = 3, validation_levels = [2] }
        optimiser = { batch = 2, steps = 6, decay_steps = 6, warmup_steps = 1 }
        """
    )
    run = tmp_path / "run"
    common = ("train", recipe, "--data-root", tmp_path / "data", "--threads", "1")
    process = msrn(*common, "-o", run)
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == str(run)
    assert "held-out 2:" in process.stderr
    assert_refused(msrn(*common, "-o", run), 2, "--resume")
    assert_refused(msrn(*common, "--resume", run, "--set", "optimiser.batch=3"), 2, "optimiser.batch")
    assert msrn(*common, "--resume", run).returncode == 0
    process = msrn("publish", run, "-o", tmp_path / "published", "--data", data, "--level", "2")
    assert process.returncode == 0, process.stderr
    published = Path(process.stdout.strip())
    process = msrn("publish", published, "-o", tmp_path / "halved", "--half")
    assert "--data-root" in process.stderr
    halved = Path(process.stdout.strip())
    assert halved.stat().st_size < published.stat().st_size
    assert "float16" in msrn("weights", halved).stdout
    out = tmp_path / "big.png"
    assert msrn("upscale", data / "0.png", "-o", out, "-w", published, "-s", "2").returncode == 0
    with Image.open(out) as image:
        assert image.size == (192, 192)


def test_a_stopped_run_says_with_which_options_to_go_on():
    assert TrainingSpeedOptions().words() == []
    given = TrainingSpeedOptions(
        device="cuda", precision="bf16", compile=True, deterministic=True, threads=2, tensorboard=True
    )
    words = "--device cuda --precision bf16 --compile --deterministic --threads 2 --tensorboard"
    assert given.words() == words.split()
