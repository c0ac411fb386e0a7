"""The API as programs use it: exact results, jobs, refusals in plain words, and nothing that a crash leaves behind."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from io import BytesIO

import pytest
from PIL import Image
from tests.helpers.services import Service, bomb, encoded

from msrn.service.client import Client, RefusedError


def by_command(folder, data, *words, name="photo.jpg", target="out.png"):
    """What the command line writes."""
    (folder / name).write_bytes(data)
    command = [sys.executable, "-m", "msrn.cli", words[0], name, "-o", target, *words[1:], "--precision", "fp32", "-q"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return (folder / target).read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ["restore"]),
        ({"task": "upscale", "scale": 1.5, "strength": 0.5}, ["upscale", "-s", "1.5", "--strength", "0.5"]),
        ({"to": "200x", "format": "jpg", "quality": 80}, ["restore", "--to", "200x", "--quality", "80"]),
        ({"task": "dejpeg", "model": "msrn-m6r1s2-jpeg"}, ["dejpeg", "-w", "msrn-m6r1s2-jpeg"]),
    ],
)
def test_results_are_those_of_the_command_byte_for_byte(service, photo, tmp_path, options, words):
    target = f"out.{options.get('format', 'png')}"
    assert service.client.restore(photo, **options) == by_command(tmp_path, photo, *words, target=target)


def test_forms_are_taken_and_the_same_again_is_not_computed_again(service, photo):
    first = service.client.restore(photo, task="denoise")
    body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a/b.jpg"\r\n\r\n' + photo + b"\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    with service.client.request("POST", "/v1/restore?task=denoise", body, headers) as answer:
        assert answer.read() == first
        assert answer.headers["X-Kept"] == "yes"
        assert "b_restored.png" in answer.headers["Content-Disposition"]


def test_a_job_tells_what_happens_and_shows_what_is_looked_at_first(service, large):
    before = parts(service)
    job = service.client.begin(large, task="dejpeg", view="0.5,0.5,300x200")
    events = []
    previews = []
    for event in job.events():
        events.append(event)
        if event.name == "preview":
            with service.client.request("GET", event.data["address"]) as answer:
                previews.append((event.data, Image.open(BytesIO(answer.read())).convert("RGB")))
    names = list(dict.fromkeys(event.name for event in events))
    assert names == ["queued", "running", "decoded", "found", "preview", "tile", "done"]
    tiles = [event.data for event in events if event.name == "tile"]
    assert [tile["done"] for tile in tiles] == list(range(1, tiles[0]["total"] + 1))
    assert tiles[0]["total"] >= 4
    result = Image.open(BytesIO(job.result()))
    assert previews
    for place, seen in previews:
        box = (place["left"], place["top"], place["left"] + place["width"], place["top"] + place["height"])
        assert seen.tobytes() == result.crop(box).tobytes(), "a preview is what the result has there"
    half = Image.open(BytesIO(job.result(strength=0.5, format="webp", quality=100)))
    between = Image.blend(Image.open(BytesIO(large)), result, 0.5)
    worst = max(high for _, high in _difference(half, between))
    assert worst <= 1
    with service.client.request("GET", f"/v1/jobs/{job.id}/original") as answer:
        assert Image.open(BytesIO(answer.read())).tobytes() == Image.open(BytesIO(large)).tobytes()
    assert job.status()["computing"].endswith("fp32")
    assert parts(service) > before
    job.cancel()
    deadline = time.monotonic() + 20
    while parts(service) != before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert parts(service) == before, "a job that is forgotten leaves no previews"


def _difference(first, second):
    from PIL import ImageChops

    return ImageChops.difference(first, second.convert("RGB")).getextrema()


def test_results_in_another_format_keep_their_metadata(service, photo, tmp_path):
    job = service.client.begin(photo)
    as_jpeg = job.result(format="jpg", quality=90)
    assert as_jpeg == by_command(tmp_path, photo, "restore", "--quality", "90", target="out.jpg")
    assert Image.open(BytesIO(as_jpeg)).getexif()[315] == "A. Photographer"
    assert 315 not in Image.open(BytesIO(job.result(format="jpg", strip_metadata=True))).getexif()


def parts(service):
    """Unfinished files, and the previews of jobs that are still known."""
    return {path.name for path in service.cache.iterdir() if path.name.startswith("part-")}


def test_a_cancelled_job_ends_between_two_tiles_and_the_next_is_served(service, large, photo):
    before = parts(service)
    job = service.client.begin(large, task="denoise", model="msrn-m6r1s2-denoise")
    for event in job.events():
        if event.name == "tile":
            break
    watching = service.client.request("GET", f"/v1/jobs/{job.id}/events")
    job.cancel()
    assert b"event: cancelled" in watching.read()
    with pytest.raises(RefusedError) as gone:
        job.status()
    assert gone.value.status == 404
    service.client.restore(photo)
    assert parts(service) == before


GRAY = encoded(Image.new("L", (40, 40), 90))
FRAMES = encoded(Image.new("L", (40, 40), 90), "GIF", save_all=True, append_images=[Image.new("L", (40, 40), 9)])
CLEAR = encoded(Image.new("RGBA", (40, 40), (90, 90, 90, 9)))


@pytest.mark.parametrize(
    ("data", "options", "status", "code", "words"),
    [
        (b"hello", {}, 415, "unknown_format", "is not an image"),
        (b"", {}, 422, "bad_image", "empty"),
        (GRAY[:-20], {}, 422, "bad_image", "truncated or damaged"),
        (FRAMES, {}, 422, "several_pictures", "holds several frames. Save the one you want"),
        (bomb(), {}, 413, "too_many_pixels", "1,000,000 pixels"),
        (GRAY, {"task": "upscale", "to": "2000x"}, 413, "too_many_pixels", "2,000×2,000"),
        (GRAY, {"to": "20x"}, 422, "bad_options", "smaller 20×20"),
        (GRAY, {"task": "denoise", "scale": 2}, 422, "bad_options", "does not enlarge"),
        (GRAY, {"scale": 2, "to": "99x"}, 422, "bad_options", "not both"),
        (GRAY, {"task": "denoise", "model": "msrn-m4r1s2-sr"}, 422, "bad_options", "GET /v1/models"),
        (CLEAR, {"format": "jpg"}, 422, "bad_options", "transparent"),
        (GRAY, {"strength": 2}, 422, "bad_request", "strength: input should be less than or equal to 1"),
        (GRAY, {"stregth": 1}, 422, "bad_request", "stregth is no option"),
        (GRAY, {"model": "../../etc/passwd", "task": "denoise"}, 422, "bad_request", "model"),
    ],
)
def test_refusals_have_a_status_a_code_and_plain_words(service, data, options, status, code, words):
    with pytest.raises(RefusedError) as refused:
        service.client.restore(data, **options)
    assert (refused.value.status, refused.value.code) == (status, code)
    assert words in str(refused.value)


def test_requests_without_a_picture_are_refused(service):
    for body, headers, status in (
        (b"{}", {"Content-Type": "application/json"}, 415),
        (b"--x--", {"Content-Type": "multipart/form-data; boundary=x"}, 422),
        (b"what", {"Content-Type": "multipart/form-data"}, 422),
    ):
        with pytest.raises(RefusedError) as refused:
            service.client.request("POST", "/v1/restore", body, headers)
        assert refused.value.status == status
    with pytest.raises(RefusedError) as refused:
        service.client.request("GET", "/v1/jobs/0123456789012345678901")
    assert refused.value.status == 404


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_a_worker_that_is_killed_in_a_request_costs_nothing(service, large, photo):
    before = parts(service)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(service.client.restore(large, task="dejpeg", quality=94)))
    asking.start()
    job = None
    while job is None or job["process"] == []:
        time.sleep(0.05)
        job = {"process": service.children()}
    time.sleep(0.3)
    for pid in job["process"]:
        os.kill(pid, signal.SIGKILL)
    asking.join(120)
    assert Image.open(BytesIO(answers[0])).size == (640, 560)
    service.client.restore(photo)
    assert not set(job["process"]) & set(service.children())
    assert parts(service) == before


def test_a_client_that_goes_away_frees_its_place(service, large, photo):
    head = f"POST /v1/restore?task=denoise&quality=93 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(large)}\r\n"
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(head.encode() + b"Content-Type: image/jpeg\r\n\r\n" + large)
        time.sleep(0.5)
    service.client.restore(photo)
    figures = service.client.request("GET", "/metrics").read().decode()
    assert "msrn_waiting 0.0" in figures
    assert "msrn_workers 1.0" in figures


def test_a_full_queue_says_when_to_come_again_a_token_is_asked_for_and_sigterm_drains(tmp_path, large, photo):
    service = Service(tmp_path / "own", "--precision", "fp32", "--waiting", "1", "--idle", "1", MSRN_TOKEN="secret")
    with pytest.raises(RefusedError) as stranger:
        Client(service.address).models()
    assert stranger.value.status == 401
    assert Client(service.address).request("GET", "/healthz").read() == b'{"status":"ok","waiting":0}'
    service.client.restore(photo)
    time.sleep(2.5)  # longer than it may be idle
    assert service.children() == [], "an idle service gives its memory back"
    service.client.patience = 0
    job = service.client.begin(large, task="dejpeg")
    refusals = []
    for k in range(4):
        try:
            service.client.begin(photo, quality=k + 1)
        except RefusedError as error:
            refusals.append(error)
    assert {error.status for error in refusals} == {429}
    assert all(error.retry_after and error.retry_after >= 1 for error in refusals)
    watching = service.client.request("GET", f"/v1/jobs/{job.id}/events")
    service.process.terminate()
    time.sleep(0.3)
    with pytest.raises(RefusedError):
        service.client.restore(photo, quality=50)
    assert b"event: done" in watching.read()
    assert service.ended() == 0
