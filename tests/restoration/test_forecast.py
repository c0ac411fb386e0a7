"""What a dry run forecasts: seconds from the timing, memory of the tiles and networks that are really used."""

from types import SimpleNamespace

import numpy as np
import pytest
from tests.helpers.networks import identity_weights, random_weights

from msrn import images
from msrn.batch import Settings, forecast_batch, plan_outputs
from msrn.images.picture import Picture
from msrn.network.config import MSRNConfig
from msrn.restoration import memory
from msrn.restoration.autotune import Timing, Tuned
from msrn.restoration.backends import Choice
from msrn.restoration.memory import Needs
from msrn.restoration.restorer import Restorer


@pytest.fixture
def known(monkeypatch):
    """Every pixel is known to take two microseconds, whatever computes and in whichever tile."""
    tuned = Tuned(Choice("eager", "fp32"), {96: 2e-6, 384: 2e-6}, "")
    monkeypatch.setattr(Timing, "learn_sides", lambda self, choice, backend: tuned)


def test_the_forecast_is_what_the_timing_says(known):
    config = MSRNConfig(1, 1, 4)
    restorer = Restorer(random_weights("denoise", config), device="cpu", tile=512)
    gray = restorer.forecast(Picture(np.zeros((1, 1024, 1024), np.float32)))
    assert gray.seconds == pytest.approx(2e-6 * (1024 + 2 * config.halo) ** 2)
    color = restorer.forecast(Picture(np.zeros((3, 1024, 1024), np.float32)))
    assert color.seconds == pytest.approx(3 * gray.seconds)
    assert color.peak > gray.peak


def test_the_forecast_names_what_the_network_keeps(known):
    restorer = Restorer("msrn-m4r1s2-denoise", device="cpu", backend="eager", precision="fp32")
    needs = restorer.forecast(Picture(np.zeros((1, 600, 600), np.float32)))
    assert needs.kept == {restorer.weights.sha256: 0}  # torch frees what it took


def test_self_ensemble_is_forecast_to_take_eight_times_as_long(known):
    image = Picture(np.zeros((1, 64, 64), np.float32))
    one, eight = (
        Restorer(identity_weights("denoise"), device="cpu", tta=tta).forecast(image)[0] for tta in (False, True)
    )
    assert eight == pytest.approx(8 * one)


@pytest.mark.parametrize(("backend", "keeps"), [("openvino", True), ("onnx", True), ("eager", False)])
def test_what_a_network_holds_on_to_is_its_pass(backend, keeps):
    config, choice = MSRNConfig(1, 1, 4), Choice(backend, "fp32")
    one_pass = memory.pass_bytes(config, 128, choice, 500, 400)
    peak, kept = memory.picture_bytes(config, 3, 500, 400, 128, choice)
    assert kept == one_pass * keeps
    assert peak > one_pass + 3 * 500 * 400 * 4


def test_later_pictures_of_a_batch_compute_beside_what_earlier_networks_hold(tmp_path):
    needed = {1: Needs(1.0, 100, {"a": 40}), 2: Needs(1.0, 70, {"b": 50}), 3: Needs(1.0, 200, {"a": 60})}

    class Chosen:
        """What is chosen for a picture of a height."""

        note, steps = "", ()

        def __init__(self, height):
            self.height = height

        def result_size(self, *how):
            return self.height, 1

        def forecast(self, *how):
            return needed[self.height]

    for height in needed:
        images.write(Picture(np.zeros((1, height, 1), np.float32)), tmp_path / "in" / f"{height}.png")
    jobs = plan_outputs([tmp_path / "in"], tmp_path / "out").jobs
    restorer = SimpleNamespace(settled=lambda picture, *how, quick: Chosen(picture.height))
    assert [each.bytes for each in forecast_batch(jobs, restorer, Settings())] == [100, 70 + 40, 200 + 50]
