"""The automatic choice: by the processor until something was timed, kept for later runs, and never in the way."""

import logging
import time

import numpy as np
import pytest
from tests.helpers.networks import random_weights

from msrn.errors import UsageError
from msrn.images.picture import Picture
from msrn.network.config import MSRNConfig
from msrn.network.weights import load
from msrn.restoration import autotune
from msrn.restoration.autotune import Timing, Tuned
from msrn.restoration.backends import Choice, Processor, create
from msrn.restoration.engine import Engine, Options
from msrn.restoration.restorer import Restorer
from msrn.restoration.tile_plan import TilePlanner

WEIGHTS = random_weights("sr", MSRNConfig(1, 1, 4))
FAST, EXACT, SLOW = Choice("eager", "bf16"), Choice("eager", "fp32"), Choice("onnx", "fp32")
FOUND = [FAST, EXACT, SLOW]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MSRN_CACHE", str(tmp_path / "cache"))
    caplog.set_level(logging.INFO, "msrn")
    return tmp_path / "cache"


class Watch:
    """A stopwatch that shows seconds per pixel by choice; the backends are the choices themselves."""

    def __init__(self, **rates):
        self.rates, self.looked = {FAST: 5e-6, EXACT: 1e-6, SLOW: 9e-6} | rates.pop("of", {}), []

    def __call__(self, backend, config, side):
        self.looked.append((backend, side))
        rate = self.rates[backend]
        return side**2 * (rate(side) if callable(rate) else rate)


def timing(watch=None, found=FOUND, weights=WEIGHTS):
    return Timing(weights, Processor(), found, watch)


def test_without_a_timing_the_processor_decides():
    assert timing().choose() == Tuned(FAST, {}, "by the processor's instructions")


def test_a_single_candidate_needs_no_timing():
    assert timing(found=[EXACT]).choose() == Tuned(EXACT, {}, "nothing else to choose from")
    assert timing(found=[EXACT]).missing == [EXACT]


def test_what_one_run_times_the_next_one_finds(cache):
    watch = Watch()
    first = timing(watch)
    first.learn(lambda choice: choice, patience=9)
    assert not first.missing
    tuned = timing().choose()
    assert tuned.choice == EXACT
    assert tuned.rates[96] == pytest.approx(1e-6)
    assert "eager fp32 1.00" in tuned.why
    count = len(watch.looked)
    again = timing(watch)
    again.learn(lambda choice: choice, patience=9)
    assert len(watch.looked) == count
    assert len(list(cache.iterdir())) == 1


def test_impatience_leaves_the_rest_for_later_runs():
    made = []

    def slow(choice):
        time.sleep(0.05)
        made.append(choice)
        return choice

    for number in range(3):
        one = timing(Watch())
        one.learn(slow, patience=0.04)  # one is begun with, and then it is over
        assert len(made) == number + 1
    assert not one.missing
    assert made == FOUND
    timing(Watch()).learn(slow, patience=9)
    assert made == FOUND


@pytest.mark.parametrize(("factor", "chosen"), [(1.03, FAST), (1.08, EXACT)])
def test_of_what_is_even_the_likely_fastest_is_taken(factor, chosen):
    one = timing(Watch(of={FAST: factor * 1e-6}))
    one.learn(lambda choice: choice, patience=9)
    assert one.choose().choice == chosen


def test_the_larger_square_decides():
    one = timing(Watch(of={FAST: lambda side: 2e-6 if side == 96 else 0.5e-6}))
    one.learn(lambda choice: choice, patience=9)
    assert one.choose().choice == FAST


def test_what_takes_a_second_is_timed_on_the_small_square_only():
    watch = Watch(of={SLOW: 1e-4})
    timing(watch).learn(lambda choice: choice, patience=9)
    assert {side for choice, side in watch.looked if choice == SLOW} == {96}


def test_a_forecast_times_what_was_chosen_on_more_sides():
    one = timing(Watch())
    assert sorted(one.learn_sides(EXACT, EXACT).rates) == [96, 192, 384, 768]  # 1,536 would take over a second
    assert sorted(timing().rates[EXACT]) == [96, 192, 384, 768]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "[" * 200_000,
        lambda text: text.replace("eager fp32", "fp32"),
        lambda text: text.replace('"processor": "', '"processor": "another '),
        lambda text: "{}\n" + text,
    ],
)
def test_a_damaged_or_foreign_timing_is_forgotten(cache, spoil, caplog):
    timing(Watch()).learn(lambda choice: choice, patience=9)
    (path,) = cache.iterdir()
    path.write_text(spoil(path.read_text()))
    assert timing().choose() == Tuned(FAST, {}, "by the processor's instructions")
    assert "making it again" in caplog.text


