"""`msrn benchmark` measures what it is asked for, prints it, and draws it."""

import inspect
import json

from msrn.evaluation import speed
from msrn.evaluation.results import Benchmark, Ceiling, Machine, Measurement

ROW = Measurement("M1R1C2", "eager fp32", "fp32", 16, 0.5, 2.0, None, 0.1, 0.2, 1.0, None, 0.0)
MACHINE = Machine("D", "a <processor>", 2, None, "Linux", "2.13.0")
RESULT = Benchmark(MACHINE, (Ceiling(2, "fp32", "eager", 9.0),), {"fp32": 90.0}, 12.5, (ROW,))


def test_the_options_reach_the_measurement_and_its_result_is_printed_and_drawn(monkeypatch, msrn, tmp_path):
    asked = []
    signature = inspect.signature(speed.benchmark)

    def measure(*arguments):
        asked.append(signature.bind(*arguments).arguments)
        return RESULT

    monkeypatch.setattr(speed, "benchmark", measure)
    options = ("-w", "M1R1C2", "-w", "sr", "--size", "16", "--rounds", "3", "--no-peers", "--device", "cpu")
    process = msrn("benchmark", *options, "--json", "--html", tmp_path / "page.html")
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["rows"][0]["entry"] == "eager fp32"
    assert "a &lt;processor&gt;" in (tmp_path / "page.html").read_text(encoding="utf-8")
    asked[0].pop("report")
    expected = {"names": ["M1R1C2", "sr"], "sides": [16], "rounds": 3, "peers": False, "device": "cpu"}
    assert asked[0] == expected
    assert msrn("benchmark").stdout.startswith("a <processor>, 2 cores, D")
    assert asked[1]["sides"] == [256, 512]
