"""Who may ask: the first thing that a request meets.

A page on another website can make a browser send requests here. It is kept out by the name it calls this service by
(after DNS rebinding that is its own name) and by the origin that browsers state; nothing allows it to read an answer.
"""

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from msrn.service.problems import ProblemError
from msrn.service.settings import LOOPBACK, ServiceSettings

_SAFE = {"GET", "HEAD", "OPTIONS"}
_NEEDS_TOKEN = ("/v1/", "/metrics")
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
"""With every answer."""


class Gate:
    """ASGI middleware that lets through who may ask, and adds security headers to every answer.

    Args:
        app: what is behind it.
        settings: the names it goes by, and the token.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self.app, self.token = app, settings.token
        self.hosts = {*LOOPBACK, *(name.lower() for name in settings.allowed_hosts)}
        if settings.host not in ("0.0.0.0", "::"):
            self.hosts.add(settings.host.lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refused = self.refusal(scope["method"], scope["path"], Headers(scope=scope))
        if refused is not None:
            await refused.response()(scope, receive, secured)
        else:
            await self.app(scope, receive, secured)

    def refusal(self, method: str, path: str, headers: Headers) -> ProblemError | None:
        """What to say to somebody who may not ask; None for who may."""
        host = _host_of(headers.get("host", ""))
        if host not in self.hosts:
            return ProblemError("wrong_host", f"The name {host[:80]!r} is not one of this service's.")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
            return ProblemError("wrong_origin", f"The request comes from {origin[:80]!r}.")
        if headers.get("sec-fetch-site") == "cross-site" and (method not in _SAFE or path.startswith("/v1/")):
            return ProblemError("wrong_origin", "The request comes from another website.")
        if self.token and path.startswith(_NEEDS_TOKEN) and not self._presented(headers):
            return ProblemError("no_token", "This service takes requests with its token only.")
        return None

    def _presented(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self.token.encode())


def _host_of(header: str) -> str:
    """The name in a Host header, without the port; empty if it is none."""
    try:
        parts = urlsplit(f"//{header}")
        return (parts.hostname or "") if parts.path == "" and "@" not in header and parts.port != 0 else ""
    except ValueError:
        return ""
