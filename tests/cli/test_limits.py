"""The commands' limits are those of the package."""

from msrn.batch import Limits
from msrn.cli.restore import Common


def test_the_commands_limits_are_those_of_a_batch():
    assert Limits(Common.max_pixels, Common.max_bytes, Common.max_seconds, Common.max_frames) == Limits()
