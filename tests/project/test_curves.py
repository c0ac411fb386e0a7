"""The documentation's curves have labels that can be read."""

import pytest
from scripts.documentation.update_curves import spread


@pytest.mark.parametrize(
    ("wanted", "places"),
    [([], []), ([5], [5]), ([1, 2, 3], [1, 11, 21]), ([95, 99], [90, 100]), ([10, 50, 90], [10, 50, 90])],
)
def test_labels_are_moved_apart_and_stay_below_the_top(wanted, places):
    assert spread(wanted, 10, 100) == places
