"""Weights for colours: which pictures they restore, how they are published and scored."""

import numpy as np
import pytest
from tests.helpers.networks import random_weights

from msrn import images
from msrn.evaluation import methods
from msrn.evaluation.protocol import evaluate
from msrn.images.picture import Picture
from msrn.network import weights
from msrn.network.config import MSRNConfig
from msrn.restoration.restorer import Restorer
from msrn.training.publish import publish
from msrn.training.recipe_file import validate
from msrn.training.setting import Computing
from msrn.training.trainer import fit

GRAY, COLOR = MSRNConfig(1, 1, 4), MSRNConfig(1, 1, 4, in_channels=3)


@pytest.fixture
def files(tmp_path):
    """Two weights files for noise: one for single planes, and one for colours."""
    made = {"gray": random_weights("denoise", GRAY), "color": random_weights("denoise", COLOR)}
    return {name: weights.save(each, tmp_path, name) for name, each in made.items()}


def picture(channels):
    return Picture(np.random.default_rng(0).random((channels, 21, 17), dtype=np.float32))


def test_pictures_with_colours_go_to_weights_for_colours(files):
    restorer = Restorer(files["gray"], for_color=files["color"], device="cpu", tile=9)
    assert restorer.color_engine.options.tile == 9
    for channels, name in ((1, "gray"), (3, "color")):
        alone = Restorer(files[name], device="cpu")
        assert restorer.engine_for(picture(channels)).weights.sha256 == alone.weights.sha256
        np.testing.assert_allclose(restorer(picture(channels)).pixels, alone(picture(channels)).pixels, atol=1e-6)
        assert restorer.forecast(picture(channels))[0] > 0


def test_both_decide_what_a_batch_is(files):
    restorer = Restorer(files["gray"], for_color=files["color"], device="cpu")
    gray, color = (weights.load(files[name]).sha256 for name in ("gray", "color"))
    assert (restorer.identity["weights"], restorer.identity["color.weights"]) == (gray, color)
    assert set(restorer.choices) == {gray, color}


def test_weights_chosen_by_name_restore_whatever_they_are_given(files):
    restorer = Restorer(files["gray"], device="cpu")
    assert restorer.engine_for(picture(3)) is restorer.engine
    assert "color.weights" not in restorer.identity
    in_color = Restorer(files["color"], device="cpu")
    assert in_color.engine_for(picture(1)) is in_color.engine
    gray = picture(1)
    threefold = in_color(gray.with_pixels(np.repeat(gray.pixels, 3, axis=0))).pixels
    np.testing.assert_allclose(in_color(gray).pixels, threefold.mean(axis=0, keepdims=True), atol=1e-6)


def test_scores_are_of_the_weights_that_are_named():
    first, second = methods.choose(["denoise", "denoise-color"], None, device="cpu")
    noisy = picture(3).pixels
    for method, name in ((first, "msrn-m4r1s2-denoise"), (second, "msrn-m4r1s2-denoise-color")):
        expected = Restorer(name, device="cpu")(picture(3)).pixels
        np.testing.assert_allclose(method(noisy, ""), expected, atol=1e-6)


def test_a_network_for_colours_is_trained_published_and_scored_in_colour(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(3):
        images.write(Picture(rng.random((3, 64, 64), dtype=np.float32)), tmp_path / "images" / f"{index}.png")
    recipe = validate(
        {
            "name": "tiny",
            "task": "denoise",
            "network": {"memory_blocks": 1, "recursions": 1, "channels": 3, "in_channels": 3, "unshuffle": 2},
            "data": {
                "folders": ["images"],
                "patch": 12,
                "common_noise": 1,
                "resident": True,
                "validation_every": 3,
                "validation_crop": 32,
                "validation_levels": [20],
            },
            "optimiser": {"batch": 2, "steps": 2},
        },
        "test",
    )
    fit(recipe, tmp_path, tmp_path / "run", Computing("cpu", "fp32"))
    path, card = publish(tmp_path / "run", tmp_path, data_root=tmp_path, scores_on=[tmp_path / "images"], levels=[20])
    assert path.name.startswith("MSRN_M1R1C3S2_denoise-color-images-")
    assert publish(path, tmp_path)[0] == path
    named = publish(path, tmp_path, data_name="my/color-photos")[0]
    assert named.name.startswith("MSRN_M1R1C3S2_denoise-color-my_color-photos-")
    assert publish(named, tmp_path)[0].name.startswith("MSRN_M1R1C3S2_denoise-color-my_color-photos-")
    assert set(card.losses) == {"int8", "bf16"}
    scored = evaluate(
        "denoise",
        20,
        tmp_path / "images",
        methods.choose([str(path)], None, device="cpu", precision="fp32")[0],
        color=True,
    )
    assert card.scores["images"]["20"]["mean"] == pytest.approx(scored.mean.named(), abs=1e-3)
    assert Restorer(path, device="cpu")(images.read(tmp_path / "images" / "0.png")).pixels.shape == (3, 64, 64)
