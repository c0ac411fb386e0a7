"""Pictures of a plan, read ahead of whoever restores them, and what a single one may cost."""

import hashlib
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from msrn import images
from msrn.batch.plan import STDIO, Job
from msrn.images.isolated import Decoder
from msrn.images.picture import Picture
from msrn.types import MAX_FRAMES, MAX_SECONDS


@dataclass(frozen=True)
class Limits:
    """What a single input may cost."""

    pixels: int = images.MAX_PIXELS
    """Of an image or a frame."""
    bytes: int = images.MAX_BYTES
    """Of an image's file."""
    seconds: float = MAX_SECONDS
    """For decoding an image or a frame."""
    frames: int = MAX_FRAMES


@contextmanager
def reading(
    jobs: Sequence[Job], limits: Limits, workers: int, guarded: bool
) -> Generator[Iterator[tuple[Job, "Future[tuple[Picture, str]] | None"]]]:
    """The jobs in order, each with its picture and the SHA-256 of its file, some of them read ahead; videos without.

    ``guarded``: decoded by a process of its own, which would protect nothing where there is but one file.
    """
    local, decoders, ended = threading.local(), list[Decoder](), threading.Event()

    def load(job: Job) -> tuple[Picture, str]:
        if job.source == STDIO:
            data = images.read_stream(sys.stdin.buffer, job.source, limits.bytes, ended.is_set)
        else:
            data = images.read_bytes(job.source, limits.bytes, ended.is_set)
        if not guarded:
            return images.decode(data, job.source, max_pixels=limits.pixels), hashlib.sha256(data).hexdigest()
        if not hasattr(local, "decoder"):
            local.decoder = Decoder(limits.pixels, limits.seconds)
            decoders.append(local.decoder)
        return local.decoder.decode(data, job.source), hashlib.sha256(data).hexdigest()

    readers = ThreadPoolExecutor(workers)

    def ahead() -> Iterator[tuple[Job, Future[tuple[Picture, str]] | None]]:
        waiting: deque[tuple[Job, Future[tuple[Picture, str]] | None]] = deque()
        for job in jobs:
            waiting.append((job, None if job.is_video else readers.submit(load, job)))
            if len(waiting) > workers:
                yield waiting.popleft()
        yield from waiting

    try:
        yield ahead()
    finally:
        ended.set()  # or a pipe in which nothing comes would keep a thread
        readers.shutdown(wait=False, cancel_futures=True)
        for decoder in decoders:
            decoder.close()  # whoever waits for one now fails
        readers.shutdown()
        for decoder in decoders:
            decoder.close()
