"""How much a client may send, and how slowly: limits that hold before anything is stored."""

import asyncio
import time
from contextlib import suppress
from typing import cast

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from msrn.service.problems import ProblemError
from msrn.service.settings import ServiceSettings

_FORM = 64 << 10
"""Bytes that a form may add to its picture."""
_LINGER_BYTES = 32 << 20
_LINGER_SECONDS = 3.0
_READ_SECONDS = 60.0
"""A client that reads nothing for so long is gone."""


class Traffic:
    """ASGI middleware: the largest body, the slowest body, and clients that do not read their answer.

    A client whose body is refused is still listened to for a moment: closing at once would reset the connection, and
    most clients would never see the answer.

    Args:
        app: what is behind it.
        settings: the limits.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, with its body and its answer watched."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        watched = _Body(scope, receive, self.settings)

        async def patient(message: Message) -> None:
            last = message["type"] == "http.response.body" and not message.get("more_body")
            if last and not watched.complete:
                await _within(send({**message, "more_body": True}))
                await watched.linger()
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await _within(send(message))

        with suppress(TimeoutError):  # who does not read gets no more; uvicorn closes the connection
            await self.app(scope, watched.receive, patient)


async def _within(sending: object) -> None:
    await asyncio.wait_for(sending, _READ_SECONDS)  # pyright: ignore[reportArgumentType]


class _Body:
    """A request's body, counted and timed."""

    def __init__(self, scope: Scope, receive: Receive, settings: ServiceSettings) -> None:
        headers = Headers(scope=scope)
        self._receive, self._settings, self._size = receive, settings, 0
        self._most = settings.max_bytes + (_FORM if "multipart" in headers.get("content-type", "") else 0)
        self._deadline = time.monotonic() + 10 * settings.upload_seconds
        length = headers.get("content-length", "0")
        self._announced = int(length) if length.isdigit() else 0
        # Without either header there is no body.
        self.complete = length == "0" and "transfer-encoding" not in headers

    async def receive(self) -> Message:
        """The next part of the body; once it is complete, whatever comes then."""
        if self.complete:
            return await self._receive()
        if self._announced > self._most:
            raise self._too_large()
        left = min(self._settings.upload_seconds, self._deadline - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, left))
        except TimeoutError:
            raise ProblemError("slow_upload") from None
        self._count(message)
        if self._size > self._most:
            raise self._too_large()
        return message

    async def linger(self) -> None:
        """Read on for nothing, for a moment."""
        end = time.monotonic() + _LINGER_SECONDS
        with suppress(TimeoutError):
            while not self.complete and self._size < self._most + _LINGER_BYTES:
                self._count(await asyncio.wait_for(self._receive(), max(0.0, end - time.monotonic())))

    def _count(self, message: Message) -> None:
        self._size += len(message.get("body", b""))
        self.complete = message["type"] == "http.disconnect" or not message.get("more_body", False)

    def _too_large(self) -> ProblemError:
        return ProblemError("too_many_bytes", f"A file may have {self._settings.max_bytes:,} bytes here, not more.")


class PatientProtocol(H11Protocol):
    """HTTP of a connection that must not take for ever to ask: clients that send half a header are sent away."""

    header_seconds = 15.0
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Give the first request its time."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Give the next request its time."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        if self._waiting is not None:
            self._waiting.cancel()
        super().connection_lost(exc)

    def _watch(self) -> None:
        asking = self._asking()
        if self._waiting is not None and not asking:
            self._waiting.cancel()
            self._waiting = None
        elif self._waiting is None and asking:
            self._waiting = self.loop.call_later(self.header_seconds, self._give_up)

    def _asking(self) -> bool:
        cycle = cast(RequestResponseCycle | None, self.cycle)
        return cycle is None or cycle.response_complete

    def _give_up(self) -> None:
        self._waiting = None
        if self._asking() and not self.transport.is_closing():
            self.transport.close()
