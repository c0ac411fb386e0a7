"""Published tables are looked up by the field's names."""

from msrn.evaluation.literature import COSTS, PUBLISHED, SOURCES, find, rows
from msrn.network.config import MSRNConfig


def test_the_papers_rows_are_found():
    row = find("sr", "Set5", 3)
    assert row is not None
    assert (row.psnr, row.ssim, row.status) == (34.09, 0.9248, "2")
    assert find("sr", "set5", 3, "VDSR") != row
    assert find("sr", "set5", 5) is None


def test_no_row_stands_twice_and_the_paper_beats_its_peers_in_psnr():
    keys = [(row.task, row.data, row.level, row.method) for row in PUBLISHED]
    assert len(keys) == len(set(keys))
    for row in PUBLISHED:
        paper = find(row.task, row.data, row.level)
        assert paper is not None
        assert paper.psnr >= row.psnr or row.method in ("MemNet M6R8", "MemNet M10R10")  # the deeper ones


def test_every_method_has_its_paper_and_costs_are_those_of_the_networks():
    assert {row.method.partition(" ")[0] for row in PUBLISHED} == set(SOURCES)
    assert set(COSTS) < {row.method for row in PUBLISHED}
    for name, shape in (("", (6, 6)), (" M4R6", (4, 6)), (" M6R8", (6, 8)), (" M10R10", (10, 10))):
        assert COSTS[f"MemNet{name}"] == MSRNConfig(*shape).multiply_adds_per_pixel
    assert all(row.source for row in PUBLISHED)
    # Without recursion the multiply-adds per pixel are the weights, which the papers print: 665 K and 106 K.
    assert round(COSTS["VDSR"] / 1e3) == 665
    assert COSTS["ARCNN"] == 106_448


def test_data_sets_are_found_in_every_spelling():
    assert rows("sr", "B100", 2) == rows("sr", "BSD100", 2) == rows("sr", "bsd-100", 2) != []
    assert [row.method for row in rows("jpeg", "LIVE1", 10)] == ["ARCNN", "TNRD", "DnCNN3", "MemNet"]
