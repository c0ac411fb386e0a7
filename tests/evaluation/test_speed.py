"""The benchmark's table and page."""

import json
import sys

import pytest
import torch
from tests.cli.test_restore import msrn
from tests.helpers.networks import random_network, random_weights

from msrn.evaluation import speed as benchmarking
from msrn.evaluation import speed_page
from msrn.evaluation.speed import _Limits, _rows, benchmark, untrained
from msrn.network.config import MSRNConfig
from msrn.system.machine import kind


@pytest.fixture(scope="module")
def result():
    return benchmark(["M1R1C4"], [24], rounds=2)


def test_every_entry_is_measured_and_compared(result):
    rows = result.rows
    names = [row.entry for row in rows]
    assert {"plain eager", "eager fp32", "eager bf16", "DnCNN-size network, eager"} <= set(names)
    assert sum(name.startswith("automatic: ") for name in names) == 1
    plain = rows[names.index("plain eager")]
    assert plain.factor == 1
    assert plain.gigaflops * plain.seconds_per_megapixel == pytest.approx(
        2e-3 * untrained("M1R1C4").card.config.multiply_adds_per_pixel
    )
    assert [row.seconds_per_megapixel for row in rows] == sorted(row.seconds_per_megapixel for row in rows)
    assert {row.loss for row in rows if row.precision == "fp32"} == {0}
    assert {each.precision for each in result.ceilings} >= {"fp32", "bf16"}


def test_networks_for_colours_are_measured_on_colours():
    weights = random_weights("denoise", MSRNConfig(1, 1, 4, in_channels=3, unshuffle=2))
    rows = _rows(weights, 16, 1, True, _Limits({}, {}, 1.0), torch.device("cpu"))
    assert {"plain eager", "eager fp32", "DnCNN-size network, eager"} <= {row.entry for row in rows}


def test_the_page_shows_every_row(result, tmp_path):
    speed_page.write_speed_page(result, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<tr>") == len(result.rows) + 1
    assert "http" not in page.replace("http-equiv", "")
    assert kind() in page
    assert len(speed_page.markdown(result).splitlines()) == len(result.rows) + 6


def test_untrained_weights_have_a_range_everywhere():
    weights = untrained("M2R2C3")
    assert len(weights.card.ranges) == 8 + 3 + 4
    assert untrained("msrn-m4r1s2-sr") is None
    x = torch.rand(1, 1, 8, 8)
    assert torch.equal(weights.network(x), x)  # what is black would be repeated, and spoil the timing


def test_command(tmp_path):
    process = msrn(
        "benchmark", "-w", "M1R1C2", "--size", "16", "--rounds", "1", "--no-peers", "--json", "--html", tmp_path / "p"
    )
    assert process.returncode == 0, process.stderr
    assert {row["side"] for row in json.loads(process.stdout)["rows"]} == {16}
    assert (tmp_path / "p").exists()


def test_peers_that_cannot_be_exported_are_left_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    names = [entry.name for entry in benchmarking._peers(random_network(MSRNConfig(1, 1, 4)), torch.device("cpu"))]
    assert names == ["plain eager", "DnCNN-size network, eager"]
