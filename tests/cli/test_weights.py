"""`msrn weights`: the list and the card."""

import json

import pytest
from tests.helpers.command import assert_refused, msrn

from msrn.network.catalogue import CATALOGUE

pytestmark = pytest.mark.timeout(120)


def test_weights_lists_and_describes():
    listing = msrn("weights").stdout
    for entry in CATALOGUE:
        assert entry.name in listing
    for kind in ("sr", "denoise", "denoise-color", "jpeg", "jpeg-color"):
        assert f"  {kind}  " in listing
    assert "s/MP here" in listing
    assert "m6 is better" in listing
    for row in json.loads(msrn("weights", "--json").stdout):
        assert 0 < row["seconds_per_megapixel"] < 1000
        assert row["timed_here"] in (True, False)
    assert_refused(msrn("weights", "sr", "--measure"), 2, "leave 'sr' out")
    described = json.loads(msrn("weights", "sr", "--json").stdout)
    assert described["task"] == "sr"
    assert described["recipe"]["task"] == "sr"
