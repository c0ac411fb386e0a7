"""The literature's tables are looked up by the field's names."""

from msrn.evaluation.literature import COSTS, LITERATURE, SOURCES, score_of, scores_on
from msrn.network.config import MSRNConfig


def test_the_papers_rows_are_found():
    row = score_of("sr", "Set5", 3)
    assert row is not None
    assert (row.psnr, row.ssim, row.status) == (34.09, 0.9248, "2")
    assert score_of("sr", "set5", 3, "VDSR") != row
    assert score_of("sr", "set5", 5) is None


def test_no_row_stands_twice_and_the_paper_beats_its_peers_in_psnr():
    keys = [(row.task, row.data, row.level, row.method) for row in LITERATURE]
    assert len(keys) == len(set(keys))
    for row in LITERATURE:
        paper = score_of(row.task, row.data, row.level)
        assert paper is not None
        assert paper.psnr >= row.psnr or row.method in ("MemNet M6R8", "MemNet M10R10")  # the deeper ones


def test_every_method_has_its_paper_and_costs_are_those_of_the_networks():
    assert {row.method.partition(" ")[0] for row in LITERATURE} == set(SOURCES)
    assert set(COSTS) < {row.method for row in LITERATURE}
    for name, shape in (("", (6, 6)), (" M4R6", (4, 6)), (" M6R8", (6, 8)), (" M10R10", (10, 10))):
        assert COSTS[f"MemNet{name}"] == MSRNConfig(*shape).multiply_adds_per_pixel
    assert all(row.source for row in LITERATURE)
    # Without recursion the multiply-adds per pixel are the weights, which the papers print: 665 K and 106 K.
    assert round(COSTS["VDSR"] / 1e3) == 665
    assert COSTS["ARCNN"] == 106_448


def test_data_sets_are_found_in_every_spelling():
    assert scores_on("sr", "B100", 2) == scores_on("sr", "BSD100", 2) == scores_on("sr", "bsd-100", 2) != []
    assert [row.method for row in scores_on("jpeg", "LIVE1", 10)] == ["ARCNN", "TNRD", "DnCNN3", "MemNet"]
