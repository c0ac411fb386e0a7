"""Published tables are looked up by the field's names."""

from msrn.published import PUBLISHED, find


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
        assert paper.psnr >= row.psnr
