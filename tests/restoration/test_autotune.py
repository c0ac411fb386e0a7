"""The automatic choice: timed once, kept, and never in the way."""

import json
import logging

import numpy as np
import pytest
import torch
from tests.helpers.networks import random_weights

from msrn.errors import UsageError
from msrn.images.picture import Picture
from msrn.network.config import MSRNConfig
from msrn.network.graph import fuse
from msrn.restoration import autotune
from msrn.restoration.autotune import Tuned, tune
from msrn.restoration.backends import Choice
from msrn.restoration.restorer import Restorer
from msrn.restoration.schedule import forecast
from msrn.system.machine import cache_folder

CPU = torch.device("cpu")
WEIGHTS = random_weights("sr", MSRNConfig(1, 1, 4))
FOUND = [Choice("eager", "bf16"), Choice("eager", "fp32")]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MSRN_CACHE", str(tmp_path / "cache"))
    caplog.set_level(logging.INFO, "msrn")
    return tmp_path / "cache"


def timed(monkeypatch, fastest="eager fp32"):
    """Replace the stopwatch and count how often it is looked at."""
    calls = []

    def stopwatch(backend, config, side):
        calls.append(side)
        kind = f"eager {str(backend.type).removeprefix('torch.').replace('float32', 'fp32').replace('bfloat', 'bf')}"
        return side**2 * (1e-6 if kind == fastest else 5e-6)

    monkeypatch.setattr(autotune, "_seconds", stopwatch)
    return calls


def choose(weights=WEIGHTS):
    return tune(weights, lambda: fuse(weights.network), CPU, FOUND)


@pytest.mark.parametrize("fastest", ["eager fp32", "eager bf16"])
def test_the_fastest_is_chosen_and_remembered(monkeypatch, fastest, cache, caplog):
    calls = timed(monkeypatch, fastest)
    first = choose()
    assert str(first.choice) == fastest
    assert first.rates[96] == pytest.approx(1e-6)
    assert fastest in first.why
    count = len(calls)
    assert choose() == first
    assert len(calls) == count
    assert len(list(cache.iterdir())) == 1
    expected = ("once: a few seconds", "timed 2 ways", f"kept in {cache}", f"is of {cache}")
    assert all(words in message for words, message in zip(expected, caplog.messages, strict=True))


def test_what_is_close_on_a_small_square_is_compared_on_a_larger_one(monkeypatch):
    calls = []

    def stopwatch(backend, config, side):
        calls.append(side)
        first = backend.type == torch.bfloat16
        return side**2 * {96: 1.1e-6 if first else 1e-6}.get(side, 2e-6 if first else 3e-6)

    monkeypatch.setattr(autotune, "_seconds", stopwatch)
    assert str(choose().choice) == "eager bf16"
    assert calls.count(384) == 3 * autotune._ROUNDS  # each of both, and the winner for its rates


@pytest.mark.parametrize(("factor", "chosen"), [(1.03, "eager bf16"), (1.08, "eager fp32")])
def test_of_what_is_even_the_likely_fastest_is_taken(monkeypatch, factor, chosen):
    def stopwatch(backend, config, side):
        return side**2 * 1e-6 * (factor if backend.type == torch.bfloat16 else 1)

    monkeypatch.setattr(autotune, "_seconds", stopwatch)
    assert str(choose().choice) == chosen


def test_no_candidate_is_slow_because_of_what_comes_before_it(monkeypatch):
    calls = []

    def stopwatch(backend, config, side):
        calls.append(backend.type)
        disturbed = calls[-2:] == [torch.float32, torch.bfloat16]
        return side**2 * (1e-6 if backend.type == torch.bfloat16 else 1.4e-6) * (2 if disturbed else 1)

    monkeypatch.setattr(autotune, "_seconds", stopwatch)
    assert str(choose().choice) == "eager bf16"


def test_a_tile_that_takes_too_much_memory_after_all_ends_the_timing_not_the_run(monkeypatch):
    calls, tried = timed(monkeypatch), []
    stopwatch = autotune._seconds

    def limited(backend, config, side):
        tried.append(side)
        if side >= 512:
            raise RuntimeError("CUDA out of memory")
        return stopwatch(backend, config, side)

    monkeypatch.setattr(autotune, "_seconds", limited)
    assert max(choose().rates) == 384
    assert tried.count(768) == 1
    assert max(calls) == 384


