"""What the base install is worth: every weights file restores where torch is not installed.

The environment is built from this one's packages: a folder of links to what the base install requires, and nothing
else. That is what an installer would put there, without a network and in a second.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.plain_environment import link, required, run

from msrn.network.catalogue import CATALOGUE
from msrn.restoration.restorer import Restorer

ROOT = Path(__file__).parents[2]
NEVER = {"torch", "scipy", "pydantic", "matplotlib", "fsspec", "tensorboard", "onnx", "onnxruntime"}
NEVER |= {"obstore", "pyarrow", "ray"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A folder with the base install's packages, to run Python with and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    names = required("msrn-pytorch", set()) - {"msrn-pytorch"}
    assert not names & NEVER
    return link(folder, names)


RESTORE = """
import json, sys
import numpy as np
from msrn import Picture, Restorer
from msrn.network.catalogue import CATALOGUE
from msrn.restoration.backends import installed
folder, precisions = sys.argv[1], sys.argv[2].split()
pixels = np.load(folder + "/pixels.npy")
for row in CATALOGUE:
    for precision in precisions:
        result = Restorer(row.name, device="cpu", precision=precision, tile=40)(Picture(pixels)).pixels
        np.save(f"{folder}/{row.name}-{precision}.npy", result)
print(json.dumps([installed("eager"), sorted(sys.modules)]))
"""


def test_every_file_restores_without_torch_in_every_precision(environment, tmp_path):
    """In fp32 what torch computes, to 1e-5; in 8 bit near it, by what rounding costs."""
    pixels = np.asarray(Image.open(ROOT / "demo" / "photographs" / "coffee.png").convert("RGB"), np.float32)
    pixels = np.ascontiguousarray(pixels[100:148, 200:260].transpose(2, 0, 1)) / np.float32(255)
    np.save(tmp_path / "pixels.npy", pixels)
    precisions = ("fp32", "bf16", "int8", "int8-bf16")
    done = run(environment, RESTORE, str(tmp_path), " ".join(precisions))
    assert done.returncode == 0, done.stderr
    has_torch, modules = json.loads(done.stdout)
    assert not has_torch
    assert not NEVER & set(modules)
    from msrn.images.picture import Picture

    for row in CATALOGUE:
        exact = Restorer(row.name, device="cpu", backend="eager", precision="fp32")(Picture(pixels)).pixels
        results = {each: np.load(tmp_path / f"{row.name}-{each}.npy") for each in precisions}
        np.testing.assert_allclose(results["fp32"], exact, atol=1e-5)
        for each in precisions:
            assert np.sqrt(np.mean((results[each] - exact) ** 2)) < 1 / 255, (row.name, each)


COMMAND = "import sys; sys.argv = ['msrn', *sys.argv[1:]]; from msrn.cli import main; main()"


def test_the_commands_work_without_torch(environment, tmp_path):
    photo = Image.open(ROOT / "demo" / "photographs" / "coffee.png").convert("RGB").crop((200, 100, 260, 148))
    photo.save(tmp_path / "in.jpg", quality=20)
    for words in (
        ["dejpeg", "in.jpg", "-o", "a.png"],
        ["upscale", "in.jpg", "-o", "b.png"],
        ["restore", "in.jpg", "-o", "c.png"],
    ):
        done = run(environment, COMMAND, *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "b.png") as enlarged:
        assert enlarged.size == (120, 96)
    assert run(environment, COMMAND, "weights", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("words", "package"),
    [
        (["train", "sr_s2"], "train"),
        (["denoise", "in.png", "-o", "out.png", "--backend", "eager"], "torch"),
        (["denoise", "in.png", "-o", "out.png", "--device", "cuda"], "torch"),
        (["export", "sr", "-o", "sr.onnx"], "onnx"),
        (["manifest", ".", "-o", "m.parquet"], "cluster"),
        (["restore", "--manifest", "in.png", "-o", "out"], "cluster"),
        (["restore", "--manifest", "s3://bucket/m.parquet", "-o", "out", "--cluster", "auto"], "cluster"),
    ],
)
def test_what_is_missing_is_named_with_the_command_that_installs_it(environment, tmp_path, words, package):
    Image.new("RGB", (8, 8)).save(tmp_path / "in.png")
    done = run(environment, COMMAND, *words, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("msrn: error: ")
    assert "python -m pip install" in line
    assert f"[{package}]" in line
