"""How much may come and how slowly: checked on raw connections, with limits of a fraction of a second."""

import socket
import threading
import time

import pytest
import uvicorn

from msrn.service.application import application
from msrn.service.settings import ServiceSettings
from msrn.service.traffic import PatientProtocol


class Impatient(PatientProtocol):
    header_seconds = 0.6


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """A server that takes 1000 bytes within moments; nothing gets as far as a worker."""
    app, _ = application(ServiceSettings(cache=tmp_path_factory.mktemp("traffic"), max_bytes=1000, upload_seconds=0.5))
    server = uvicorn.Server(uvicorn.Config(app, http=Impatient, port=0, log_level="error", ws="none"))
    running = threading.Thread(target=server.run)
    running.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    running.join()


HEAD = "POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


def say(port, *parts, pause=0.0):
    """Send parts with pauses; everything that is answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for part in parts:
            try:
                connection.sendall(part.encode() if isinstance(part, str) else part)
            except OSError:
                break
            time.sleep(pause)
        answer = b""
        while part := connection.recv(65536):
            answer += part
            head, _, body = answer.partition(b"\r\n\r\n")
            length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            if length and len(body) >= int(length[0].split(b":")[1]):
                break
        return answer.decode()


def test_an_announced_size_is_refused_before_the_first_byte(port):
    answer = say(port, HEAD + "Content-Length: 5000000\r\n\r\n")
    assert "413" in answer.splitlines()[0]
    assert '"code":"too_many_bytes"' in answer
    assert "content-security-policy" in answer


def test_a_body_in_chunks_is_counted(port):
    chunk = "1f4\r\n" + "x" * 500 + "\r\n"
    answer = say(port, HEAD + "Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 20)
    assert "413" in answer.splitlines()[0]


def test_a_client_that_goes_on_sending_still_sees_the_answer(port):
    answer = say(port, HEAD + "Content-Length: 3000000\r\n\r\n", *[b"x" * 100_000] * 30)
    assert "413" in answer.splitlines()[0]


def test_a_body_that_stops_coming_is_given_up(port):
    started = time.monotonic()
    answer = say(port, HEAD + "Content-Length: 900\r\n\r\nxx")
    assert "408" in answer.splitlines()[0]
    assert time.monotonic() - started < 4


def test_half_a_head_is_given_up(port):
    started = time.monotonic()
    assert say(port, "GET /healthz HTTP/1.1\r\nHost:") == ""
    assert time.monotonic() - started < 4


def test_what_is_no_http_is_refused(port):
    assert " 400 " in say(port, "\x16\x03\x01 hello\r\n\r\n").splitlines()[0]


def test_a_form_may_hold_nothing_but_one_small_picture(port):
    field = '--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + "y" * 1500 + "\r\n--x--\r\n"
    head = HEAD.replace("image/png", "multipart/form-data; boundary=x") + f"Content-Length: {len(field)}\r\n\r\n"
    assert '"code":"too_many_bytes"' in say(port, head + field)
    two = '--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\ny\r\n' * 2 + "--x--\r\n"
    head = HEAD.replace("image/png", "multipart/form-data; boundary=x") + f"Content-Length: {len(two)}\r\n\r\n"
    assert '"code":"bad_request"' in say(port, head + two)
