"""The gallery keeps crops of the worst images, where each is worst."""

import numpy as np

from msrn.evaluation.gallery import Gallery


def test_the_crop_shows_the_largest_error():
    gallery = Gallery()
    clean = np.zeros((1, 400, 500))
    restored = clean.copy()
    restored[0, 390:, 480:] = 1
    gallery.add("x", clean, restored, clean)
    assert gallery.crops[0].restored != gallery.crops[0].clean


def test_the_gallery_keeps_the_worst_images():
    gallery = Gallery()
    clean = np.zeros((3, 20, 20))
    for index in (3, 8, 1, 5, 2, 7, 4, 6):
        gallery.add(str(index), clean, clean + index / 10, clean)
    assert [crop.name for crop in gallery.crops] == ["8", "7", "6", "5", "4", "3"]
