"""The page with pictures before and after."""

import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from tests.helpers.command import msrn

from msrn import images
from msrn.images.picture import Picture


def test_the_page_shows_the_files_where_they_are(tmp_path):
    rng = np.random.default_rng(0)
    album = tmp_path / "my album & <more>"
    for name in ("a b#1.png", "c.png"):
        images.write(Picture(rng.random((3, 40, 50), np.float32)), album / name)
    (album / "broken.png").write_bytes(b"no image")
    page = tmp_path / "pages" / "compare.html"
    process = msrn("dejpeg", album, "-o", tmp_path / "out", "--compare", page)
    assert process.returncode == 3, process.stderr
    text = page.read_text()
    assert "<more>" not in text
    shown = [(page.parent / unquote(address)).resolve() for address in re.findall(r'<img[^>]* src="([^"]+)"', text)]
    assert shown == [
        Path(folder, name).resolve() for name in ("a b#1.png", "c.png") for folder in (tmp_path / "out", album)
    ]
    assert all(file.is_file() for file in shown)
    assert text.count('type="range"') == 2
    msrn("dejpeg", album, "-o", tmp_path / "out", "--compare", page)
    assert page.read_text().count('type="range"') == 2  # done before
