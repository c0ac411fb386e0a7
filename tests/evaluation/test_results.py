"""Results keep the JSON format of the files in docs/results, key for key."""

import json
import math
from dataclasses import fields, replace
from pathlib import Path

import pytest

from msrn.evaluation.results import (
    Benchmark,
    Ceiling,
    Comparison,
    Difference,
    Duration,
    Evaluation,
    Failure,
    ImageScores,
    Machine,
    Measurement,
    Scores,
    from_json,
    to_json,
)

RESULTS = Path(__file__).parents[2] / "docs" / "results"
KEPT = sorted(RESULTS.glob("msrn-*.json"))

ONE = Evaluation(
    task="jpeg",
    level=10.0,
    data="classic5",
    images=(ImageScores("a.png", Scores(math.inf, 1.0, math.inf), Scores(30.0, 0.9, 28.0)),),
    mean=Scores(math.inf, 1.0, math.inf),
    baseline=Scores(30.0, 0.9, 28.0),
    protocol="words",
    color=False,
    weights="net (sha256 0)",
    failures=(Failure("b.png", "broken"),),
    duration=Duration(1.5, 0.25),
    difference=Comparison("other", {"psnr": Difference(math.inf, math.inf, math.inf), "ssim": Difference(0.1, 0, 0.2)}),
)
ONE_AS_JSON = {
    "task": "jpeg",
    "level": 10.0,
    "data": "classic5",
    "images": [
        {"name": "a.png", "psnr": None, "ssim": 1.0, "psnr_b": None}
        | {"baseline": {"psnr": 30.0, "ssim": 0.9, "psnr_b": 28.0}}
    ],
    "mean": {"psnr": None, "ssim": 1.0, "psnr_b": None},
    "baseline": {"psnr": 30.0, "ssim": 0.9, "psnr_b": 28.0},
    "protocol": "words",
    "color": False,
    "weights": "net (sha256 0)",
    "failures": [{"name": "b.png", "error": "broken"}],
    "seconds": 1.5,
    "megapixels_per_second": 0.25,
    "difference": {
        "against": "other",
        "scores": {
            "psnr": {"difference": None, "low": None, "high": None},
            "ssim": {"difference": 0.1, "low": 0, "high": 0.2},
        },
    },
}


@pytest.mark.parametrize("path", KEPT, ids=[path.stem for path in KEPT])
def test_kept_evaluations_are_read_and_written_the_same(path):
    text = path.read_text(encoding="utf-8")
    results = from_json(text)
    assert to_json(results) + "\n" == text
    assert to_json(results, digits=9) + "\n" == text


def test_there_are_evaluations_to_read():
    assert KEPT
    first = from_json(KEPT[0].read_text(encoding="utf-8"))[0]
    assert first.duration is first.difference is None
    assert first.mean.psnr > first.baseline.psnr


def test_every_key_stands_where_others_look_for_it():
    text = to_json([ONE])
    assert json.loads(text) == ONE_AS_JSON
    assert list(json.loads(text)) == list(ONE_AS_JSON)
    assert from_json(text) == [ONE]


def test_several_results_are_a_list_and_one_is_not():
    assert json.loads(to_json([ONE, ONE])) == [ONE_AS_JSON, ONE_AS_JSON]


def test_nothing_restored_is_a_time_without_a_speed():
    value = json.loads(to_json([replace(ONE, duration=Duration(0.0, None), difference=None)]))
    assert (value["seconds"], value["megapixels_per_second"]) == (0.0, None)
    assert "difference" not in value


def test_what_is_missing_is_no_result():
    with pytest.raises(KeyError, match="mean"):
        from_json(json.dumps({key: value for key, value in ONE_AS_JSON.items() if key != "mean"}))


def test_a_benchmark_is_written_by_the_names_of_its_fields():
    row = Measurement("M1R1C2", "eager fp32", "fp32", 16, 0.5, 2.0, None, 0.1, 0.2, 1.0, None, 0.0)
    machine = Machine("D", "a processor", 2, None, "Linux", "2.13.0")
    result = Benchmark(machine, (Ceiling(2, "fp32", "eager", 9.0),), {"fp32": 90.0}, 12.5, (row,))
    value = json.loads(to_json(result))
    assert list(value) == ["machine", "ceilings", "products", "copy", "rows"]
    assert value["machine"] == {
        "kind": "D",
        "processor": "a processor",
        "cores": 2,
        "load": None,
        "system": "Linux",
    } | {"torch": "2.13.0"}
    assert value["ceilings"] == [{"channels": 2, "precision": "fp32", "backend": "eager", "gigaflops": 9.0}]
    assert list(value["rows"][0]) == [field.name for field in fields(Measurement)]
    assert value["rows"][0]["entry"] == "eager fp32"
