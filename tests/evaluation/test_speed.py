"""The benchmark's table and page."""

import subprocess
import sys

import numpy as np
import pytest
from tests.helpers.networks import random_weights

from msrn.evaluation.ceilings import PeakRates, Work, convolution_rates
from msrn.evaluation.contenders import peers_of, traffic, weights_of_shape
from msrn.evaluation.report import write_benchmark
from msrn.evaluation.speed import benchmark, measure_size
from msrn.evaluation.tables import benchmark_markdown
from msrn.network.config import MSRNConfig
from msrn.network.graph import fuse
from msrn.restoration.backends import Processor
from msrn.restoration.engine import Engine, Options
from msrn.system.machine import kind


@pytest.fixture(scope="module")
def result():
    return benchmark(["M1R1C4"], [24], rounds=1, work=Work(side=16, matrix=64, size=1 << 16))


def test_every_entry_is_measured_and_compared(result):
    rows = result.rows
    names = [row.entry for row in rows]
    assert {"plain eager", "eager fp32", "eager bf16", "DnCNN-size network, eager"} <= set(names)
    assert sum(name.startswith("automatic: ") for name in names) == 1
    plain = rows[names.index("plain eager")]
    assert plain.factor == 1
    assert plain.gigaflops * plain.seconds_per_megapixel == pytest.approx(
        2e-3 * MSRNConfig(1, 1, 4).multiply_adds_per_pixel
    )
    assert [row.seconds_per_megapixel for row in rows] == sorted(row.seconds_per_megapixel for row in rows)
    assert {row.loss for row in rows if row.precision == "fp32"} == {0}
    assert {each.precision for each in result.ceilings} >= {"fp32", "bf16"}


def test_networks_for_colours_are_measured_on_colours():
    weights = random_weights("denoise", MSRNConfig(1, 1, 4, in_channels=3, unshuffle=2))
    rows = measure_size(weights, 16, 1, PeakRates({}, {}, 1.0), Processor(), peers=True)
    assert {"plain eager", "eager fp32", "DnCNN-size network, eager"} <= {row.entry for row in rows}
    assert {row.share for row in rows} == {None}  # no limit is known


def test_the_page_shows_every_row(result, tmp_path):
    write_benchmark(tmp_path / "page.html", result)
    page = (tmp_path / "page.html").read_text()
    assert page.count("<tr>") == len(result.rows) + 1
    assert "http" not in page.replace("http-equiv", "")
    assert kind() in page
    assert len(benchmark_markdown(result).splitlines()) == len(result.rows) + 6


def test_untrained_weights_return_their_input_and_have_a_range_everywhere():
    weights = weights_of_shape("M2R2C3")
    assert len(weights.card.ranges) == 8 + 3 + 4
    assert weights_of_shape("msrn-m4r1s2-sr") is None
    image = np.random.default_rng(0).random((1, 1, 8, 8), np.float32)
    engine = Engine(weights, Options(device="cpu"))
    np.testing.assert_array_equal(engine.restore(image), image)  # what is black would be repeated, and spoil the timing
    deep = weights_of_shape("M4R1C16S2")
    feature = fuse(deep.card.config, deep.arrays)
    assert feature.config.unshuffle == 2
    assert np.std(deep.arrays["extract.weight"]) == pytest.approx(np.sqrt(2 / (9 * 4)), rel=0.1)


def test_traffic_is_what_each_operation_would_read_and_write():
    config = MSRNConfig(1, 1, 4)
    values, places = traffic(config, weights_of_shape(config.shape).arrays)
    extract = 2 * 1 + (1 + 4)
    unit = 2 * 4 + (4 + 4) + 2 * 4 + (4 + 4) + 3 * 4
    gates = 2 * (2 * 4 + (4 + 4)) + 3 * 4
    reconstruct = 2 * 4 + 2 * 4 + (4 + 1)
    assert values == extract + unit + gates + reconstruct
    assert places == ["extract", "0.gate.0", "0.first.0", "0.second.0", "0.gate.1", "reconstruct"]


def test_the_chain_is_as_many_convolutions_in_every_backend():
    """A rate that is far off would mean that something else was computed."""
    rates = convolution_rates(32, 1, Processor(), side=96)
    assert {choice.backend for choice in rates} >= {"eager", "openvino"}
    fp32 = [rate for choice, rate in rates.items() if choice.precision == "fp32"]
    assert max(fp32) < 100 * min(fp32)


def test_the_benchmark_starts_without_torch():
    code = "import sys; import msrn.evaluation.speed, msrn.evaluation.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_peers_that_cannot_be_exported_are_left_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    weights = random_weights("sr", MSRNConfig(1, 1, 4))
    peers = {peer.name: peer.multiply_adds for peer in peers_of(weights, Processor())}
    assert peers == {"plain eager": None, "DnCNN-size network, eager": 9 * 64 * 2 + 15 * 9 * 64**2}
