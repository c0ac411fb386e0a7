"""What a service is started with."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from msrn.errors import UsageError
from msrn.system.machine import cache_folder
from msrn.types import BackendName, Precision

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PORT = 8765


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """Everything that can be chosen about a service; the defaults are for one person's computer.

    Raises:
        UsageError: choices that would be unsafe, or make no sense.
    """

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = PORT
    """0 takes any free port."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, besides those of this computer, under which it may be called."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses of proxies whose word on the client's address is taken."""
    token: str = ""
    """What clients of the API must present; empty lets everybody in who can reach it."""
    without_token: bool = False
    """Listen on other addresses than this computer's own without a token."""
    max_bytes: int = 64 << 20
    """Of a picture's file."""
    max_pixels: int = 50_000_000
    """Of a picture, before and after it is enlarged."""
    waiting: int = 32
    """How many pictures may wait."""
    waiting_per_client: int = 16
    """How many of these may be of one client."""
    workers: int = 1
    """How many pictures are restored at once, each by a process of its own."""
    seconds: float = 120.0
    """An answer to ``POST /v1/restore`` that takes longer is given up."""
    job_seconds: float = 1800.0
    """Likewise a job, once it has begun."""
    decode_seconds: float = 30.0
    """Files that take longer to decode are given up."""
    upload_seconds: float = 10.0
    """Clients that send nothing for so long are sent away; a whole file may take ten times that."""
    idle_seconds: float = 60.0
    """After so long without work, workers end and their memory is free."""
    drain_seconds: float = 30.0
    """What is under way may take so long when the service is asked to end."""
    job_kept_seconds: float = 3600.0
    """How long a finished job is remembered."""
    cache: Path = field(default_factory=lambda: cache_folder() / "service")
    """Folder for files that came in and results; it is this service's own."""
    cache_bytes: int = 2 << 30
    """How much is kept there beyond what is being worked on."""
    device: str = "auto"
    backend: BackendName = "auto"
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        if self.host not in LOOPBACK and not self.token and not self.without_token:
            raise UsageError(
                f"listening on {self.host} lets others in: set a token (MSRN_TOKEN), or say --without-token"
            )
        if min(self.max_bytes, self.max_pixels, self.waiting, self.waiting_per_client, self.workers) < 1:
            raise UsageError("limits must be at least 1")


def token_from_environment() -> str:
    """The token in ``$MSRN_TOKEN``, which unlike an option no other user of the computer can see; empty without."""
    return os.environ.get("MSRN_TOKEN", "")