def test_a_timing_of_another_machine_is_another_file(cache, monkeypatch):
    timing(Watch()).learn(lambda choice: choice, patience=9)
    monkeypatch.setattr(autotune, "processor", lambda: "another")
    assert timing().rates == {}
    timing(Watch()).learn(lambda choice: choice, patience=9)
    assert len(list(cache.iterdir())) == 2


def test_a_cache_that_cannot_be_written_costs_a_line_only(cache, caplog):
    cache.write_text("a file where the folder should be")
    one = timing(Watch())
    one.learn(lambda choice: choice, patience=9)
    assert one.choose().choice == EXACT
    assert "cannot be kept" in caplog.text


def test_a_backend_that_fails_is_left_out(caplog):
    def make(choice):
        if choice == FAST:
            raise RuntimeError("no such instruction")
        return choice

    one = timing(Watch())
    one.learn(make, patience=9)
    assert not one.missing
    assert FAST not in one.rates
    assert "no such instruction" in caplog.text


def test_the_forecast_adds_up_the_tiles_at_their_rates():
    tuned = Tuned(EXACT, {96: 1e-6, 384: 2e-6}, "")
    planner = TilePlanner(MSRNConfig(1, 1, 4), Processor(), tuned)
    assert planner.seconds(96, 96, 96) == pytest.approx(96**2 * 1e-6)
    assert planner.seconds(384, 384, 384) == pytest.approx(384**2 * 2e-6)
    assert tuned.rate(10) == pytest.approx(1e-6)
    assert 1e-6 < tuned.rate(192) < 2e-6


def test_a_run_computes_with_what_it_began_with(cache):
    """An engine times what else there is only when asked to, and still goes on with its own choice."""
    planes = np.random.default_rng(0).random((1, 1, 40, 40), dtype=np.float32)
    first = Engine(load("sr"))
    first.learn(9)  # it has not computed yet
    before = first.tuned.choice
    result = first.restore(planes)
    assert not any(path.name.startswith("timing") for path in cache.iterdir())
    first.learn(9)
    assert any(path.name.startswith("timing") for path in cache.iterdir())
    assert first.tuned.choice == before
    np.testing.assert_array_equal(first.restore(planes), result)
    assert Engine(load("sr")).tuned.why.startswith("seconds per megapixel")


def test_what_cannot_be_used_here_is_replaced(caplog):
    planes, made = np.full((1, 1, 20, 20), 0.5, np.float32), []

    def make(choice, *how):
        made.append(choice)
        if choice.backend == "openvino":
            raise RuntimeError("no such instruction")
        return create(choice, *how)

    engine = Engine(WEIGHTS, Options("cpu"), make=make)
    assert engine.restore(planes).shape == planes.shape
    assert made[0].backend == "openvino"
    assert engine.tuned.choice == made[-1]
    assert "no such instruction" in caplog.text
    with pytest.raises(UsageError, match="cannot be used here"):
        Engine(WEIGHTS, Options("cpu", "openvino"), make=make).restore(planes)


def test_one_timed_candidate_says_nothing_of_the_others():
    one = timing(Watch())
    one.learn_sides(SLOW, SLOW)
    assert one.choose() == Tuned(FAST, {}, "by the processor's instructions")


def test_candidates_are_compared_on_squares_that_both_know():
    watch = Watch(of={FAST: lambda side: 1e-7 if side <= 384 else 9e-7, EXACT: 2e-7, SLOW: 3e-7})
    one = timing(watch)
    one.learn(lambda choice: choice, patience=9)
    one.learn_sides(FAST, FAST)
    assert max(one.rates[FAST]) == 1536
    assert one.choose().choice == FAST


def test_broken_candidates_are_remembered():
    def make(choice):
        if choice == FAST:
            raise RuntimeError("no such instruction")
        return choice

    timing(Watch()).learn(make, patience=9)
    assert not timing().missing
    assert timing().choose().choice == EXACT


def test_what_a_run_began_with_is_gone_on_with(caplog):
    digest = load("sr").sha256
    for name in ("eager fp32", "openvino int8"):
        restorer = Restorer("sr", device="cpu", begun_with={digest: name})
        assert str(restorer.engine.tuned.choice) == name
        assert restorer.choices == {digest: name}
    restorer = Restorer("sr", device="cpu", begun_with={digest: "abacus fp32"})
    assert "begun with abacus fp32" in caplog.text
    assert restorer(Picture(np.full((1, 9, 9), 0.5, np.float32)), scale=1).pixels.shape == (1, 9, 9)
