"""Files under way: the next one is decoded and the last one encoded while the network has the one between.

Small pictures do not wait for each other: as many as there are cores are restored at once, by threads of their own that
also encode them.
"""

import errno
import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from msrn import images
from msrn.batch.decision import Decision, Outcome
from msrn.batch.plan import Job
from msrn.batch.work import Work
from msrn.errors import ImageError, MSRNError, SeveralPicturesError
from msrn.images import Frames
from msrn.images.isolated import Decoder
from msrn.images.picture import Picture
from msrn.restoration.tile_plan import SMALL
from msrn.system.machine import cores

T = TypeVar("T")
_Loaded = tuple[Picture | Frames, str]
"""A picture, or those of a file that holds several, and the SHA-256 of the file."""
_HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def is_hopeless(error: MSRNError) -> bool:
    """Whether every other file would meet the error as well, as when the disk is full."""
    return getattr(error.__cause__, "errno", None) in _HOPELESS


class Pipeline:
    """Files under way. Whoever leaves it early waits for what has begun to be restored, and for nothing else.

    Args:
        work: reads, restores and writes a job's file.
        decoder: decodes what was read; it is closed.
        settle: called with what became of each job, by the thread that runs the pipeline.
        workers: how many files are decoded, and how many large ones encoded, beside the network.
        several: restore small pictures side by side.
    """

    def __init__(
        self, work: Work, decoder: Decoder, settle: Callable[[Outcome], None], workers: int, several: bool
    ) -> None:
        self._work, self._decoder, self._settle = work, decoder, settle
        self._workers, self._several = workers, several
        self._readers, self._writers = ThreadPoolExecutor(workers), ThreadPoolExecutor(workers)
        self._lanes = ThreadPoolExecutor(cores() + 2)
        self._restoring, self._encoding = deque[tuple[Job, Future[Outcome]]](), deque[tuple[Job, Future[Outcome]]]()
        self._ended = threading.Event()

    def __enter__(self) -> "Pipeline":
        self._writers.submit(images.get_ready)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()  # or a pipe in which nothing comes would keep a reader
        for pool in (self._readers, self._lanes):
            pool.shutdown(wait=False, cancel_futures=True)
        self._decoder.close()  # whoever waits for it now fails
        self._readers.shutdown()
        self._decoder.close()  # whoever was about to ask it has started it again
        self._writers.shutdown()
        self._lanes.shutdown()

    def run(self, jobs: Iterable[Job]) -> None:
        """Restore all files, and settle what became of each."""
        for job, ahead in self._read_ahead(jobs):
            if not job.is_picture:
                self._wait(self._restoring, self._encoding)
                self._settle(_attempt(job, partial(self._work.restore_in_parts, job)))
                continue
            beside = _attempt(job, partial(self._begin, job, ahead))
            if isinstance(beside, Outcome):
                self._settle(beside)
            elif not isinstance(beside, int):
                self._wait(self._restoring, self._encoding)
                self._settle(_attempt(job, beside))
            elif beside > 1:
                self._wait(self._restoring, left=beside + 1)
            self._wait(self._encoding, left=self._workers)
        self._wait(self._restoring, self._encoding)

    def _read_ahead(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, list[Future[_Loaded | Outcome]]]]:
        """The jobs in order; pictures come with the only reference to what loads them, to be taken out."""
        waiting = deque[tuple[Job, list[Future[_Loaded | Outcome]]]]()
        for job in jobs:
            waiting.append((job, [self._readers.submit(self._load, job)] if job.is_picture else []))
            if len(waiting) > self._workers:
                yield waiting.popleft()
        yield from waiting

    def _load(self, job: Job) -> _Loaded | Outcome:
        data = self._work.read(job, self._ended.is_set)
        if isinstance(data, Outcome):
            return data
        path, source, limits = Path(job.name), hashlib.sha256(data).hexdigest(), self._work.limits
        try:
            return self._decoder.decode(data, path, self._work.settings.frame), source
        except SeveralPicturesError:
            return self._decoder.decode_frames(data, path, limits.max_frames), source

    def _begin(self, job: Job, ahead: list[Future[_Loaded | Outcome]]) -> int | Outcome | Callable[[], Outcome]:
        """Start what becomes of a picture; returns how many such pictures are best restored side by side.

        Where there is nothing to restore, it returns the outcome, and of a file of several pictures what restores them.
        """
        loaded = ahead.pop().result()
        if isinstance(loaded, Outcome):
            return loaded
        picture, source = loaded
        if isinstance(picture, Frames):
            return partial(self._work.restore_frames, job, picture, source)
        how = self._work.decide(job, picture)
        at_once = how.restorer.at_once if self._several and how.pixels <= SMALL else 1

        def write(made: Picture, how: Decision) -> Outcome:
            self._work.write(job, made, source, how.confidence)
            return how.outcome(job)

        if at_once > 1:
            restore = partial(self._work.restore, job, picture, how, at_once)
            self._restoring.append((job, self._lanes.submit(lambda: write(*restore()))))
        else:
            picture, how = self._work.restore(job, picture, how)
            self._encoding.append((job, self._writers.submit(write, picture, how)))
        return at_once

    def _wait(self, *queues: deque[tuple[Job, Future[Outcome]]], left: int = 0) -> None:
        """Wait until no more than ``left`` of each queue are under way."""
        for queue in queues:
            while len(queue) > left:
                job, future = queue.popleft()
                self._settle(_attempt(job, future.result))


def _attempt(job: Job, work: Callable[[], T]) -> T | Outcome:
    """Return what ``work`` returns; whatever goes wrong in it is the outcome of this one job."""
    try:
        return work()
    except MSRNError as error:
        return Outcome(job, error)
    except MemoryError as error:
        known = str(error) if type(error) is MemoryError else ""  # numpy's own says something else
        return Outcome(job, ImageError(f"{job.name} needs {known or 'more memory than there is'}"))
    except Exception as error:
        return Outcome(job, MSRNError(f"{job.name}: internal error, please report it: {error!r}"))
