"""What the embedded networks make of a picture does not change unnoticed."""

from importlib.util import find_spec

import numpy as np
import pytest
from tests.helpers import golden

from msrn import Picture, Restorer
from msrn.network.catalogue import CATALOGUE

RECORDED = golden.recorded()


def test_every_embedded_weights_file_has_a_recorded_result():
    assert sorted(RECORDED) == sorted(f"{entry.name}{end}" for entry in CATALOGUE for end in ("", "-int8"))


@pytest.mark.parametrize("backend", ["eager", "openvino"])
@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_results_are_those_recorded(entry, backend):
    if backend == "openvino" and not find_spec("openvino"):
        pytest.skip("OpenVINO is not installed")
    picture = Picture(golden.damaged(entry))
    result = Restorer(entry.name, device="cpu", backend=backend, precision="fp32")(picture)
    np.testing.assert_allclose(result.pixels.clip(0, 1), RECORDED[entry.name], rtol=0, atol=1e-4)
