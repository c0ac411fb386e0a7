"""Pictures of a plan, read ahead of whoever restores them, and what a single one may cost."""

import hashlib
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from msrn import images
from msrn.batch.plan import STDIO, Job
from msrn.images.isolated import Decoder
from msrn.images.picture import Picture
from msrn.types import MAX_FRAMES, MAX_SECONDS

Loaded = tuple[Picture, str]
"""A picture, and the SHA-256 of its file."""


@dataclass(frozen=True)
class Limits:
    """What a single input may cost."""

    pixels: int = images.MAX_PIXELS
    """Largest image or frame."""
    bytes: int = images.MAX_BYTES
    """Largest image file."""
    seconds: float = MAX_SECONDS
    """Longest time for decoding an image or a frame."""
    frames: int = MAX_FRAMES
    """Longest video."""


@contextmanager
def reading(
    jobs: Sequence[Job], limits: Limits, workers: int, decoder: Decoder
) -> Generator[Iterator[tuple[Job, Callable[[], Loaded] | None]]]:
    """The jobs in order, each with what waits for its picture; ``workers`` of them are read ahead. Videos are not read.

    Whoever calls for a picture gets the only reference to it. At the end, ``decoder`` is closed.
    """
    ended = threading.Event()
    readers = ThreadPoolExecutor(workers)

    def load(job: Job) -> Loaded:
        if job.source == STDIO:
            data = images.read_stream(sys.stdin.buffer, job.source, limits.bytes, ended.is_set)
        else:
            data = images.read_bytes(job.source, limits.bytes, ended.is_set)
        return decoder.decode(data, job.source), hashlib.sha256(data).hexdigest()

    def ahead() -> Iterator[tuple[Job, Callable[[], Loaded] | None]]:
        waiting: deque[tuple[Job, Callable[[], Loaded] | None]] = deque()
        for job in jobs:
            waiting.append((job, None if job.is_video else partial(_take, [readers.submit(load, job)])))
            if len(waiting) > workers:
                yield waiting.popleft()
        yield from waiting

    try:
        yield ahead()
    finally:
        ended.set()  # or a pipe in which nothing comes would keep a thread
        readers.shutdown(wait=False, cancel_futures=True)
        decoder.close()  # whoever waits for it now fails
        readers.shutdown()
        decoder.close()  # whoever was about to ask it has started it again


def _take(only: list[Future[Loaded]]) -> Loaded:
    return only.pop().result()
