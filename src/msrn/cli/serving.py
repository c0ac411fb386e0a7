"""The command that serves the page and the API: serve."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from msrn.cli import options
from msrn.cli.console import say, show_log
from msrn.cli.options import ADVANCED, LIMITS, SERVICE, SPEED, at_least


@Parameter(name="*", group=SERVICE)
@dataclass(frozen=True, kw_only=True)
class AddressOptions:
    """Options on who can reach it."""

    open: bool = False
    """Open the page in the browser."""
    host: str = "127.0.0.1"
    """Address to listen on; others need a token."""
    port: Annotated[int, Parameter(alias="-p", validator=at_least(0, 65535), show_default=str)] = 8765
    """Port; 0 takes a free one."""
    allow_host: list[str] | None = None
    """Another name it may be called by; may be repeated."""
    behind_proxy: list[str] | None = None
    """Address of a proxy to believe; may be repeated."""
    without_token: bool = False
    """Let everybody in who can reach it."""


@Parameter(name="*", group=LIMITS)
@dataclass(frozen=True, kw_only=True)
class ServiceLimitOptions:
    """Options on what is taken."""

    max_bytes: Annotated[int, Parameter(validator=at_least(1))] = 64 << 20
    """Refuse larger files."""
    max_pixels: Annotated[int, Parameter(validator=at_least(1))] = 50_000_000
    """Refuse larger pictures and results."""
    waiting: Annotated[int, Parameter(validator=at_least(1))] = 32
    """Pictures that may wait."""
    seconds: Annotated[float, Parameter(validator=at_least(1))] = 120.0
    """Give a request up that takes longer."""
    cache: Path | None = None
    """Folder for files and results."""
    cache_bytes: Annotated[int, Parameter(validator=at_least(0))] = 2 << 30
    """How much of them to keep."""


@Parameter(name="*", group=SPEED)
@dataclass(frozen=True, kw_only=True)
class ServiceSpeedOptions:
    """Options on what computes, and when it rests."""

    device: options.Device = "auto"
    backend: options.Backend = "auto"
    precision: options.NetworkPrecision = "auto"
    workers: Annotated[int, Parameter(validator=at_least(1, 64))] = 1
    """Pictures restored at once."""
    idle: Annotated[float, Parameter(validator=at_least(1))] = 60.0
    """Give memory back after so many seconds without work."""


def serve(
    *,
    address: AddressOptions = AddressOptions(),
    limits: ServiceLimitOptions = ServiceLimitOptions(),
    speed: ServiceSpeedOptions = ServiceSpeedOptions(),
    launcher: Annotated[Path | None, Parameter(group=ADVANCED)] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Serve a page to drop photographs on, and an API for programs.

    $ msrn serve --open
    $ msrn serve --port 9000 --workers 2 --max-pixels 100000000

    Args:
        launcher: Only write a file into this folder that opens the page when it is double-clicked.
    """
    show_log(verbose, quiet)
    if launcher is not None:
        from msrn.service.launcher import write_launcher

        say(f"written: {write_launcher(launcher)}")
        return
    from msrn.service.server import serve as serve_until_ended
    from msrn.service.settings import ServiceSettings, token_from_environment
    from msrn.system.machine import cache_folder

    settings = ServiceSettings(
        host=address.host,
        port=address.port,
        allowed_hosts=tuple(address.allow_host or ()),
        trusted_proxies=tuple(address.behind_proxy or ()),
        token=token_from_environment(),
        without_token=address.without_token,
        max_bytes=limits.max_bytes,
        max_pixels=limits.max_pixels,
        waiting=limits.waiting,
        waiting_per_client=max(1, limits.waiting // 2),
        workers=speed.workers,
        seconds=limits.seconds,
        idle_seconds=speed.idle,
        cache=limits.cache or cache_folder() / "service",
        cache_bytes=limits.cache_bytes,
        device=speed.device,
        backend=speed.backend,
        precision=speed.precision,
    )
    serve_until_ended(settings, open_page=address.open, say=lambda text: None if quiet else say(f"msrn: {text}"))
