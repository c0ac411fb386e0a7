"""Memory grows with the picture, never with the network: a 12-megapixel photograph enlarges ×2 within 4 GiB."""

import subprocess
import sys

MEASURE = """
import resource, sys
import numpy as np
from msrn.engine import Restorer
from msrn import files
from msrn.picture import Picture
sys.path.insert(0, {root!r})
from tests.tools import identity_weights

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

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
