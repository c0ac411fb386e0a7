"""The server: listens, says where, and ends in good order."""

import asyncio
import json
import os
import socket
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import BinaryIO
from urllib.request import ProxyHandler, build_opener

import uvicorn

from msrn.errors import UsageError
from msrn.service.application import application
from msrn.service.jobs import Jobs
from msrn.service.kept_files import claimed
from msrn.service.settings import ServiceSettings
from msrn.service.traffic import PatientProtocol
from msrn.system.atomic import write_atomically
from msrn.system.private_files import read_private

_CONNECTIONS = 512
_ADDRESS = ".address"
"""File of the service's folder that says where its page is."""


class _Server(uvicorn.Server):
    """A server that, when asked to end, lets what is under way finish first."""

    def __init__(self, config: uvicorn.Config, jobs: Jobs, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._jobs = jobs
        self._ready = ready
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin, and say so: from now on a signal ends it as it should."""
        await super().startup(sockets)
        self._ready()

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
        UsageError: the address is taken or is none of this computer's, or the folder for files is another's.
    """
    if open_page and (address := _running(settings)):
        say(f"the page is at {address} already")
        _open_page(address, settings)
        return
    with _listening(settings) as listening, claimed(settings.cache):
        address = _address(settings, listening.getsockname()[1])
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

        def ready() -> None:
            _tell_address(settings, address)
            say(f"the page is at {address}, its API at {address}v1/ (Ctrl-C ends it)")
            if open_page:
                _open_page(address, settings)

        try:
            _Server(config, jobs, ready).run(sockets=[listening])
        finally:
            (settings.cache / _ADDRESS).unlink(missing_ok=True)


def _listening(settings: ServiceSettings) -> socket.socket:
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
    return listening


def _address(settings: ServiceSettings, port: int) -> str:
    host = "localhost" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _open_page(address: str, settings: ServiceSettings) -> None:
    webbrowser.open(address + (f"#token={settings.token}" if settings.token else ""))


def _running(settings: ServiceSettings) -> str:
    """The address of the service that has the folder for files, if it answers; else empty."""
    with suppress(OSError, ValueError):
        address = read_private(settings.cache / _ADDRESS).decode()
        with build_opener(ProxyHandler({})).open(f"{address}healthz", timeout=2) as answer:
            if json.load(answer).get("status") == "ok":
                return address
    return ""


def _tell_address(settings: ServiceSettings, address: str) -> None:
    """Leave the address for whoever starts the same again, to look at it."""

    def write(file: BinaryIO) -> None:
        if os.name == "posix":
            os.fchmod(file.fileno(), 0o600)
        file.write(address.encode())

    write_atomically(settings.cache / _ADDRESS, write)
