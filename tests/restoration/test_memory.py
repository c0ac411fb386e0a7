"""Memory grows with the picture, never with the network: a 12-megapixel photograph enlarges ×2 within 4 GiB."""

import subprocess
import sys

import pytest

from msrn.restoration.schedule import _BESIDES_PER_PIXEL
from msrn.system.machine import has_bf16

MEASURE = """
import sys
import numpy as np
from msrn.engine import Restorer
from msrn import files
from msrn.picture import Picture
sys.path.insert(0, {root!r})
from tests.helpers.networks import identity_weights, peak

restorer = Restorer(identity_weights("sr"), device="cpu", tile=256)
restorer(Picture(np.zeros((3, 64, 64), np.float32)))  # everything is imported and started
before = peak()
files.write(Picture(np.zeros((3, 1500, 2000), np.float32)), {path!r} + "/in.bmp")
files.write(restorer(files.read({path!r} + "/in.bmp"), scale=2), {path!r} + "/out.bmp")
print((peak() - before) / (4 * 1500 * 2000))
"""


def test_bytes_per_pixel_of_the_result(tmp_path, request):
    code = MEASURE.format(root=str(request.config.rootpath), path=str(tmp_path))
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # 4 GiB less 1 GiB for Python, torch and one tile's pass, over the 48 million pixels of the result.
    assert float(process.stdout) < 3 * 2**30 / 48e6


BEYOND = """
import sys
import numpy as np
from msrn.engine import Restorer
from msrn.picture import Picture
sys.path.insert(0, {root!r})
from tests.helpers.networks import identity_weights, peak

restorer = Restorer(identity_weights({task!r}), device="cpu", backend="eager", precision="fp32", tile=128)
restorer(Picture(np.zeros((3, 160, 160), np.float32)))  # everything is imported and started
picture = Picture(np.full((3, {side}, {side}), 0.5, np.float32))
before = peak()
result = restorer(picture)
print(peak() - before - result.pixels.nbytes)
"""


@pytest.mark.parametrize(("task", "side"), [("sr", 2048), ("denoise", 4096), ("jpeg", 4096)])
def test_bytes_per_pixel_beyond_the_picture_and_its_result(task, side, request):
    code = BEYOND.format(root=str(request.config.rootpath), task=task, side=side)
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # The automatic tile counts on it. 32 MiB are for a small tile's pass and for what the allocator does not give back,
    # which differs from run to run; a second plane would be 64 MiB.
    assert int(process.stdout) < _BESIDES_PER_PIXEL * 4096**2 + 2**25


PASS = """
import sys
import numpy as np
from msrn.backends import Choice
from msrn.engine import Restorer
from msrn.footprint import pass_bytes
sys.path.insert(0, {root!r})
from tests.helpers.networks import peak

restorer = Restorer({name!r}, device="cpu", backend={backend!r}, precision={precision!r}, tile=768)
restorer.restore_planes(np.full((1, 1, 32, 32), 0.5, np.float32))  # everything is imported and started
before = peak()
restorer.restore_planes(np.full((1, 1, 768, 768), 0.5, np.float32))
print((peak() - before) / pass_bytes(restorer.config, 768, 768, 768, Choice({backend!r}, {precision!r})))
"""


@pytest.mark.parametrize("name", ["msrn-m4r1s2-sr", "msrn-m6r1s2-sr"])
@pytest.mark.parametrize(
    ("backend", "precision"),
    [
        ("openvino", "int8"),
        pytest.param("openvino", "int8-bf16", marks=pytest.mark.skipif(not has_bf16(), reason="bf16 is emulated")),
        ("openvino", "fp32"),
        pytest.param("openvino", "bf16", marks=pytest.mark.skipif(not has_bf16(), reason="bf16 is emulated")),
        ("eager", "fp32"),
    ],
)
def test_a_pass_takes_what_is_estimated(name, backend, precision, request):
    pytest.importorskip(backend if backend == "openvino" else "torch")
    code = PASS.format(root=str(request.config.rootpath), name=name, backend=backend, precision=precision)
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Of what the process grew by, a quarter may have been there before, freed.
    assert 0.6 < float(process.stdout) < 1.1
