"""The images of a folder: which files they are, and the planes they become."""

import numpy as np
import pytest
from PIL import Image

from msrn.errors import ImageError, UsageError
from msrn.images.folder import list_images, load_plane


def test_listing_is_sorted_and_refuses_what_is_not_there(tmp_path):
    for name in ("b.png", "d.png", "a.JPG", "c.tif", "e.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "._a.jpg").touch()  # a Macintosh's
    other = tmp_path / "folder.png"
    other.mkdir()
    (other / "0.bmp").touch()
    found = ["a.JPG", "b.png", "c.tif", "d.png", "e.png"]
    assert [path.name for path in list_images([tmp_path, other])] == [*found, "0.bmp"]
    assert [path.name for path in list_images([tmp_path], nested=True)] == [*found, "0.bmp"]
    with pytest.raises(UsageError, match="nowhere"):
        list_images([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no images"):
        list_images([tmp_path / "empty"])


def test_a_file_that_two_folders_hold_is_listed_once(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.png").touch()
    (tmp_path / "two").symlink_to(tmp_path / "one")
    assert list_images([tmp_path / "one", tmp_path / "two"]) == [tmp_path / "one" / "a.png"]


def test_planes_are_gray_as_they_are_and_colour_as_asked(tmp_path):
    gray, color = tmp_path / "gray.png", tmp_path / "color.png"
    Image.fromarray(np.full((5, 6), 200, np.uint8)).save(gray)
    Image.new("RGB", (6, 5), (255, 255, 255)).save(color)
    assert load_plane(gray, 1, "studio")[0, 0, 0] == 200
    assert load_plane(gray, 3, "studio").shape == (3, 5, 6)
    assert load_plane(color, 1, "studio")[0, 0, 0] == 235
    assert load_plane(color, 1, "full")[0, 0, 0] == 255
    with pytest.raises(ImageError, match=r"missing\.png"):
        load_plane(tmp_path / "missing.png", 1, "full")
