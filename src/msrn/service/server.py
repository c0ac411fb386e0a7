"""The server: listens, says where, and ends in good order."""

import asyncio
import socket
import webbrowser
from collections.abc import Callable
from types import FrameType

import uvicorn

from msrn.errors import UsageError
from msrn.service.application import application
from msrn.service.jobs import Jobs
from msrn.service.settings import ServiceSettings
from msrn.service.traffic import PatientProtocol

_CONNECTIONS = 512


class _Server(uvicorn.Server):
    """A server that, when asked to end, lets what is under way finish first."""

    def __init__(self, config: uvicorn.Config, jobs: Jobs) -> None:
        super().__init__(config)
        self._jobs = jobs
        self._draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, end at the second."""
        if self._draining is not None:
            super().handle_exit(sig, frame)
            return
        loop = asyncio.get_running_loop()
        self._jobs.ending = True
        self._draining = loop.create_task(self._drain())

    async def _drain(self) -> None:
        await self._jobs.drained()
        self.should_exit = True


def serve(
    settings: ServiceSettings, *, open_page: bool = False, say: Callable[[str], None] = lambda text: None
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        settings: how.
        open_page: open the page in the user's browser.
        say: gets the address.

    Raises:
        UsageError: the address is taken or is none of this computer's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
        listening.listen(_CONNECTIONS)  # whoever is told the address may come at once
    except OSError as error:
        listening.close()
        hint = "; choose another by --port" if settings.port else ""
        raise UsageError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}{hint}") from error
    port: int = listening.getsockname()[1]
    shown = f"[{settings.host}]" if family == socket.AF_INET6 else settings.host
    address = f"http://{'localhost' if settings.host in ('0.0.0.0', '::') else shown}:{port}/"
    app, jobs = application(settings)
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=32 << 10,
    )
    say(f"the page is at {address}, its API at {address}v1/ (Ctrl-C ends it)")
    if open_page:
        webbrowser.open(address + (f"#token={settings.token}" if settings.token else ""))
    with listening:
        _Server(config, jobs).run(sockets=[listening])
