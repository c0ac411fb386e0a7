"""Figures of the documentation show every pixel as it is, with words below."""

import numpy as np
from PIL import Image
from scripts.documentation.panels import GAP, LINE, Panel, draw


def test_panels_stand_beside_and_below_each_other_at_their_own_size(tmp_path):
    colours = ("#c00000", "#00c000", "#0000c0")
    red, green, blue = (Panel(Image.new("RGB", (80, 40), colour), ("words",)) for colour in colours)
    draw([[red, green], [blue]], tmp_path / "sheet.webp")
    with Image.open(tmp_path / "sheet.webp") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape == (2 * (40 + LINE + GAP), 80 + GAP + 80, 3)
    corners = ((0, 0), (0, 80 + GAP), (40 + LINE + GAP, 0))
    for channel, (top, left) in enumerate(corners):
        inside = pixels[top + 2 : top + 38, left + 2 : left + 78]
        assert (inside.argmax(axis=2) == channel).all()
        below = pixels[top + 44 : top + 40 + LINE, left : left + 80]
        assert below.min() < 100 < 250 < below.max()  # black on white
