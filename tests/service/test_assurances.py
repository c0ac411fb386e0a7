"""Less effort, certificates and confidence by the service are those of the command."""

from io import BytesIO

import pytest
from PIL import Image
from tests.service.test_api import by_command

from msrn.service.client import RefusedError


def test_less_effort_is_that_of_the_command(service, photo, tmp_path):
    made = service.client.restore(photo, task="dejpeg", effort=1)
    assert made == by_command(tmp_path, photo, "dejpeg", "--effort", "1")
    assert made != service.client.restore(photo, task="dejpeg")


def test_a_consistent_result_is_certified_and_stays_so(service, photo, tmp_path):
    job = service.client.begin(photo, task="dejpeg", consistent=True)
    assert job.result() == by_command(tmp_path, photo, "dejpeg", "--consistent")
    status = job.status()
    assert status["departure"]["consistent"] is True
    assert "consistent with the file" in status["found"]["note"]
    assert status["confidence"] is status["confidence_map"] is None
    assert job.result(strength=0.5) != job.result()
    with pytest.raises(RefusedError, match="jpg would not hold the result exactly: consistent needs png, tif, bmp"):
        job.result(format="jpg")


@pytest.mark.parametrize("words", [("dejpeg",), ("restore",), ("restore", "--scale", "2")], ids=" ".join)
def test_a_map_and_numbers_are_those_of_the_command(service, photo, tmp_path, words):
    asked = {"task": words[0]} | ({"scale": 2} if "--scale" in words else {})
    job = service.client.begin(photo, confidence=True, **asked)
    result = job.result()
    assert result == by_command(tmp_path, photo, *words, "--confidence", "map.png")
    assert result == by_command(tmp_path, photo, *words, target="plain.png")
    status = job.status()
    assert 0 < status["confidence"]["error"] < status["confidence"]["below"]
    with service.client.request("GET", status["confidence_map"]) as answer:
        drawn = Image.open(BytesIO(answer.read()))
    with Image.open(tmp_path / "map.png") as by_the_command:
        assert (drawn.mode, drawn.tobytes()) == (by_the_command.mode, by_the_command.tobytes())
    again = service.client.begin(photo, confidence=True, **asked)
    assert again.result() == result
    assert again.status()["confidence"] == status["confidence"], "what is kept keeps it"
    plain = service.client.begin(photo, **asked)
    plain.result()
    with pytest.raises(RefusedError, match="There is no map") as refused:
        service.client.request("GET", f"/v1/jobs/{plain.id}/confidence")
    assert refused.value.status == 404


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"confidence": True, "effort": 1}, "Confidence is for the whole network's results in full"),
        ({"confidence": True, "strength": 0.5}, "leave out effort, deadline and strength"),
        ({"consistent": True, "format": "jpg"}, "result.jpg would not hold the result exactly: consistent needs png"),
        ({"effort": 9}, "its effort is from 1 to 4, not 9"),
    ],
)
def test_what_the_command_refuses_is_refused_in_its_words(service, photo, options, words):
    with pytest.raises(RefusedError, match=words) as refused:
        service.client.restore(photo, task="dejpeg", **options)
    assert (refused.value.status, refused.value.code) == (422, "bad_options")
