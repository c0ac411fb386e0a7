"""The API is what its description says: requests made from it, good and bad, get documented answers and no fault.

More of them, and what was answered how often:
``MSRN_EXAMPLES=500 python -m pytest tests/service/test_openapi.py --log-cli-level=INFO``.
"""

import json
import logging
import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings

from msrn.service.problems import KINDS, ProblemError

schemathesis = pytest.importorskip("schemathesis")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
EXAMPLES = int(os.environ.get("MSRN_EXAMPLES", "4"))


@pytest.fixture(scope="module")
def described(service):
    """The description, as a program finds it."""
    return schemathesis.openapi.from_url(f"{service.address}/v1/openapi.json")


def test_every_answer_is_as_documented(described, service, photo):
    """Of those on jobs, every second one is about a job that there is."""
    seen = Counter()
    job = service.client.begin(photo)
    job.result()
    for found in described.get_all_operations():
        operation = found.ok()

        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def ask(case):
            if seen.total() % 2 and "job_id" in case.path_parameters:
                forgets = case.method == "DELETE"
                case.path_parameters["job_id"] = service.client.begin(photo).id if forgets else job.id
            answer = case.call(timeout=60)
            seen[case.operation.label, answer.status_code] += 1
            case.validate_response(answer, checks=CHECKS)

        ask()
    logging.getLogger("tests").info("%d requests: %s", seen.total(), sorted(seen.items()))
    assert {"POST /v1/restore", "POST /v1/jobs", "GET /v1/models"} <= {label for label, _ in seen}
    assert {("DELETE /v1/jobs/{job_id}", 204), ("GET /v1/jobs/{job_id}/events", 200)} <= set(seen)
    assert all(status < 500 for _, status in seen)


def test_every_refusal_is_documented_with_an_example(service):
    with service.client.request("GET", "/v1/openapi.json") as answer:
        text = answer.read().decode()
    described = json.loads(text)
    documented = set()
    for operations in described["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            for status, response in operation["responses"].items():
                for kind, content in response.get("content", {}).items():
                    if kind == "application/problem+json":
                        for code, example in content["examples"].items():
                            documented.add(code)
                            assert example["value"]["status"] == int(status) == KINDS[code].status
                            assert example["value"]["help"]
    assert documented == set(KINDS) - {"internal", "wrong_method"}


def test_refusals_name_what_would_work():
    for code in KINDS:
        body = ProblemError(code, retry_after=2.4).body()
        assert body["title"]
        assert body["help"]
    assert ProblemError("queue_full", retry_after=0.2).headers == {"Retry-After": "1"}
