"""`msrn weights`: the list and the card."""

import json

import pytest
from tests.helpers.command import msrn

from msrn.network.catalogue import CATALOGUE

pytestmark = pytest.mark.timeout(120)


def test_weights_lists_and_describes():
    listing = msrn("weights").stdout
    for entry in CATALOGUE:
        assert entry.name in listing
    described = json.loads(msrn("weights", "sr", "--json").stdout)
    assert described["task"] == "sr"
    assert described["recipe"]["task"] == "sr"
