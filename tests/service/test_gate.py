"""Who may ask: not websites that make a browser send requests, not strangers without the token."""

import pytest
from starlette.datastructures import Headers

from msrn.errors import UsageError
from msrn.service.gate import Gate
from msrn.service.settings import ServiceSettings


def nowhere(*_):
    raise AssertionError


def refusal(settings, headers, method="POST", path="/v1/restore"):
    gate = Gate(nowhere, settings)
    error = gate.refusal(method, path, Headers(headers))
    return error and error.code


OWN = ServiceSettings()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8765", "[::1]:8765", "LOCALHOST:1"])
def test_this_computers_names_are_let_in(host):
    assert refusal(OWN, {"host": host}) is None


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "localhost.evil.example", "localhost@evil.example", "evil.example#localhost", "[x", "a b"],
)
def test_other_names_are_not_for_they_may_be_rebound(host):
    assert refusal(OWN, {"host": host}) == "wrong_host"


def test_more_names_can_be_allowed():
    assert refusal(ServiceSettings(allowed_hosts=("Photos.example",)), {"host": "photos.example"}) is None


@pytest.mark.parametrize(
    ("headers", "method", "path", "code"),
    [
        ({"origin": "http://localhost:8765"}, "POST", "/v1/jobs", None),
        ({"origin": "http://evil.example"}, "POST", "/v1/jobs", "wrong_origin"),
        ({"origin": "http://localhost:9999"}, "POST", "/v1/jobs", "wrong_origin"),
        ({"origin": "null"}, "POST", "/v1/jobs", "wrong_origin"),
        ({"origin": "http://evil.example"}, "GET", "/metrics", "wrong_origin"),
        ({"sec-fetch-site": "cross-site"}, "POST", "/v1/jobs", "wrong_origin"),
        ({"sec-fetch-site": "cross-site"}, "GET", "/v1/models", "wrong_origin"),
        ({"sec-fetch-site": "cross-site"}, "GET", "/", None),  # a link to the page
        ({"sec-fetch-site": "same-origin"}, "POST", "/v1/jobs", None),
    ],
)
def test_other_websites_are_kept_out(headers, method, path, code):
    assert refusal(OWN, {"host": "localhost:8765"} | headers, method, path) == code


@pytest.mark.parametrize(
    ("given", "path", "code"),
    [
        ({}, "/v1/models", "no_token"),
        ({}, "/metrics", "no_token"),
        ({}, "/healthz", None),
        ({}, "/", None),
        ({"authorization": "Bearer wrong"}, "/v1/models", "no_token"),
        ({"authorization": "Basic s3cret"}, "/v1/models", "no_token"),
        ({"authorization": "Bearer s3cret"}, "/v1/models", None),
    ],
)
def test_a_token_is_asked_for_where_there_is_one(given, path, code):
    assert refusal(ServiceSettings(token="s3cret"), {"host": "localhost"} | given, "GET", path) == code


def test_listening_to_others_takes_a_token_or_an_explicit_word():
    with pytest.raises(UsageError, match="lets others in"):
        ServiceSettings(host="0.0.0.0")
    assert ServiceSettings(host="0.0.0.0", token="x").token
    assert ServiceSettings(host="0.0.0.0", without_token=True).without_token
    with pytest.raises(UsageError, match="at least 1"):
        ServiceSettings(workers=0)
