"""Plots are the same every time, show every mark, and take any label."""

import base64
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from msrn.errors import UsageError
from msrn.evaluation.plots import Mark, bars, scatter

MARKS = [
    Mark("net", 3.5, "34.00 dB", "ours", 0.1),
    Mark("MemNet, 2017", 4.0, "34.50 dB", "paper", 3.0),
    Mark("VDSR, 2016", -0.1, "33.90 dB", "loss", 0.7),
]


def words(address):
    head, _, content = address.partition(",")
    assert head == "data:image/svg+xml;base64"
    root = ElementTree.fromstring(base64.b64decode(content))
    return ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("plot", [lambda: bars("title", MARKS), lambda: scatter("title", MARKS, "million")])
def test_the_same_marks_give_the_same_picture(plot):
    assert plot() == plot()
    assert b"<dc:date>" not in base64.b64decode(plot().address.partition(",")[2])


def test_bars_and_points_have_their_labels_and_values():
    drawn = bars("gain", MARKS)
    assert {"net", "34.00 dB", "MemNet, 2017", "34.50 dB", "VDSR, 2016", "33.90 dB"} <= set(words(drawn.address))
    assert drawn.description == "gain. net: 34.00 dB; MemNet, 2017: 34.50 dB; VDSR, 2016: 33.90 dB"
    drawn = scatter("cost", MARKS, "million")
    assert {"net, 34.00 dB", "MemNet, 2017, 34.50 dB", "VDSR, 2016, 33.90 dB", "million"} <= set(words(drawn.address))
    assert "MemNet, 2017: 34.50 dB at 3 million" in drawn.description


@pytest.mark.parametrize("label", ["a$b$_1.png", "<b>&.png", "\N{HIRAGANA LETTER A}.png", "caf\udce9.png", "x" * 80])
def test_any_file_name_is_a_label(label):
    shown = words(bars("gain", [Mark(label, 1.0, "+1.00", "ours")]).address)
    assert label in shown or any(word.startswith(label[:3]) for word in shown)


def test_infinite_gains_are_drawn():
    assert "+inf" in words(bars("gain", [Mark("same", float("inf"), "+inf", "ours"), MARKS[0]]).address)


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"matplotlib.*install.*train"):
        bars("gain", MARKS)
