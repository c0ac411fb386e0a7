"""A client of the service for Python programs; it needs nothing but the standard library.

Example:
    >>> client = Client()  # of a service on this computer: msrn serve
    >>> Path("restored.png").write_bytes(client.restore("photo.jpg"))
    >>> job = client.begin("large.jpg", task="upscale", scale=4)
    >>> for event in job.events():
    ...     print(event.name, event.data)
    >>> Path("large.png").write_bytes(job.result())
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, cast
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

from msrn.errors import MSRNError

_TIMEOUT = 600.0


class RefusedError(MSRNError):
    """The service refused a request.

    Args:
        problem: as the service describes it.
        retry_after: seconds after which it is worth trying again, if the service says so.
    """

    def __init__(self, problem: dict[str, Any], retry_after: float | None = None) -> None:
        super().__init__(f"{problem.get('detail', 'refused')} {problem.get('help', '')}".strip())
        self.code = str(problem.get("code", ""))
        self.status = int(problem.get("status", 0))
        self.retry_after = retry_after


@dataclass(frozen=True)
class ServiceEvent:
    """Something that happened to a job."""

    name: str
    """queued, running, decoded, found, preview, tile, done, failed or cancelled."""
    data: dict[str, Any]
    """As /v1/openapi.json describes it."""


class Client:
    """A service's client; several threads may share one.

    Args:
        address: of the service.
        token: the service's, if it has one.
        timeout: seconds without a word from the service after which a request is given up.
        patience: how often a request is sent again after the service said that it is full, when it said to.
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8765",
        token: str = "",
        timeout: float = _TIMEOUT,
        patience: int = 3,
    ) -> None:
        self.address, self.timeout, self.patience = address.rstrip("/"), timeout, patience
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._opener = build_opener(ProxyHandler({}))  # a service on this computer is not behind a proxy

    def restore(self, picture: str | Path | bytes, **options: str | float | bool) -> bytes:
        """Restore a picture.

        Args:
            picture: its file, or the file's content.
            options: as ``POST /v1/restore`` takes them: task, scale, to, strength, format, quality, …

        Returns:
            The restored picture's file.

        Raises:
            RefusedError: the service refused, or cannot be reached.
        """
        with self._send("POST", "/v1/restore", picture, options) as answer:
            return answer.read()

    def begin(self, picture: str | Path | bytes, **options: str | float | bool) -> "ServiceJob":
        """Begin a job; otherwise as :meth:`restore`."""
        with self._send("POST", "/v1/jobs", picture, options) as answer:
            return ServiceJob(self, json.load(answer)["id"])

    def models(self) -> list[dict[str, Any]]:
        """The weights that the service has."""
        with self.request("GET", "/v1/models") as answer:
            return json.load(answer)["models"]

    def _send(
        self, method: str, path: str, picture: str | Path | bytes, options: dict[str, str | float | bool]
    ) -> HTTPResponse:
        data = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
        name = "picture" if isinstance(picture, bytes) else Path(picture).name
        given = {key: str(value).lower() if isinstance(value, bool) else value for key, value in options.items()}
        headers = {"Content-Type": "application/octet-stream", "X-File-Name": quote(name)}
        return self.request(method, f"{path}?{urlencode(given)}", data, headers)

    def request(
        self, method: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None
    ) -> HTTPResponse:
        """Send any request; the answer must be closed.

        Raises:
            RefusedError: the service refused, or cannot be reached.
        """
        for attempt in range(self.patience + 1):
            request = Request(self.address + path, data, self._headers | (headers or {}), method=method)
            try:
                return cast(HTTPResponse, self._opener.open(request, timeout=self.timeout))
            except HTTPError as error:
                refused = _refusal(error)
                if refused.status != 429 or attempt == self.patience:
                    raise refused from None
                time.sleep(refused.retry_after or 1)
            except (URLError, OSError) as error:
                why = getattr(error, "reason", error)
                raise RefusedError({"detail": f"{self.address} cannot be reached: {why}."}) from error
        raise AssertionError


class ServiceJob:
    """A job of a service.

    Args:
        client: whose it is.
        job_id: its name there.
    """

    def __init__(self, client: Client, job_id: str) -> None:
        self._client, self.id = client, job_id
        self._path = f"/v1/jobs/{job_id}"

    def status(self) -> dict[str, Any]:
        """How it is, as ``GET /v1/jobs/{id}`` tells it."""
        with self._client.request("GET", self._path) as answer:
            return json.load(answer)

    def events(self) -> Iterator[ServiceEvent]:
        """What happens to it, until it ends."""
        with self._client.request("GET", f"{self._path}/events") as answer:
            name, data = "", ""
            for line in (raw.decode().rstrip("\n") for raw in answer):
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    data = value
                elif not line and name:
                    yield ServiceEvent(name, json.loads(data))
                    name = ""

    def result(self, **how: str | float | bool) -> bytes:
        """Wait until it is done; the restored picture's file, in another format or less strongly if asked to.

        Raises:
            RefusedError: it failed, or was cancelled.
        """
        for _ in self.events():
            pass
        problem = self.status()["problem"]
        if problem:
            raise RefusedError(problem)
        given = {key: str(value).lower() if isinstance(value, bool) else value for key, value in how.items()}
        with self._client.request("GET", f"{self._path}/result?{urlencode(given)}") as answer:
            return answer.read()

    def cancel(self) -> None:
        """Cancel it, or forget it when it is done."""
        self._client.request("DELETE", self._path).close()


def _refusal(error: HTTPError) -> RefusedError:
    try:
        problem = json.loads(error.read())
    except (ValueError, OSError):
        problem = {"detail": f"the service answered {error.code}", "status": error.code}
    after = error.headers.get("Retry-After")
    return RefusedError(problem, float(after) if after else None)
