"""Fixtures of the tests of batches."""

import pytest
from tests.helpers.networks import identity_weights

from msrn.restoration.restorer import Restorer


@pytest.fixture(scope="session")
def denoiser():
    """A restorer that returns what it gets."""
    return Restorer(identity_weights("denoise"), device="cpu", backend="eager", precision="fp32")
