"""Whatever a file of training holds, reading it ends as documented."""

from tests.helpers.fuzz import fuzz_parsers
from tests.helpers.fuzz_training import training_parsers


def test_our_own_parsers_end_as_they_say(tmp_path):
    targets = training_parsers(tmp_path)
    counts = fuzz_parsers(1, 3, targets)
    assert counts.total() > 50
    assert {name.rpartition(",")[0] for name in counts} == {*targets}
