"""What the base install is worth: every weights file restores where torch is not installed.

The environment holds this package, installed from its wheel, and links to what the base install requires, and nothing
else. That is what an installer would put there, without a network and in a few seconds.
"""

import json
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers import golden
from tests.helpers.plain_environment import install_wheel, link, required, run

from msrn import Picture
from msrn.network.catalogue import CATALOGUE
from msrn.restoration.restorer import Restorer
from msrn.system.machine import instructions

ROOT = Path(__file__).parents[2]
NEVER = {"torch", "scipy", "pydantic", "matplotlib", "fsspec", "tensorboard", "onnx", "onnxruntime"}
NEVER |= {"obstore", "pyarrow", "ray", "rasterio"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A folder with the wheel and what it requires, to run Python with and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    names = required("msrn-pytorch", set()) - {"msrn-pytorch"}
    assert not names & NEVER
    return install_wheel(link(folder, names), tmp_path_factory.mktemp("wheel"))


def test_the_wheel_is_what_is_tested(environment):
    (installed,) = (each for each in distributions(path=[str(environment)]) if each.name == "msrn-pytorch")
    (command,) = installed.entry_points
    assert (command.name, command.value) == ("msrn", "msrn.__main__:run")
    assert not (environment / "msrn").is_symlink()
    done = run(environment, "import msrn; print(msrn.__file__)")
    assert Path(done.stdout.strip()).is_relative_to(environment), done.stderr


RESTORE = """
import json, sys
import numpy as np
from msrn import Picture, Restorer
from msrn.network.catalogue import CATALOGUE
from msrn.restoration.backends import installed
folder, precisions = sys.argv[1], sys.argv[2].split()
for row in CATALOGUE:
    pixels = np.load(f"{folder}/{row.name}.npy")
    for precision in precisions:
        result = Restorer(row.name, device="cpu", precision=precision)(Picture(pixels)).pixels
        np.save(f"{folder}/{row.name}-{precision}.npy", result)
print(json.dumps([installed("eager"), sorted(sys.modules)]))
"""
PRECISIONS = ("fp32", "bf16", "int8", "int8-bf16")


@pytest.fixture(scope="module")
def results(environment, tmp_path_factory):
    """What the base install makes of each file's picture, by name and precision; and the modules it imported."""
    folder = tmp_path_factory.mktemp("results")
    for row in CATALOGUE:
        np.save(folder / f"{row.name}.npy", golden.damaged(row))
    done = run(environment, RESTORE, str(folder), " ".join(PRECISIONS))
    assert done.returncode == 0, done.stderr
    has_torch, modules = json.loads(done.stdout)
    assert not has_torch
    assert not NEVER & set(modules)
    return {(row.name, each): np.load(folder / f"{row.name}-{each}.npy") for row in CATALOGUE for each in PRECISIONS}


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
def test_every_file_restores_without_torch_in_every_precision(results, row):
    """In fp32 what torch computes, to 1e-5; in the others near it (8 bit: 1.04 levels RMS at most)."""
    exact = Restorer(row.name, device="cpu", backend="eager", precision="fp32")
    expected = exact(Picture(golden.damaged(row))).pixels
    np.testing.assert_allclose(results[row.name, "fp32"], expected, rtol=0, atol=1e-5)
    for each in PRECISIONS:
        assert np.sqrt(np.mean((results[row.name, each] - expected) ** 2)) < 1.5 / 255, each


@pytest.mark.skipif(instructions().isdisjoint({"avx512_vnni", "avx_vnni"}), reason="8-bit sums saturate without VNNI")
@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
def test_8_bit_results_are_those_recorded_to_one_grey_level(results, row):
    np.testing.assert_allclose(
        results[row.name, "int8"].clip(0, 1), golden.recorded()[f"{row.name}-int8"], rtol=0, atol=1 / 255
    )


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
        (["inspect", "sr"], "torch"),
        (["inspect", "sr", "-o", "page.html"], "train"),
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