def test_a_single_candidate_is_not_timed(monkeypatch):
    calls = timed(monkeypatch)
    assert tune(WEIGHTS, lambda: fuse(WEIGHTS.network), CPU, FOUND[:1]) == Tuned(
        FOUND[0], {}, "nothing else to choose from"
    )
    assert calls == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "[" * 200_000,
        lambda text: '{"key": 1}',
        lambda text: text.replace('"fp32"', '"fp8"'),
        lambda text: text.replace("1e-06", "NaN"),
        lambda text: text.replace('"rates"', '"speeds"'),
        lambda text: json.dumps(json.loads(text) | {"rates": []}),
    ],
)
def test_a_damaged_cache_is_timed_anew(monkeypatch, cache, spoil, caplog):
    timed(monkeypatch)
    first = choose()
    (path,) = cache.iterdir()
    whole = path.read_text()
    assert "1e-06" in whole
    path.write_text(spoil(whole))
    caplog.clear()
    assert choose() == first
    assert "timing again" in caplog.text
    assert path.read_text() == whole


def test_a_deleted_cache_is_timed_anew(monkeypatch, cache, caplog):
    timed(monkeypatch)
    first = choose()
    (path,) = cache.iterdir()
    path.unlink()
    assert choose() == first
    assert path.exists()


def test_a_cache_of_another_machine_is_not_believed(monkeypatch, cache, caplog):
    timed(monkeypatch, "eager bf16")
    choose()
    (path,) = cache.iterdir()
    foreign = json.loads(path.read_text())
    foreign["key"]["processor"] = "another"
    path.write_text(json.dumps(foreign))
    timed(monkeypatch, "eager fp32")
    assert choose().choice == Choice("eager", "fp32")
    assert "another machine" in caplog.text


def test_machine_versions_and_weights_have_timings_of_their_own(monkeypatch, cache):
    timed(monkeypatch)
    choose()
    monkeypatch.setattr(autotune, "processor", lambda: "another")
    choose()
    monkeypatch.setattr(autotune, "_version", lambda package: "0")
    choose()
    choose(random_weights("sr", MSRNConfig(1, 1, 5)))
    assert len(list(cache.iterdir())) == 4


def test_a_cache_that_cannot_be_written_costs_a_line_only(monkeypatch, cache, caplog):
    timed(monkeypatch)
    cache.write_text("a file where the folder should be")
    assert choose().choice == Choice("eager", "fp32")
    assert "cannot be kept" in caplog.text
    assert cache_folder() == cache


def test_a_backend_that_fails_is_left_out(monkeypatch, caplog):
    create = autotune.create

    def failing(choice, *rest):
        if choice.precision == "bf16":
            raise RuntimeError("no such instruction")
        return create(choice, *rest)

    monkeypatch.setattr(autotune, "create", failing)
    assert choose().choice == Choice("eager", "fp32")
    assert "eager bf16 cannot be used: no such instruction" in caplog.text


def test_the_real_stopwatch():
    tuned = choose()
    assert 0 < tuned.rates[96] < 1
    assert 0 < forecast(WEIGHTS.card.config, 200, 300, 96, tuned) < 60
    assert tuned.rate(10) == tuned.rates[96]


def test_the_result_does_not_depend_on_the_cache(monkeypatch, cache):
    planes = np.random.default_rng(0).random((1, 1, 30, 30), dtype=np.float32)
    results = []
    for content in (None, "broken", None):
        if content:
            for path in cache.iterdir():
                path.write_text(content)
        results.append(Restorer(WEIGHTS, device="cpu").restore_planes(planes))
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)
    np.testing.assert_allclose(results[0], results[2], atol=1e-5)


def test_where_nothing_can_be_used_that_is_said(monkeypatch):
    def broken(*arguments):
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(autotune, "create", broken)
    with pytest.raises(UsageError, match="eager fp32 cannot be used here"):
        Restorer(WEIGHTS, device="cpu", backend="eager", precision="fp32").forecast(
            Picture(np.zeros((1, 8, 8), np.float32))
        )


def test_threads_and_device_have_timings_of_their_own(monkeypatch):
    before = autotune._key(WEIGHTS, CPU, [])
    monkeypatch.setenv("OMP_NUM_THREADS", "77")
    assert autotune._key(WEIGHTS, CPU, []) != before
    monkeypatch.undo()
    assert autotune._key(WEIGHTS, torch.device("mps"), []) != autotune._key(WEIGHTS, CPU, [])
