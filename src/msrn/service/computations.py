"""A computation: one picture with its options on its way to a result, watched by any number of clients."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from msrn.service.messages import (
    Cancel,
    Cancelled,
    Decoded,
    Done,
    Event,
    Failed,
    Found,
    Look,
    Preview,
    RestoreOptions,
    TileDone,
    View,
)
from msrn.service.problems import ProblemError, problem_of
from msrn.service.worker_process import WorkerProcess

State = Literal["queued", "running", "done", "failed", "cancelled"]
INTERACTIVE_TILE = 512
"""Side of the tiles where somebody watches: after each, a job can be cancelled and can restore what is looked at."""


@dataclass(frozen=True)
class Upload:
    """A picture that came in, and is kept under its content's name."""

    kept: str
    """Its name among the kept files."""
    sha256: str
    name: str
    """What its sender calls it."""
    size: int


@dataclass(frozen=True)
class Result:
    """A result that is kept."""

    kept: str
    size: int
    note: str
    width: int
    height: int
    steps: tuple[str, ...] = ()
    sigma: float | None = None
    quality: int | None = None
    computing: str = ""
    seconds: float = 0.0
    confidence: dict[str, Any] | None = None
    """See ``messages.Done``."""
    departure: dict[str, Any] | None = None
    heatmap: str = ""
    """The map's name among the kept files, where there is one."""


@dataclass(eq=False)
class Computation:
    """One picture on its way to a result."""

    key: str
    """What decides the result."""
    upload: Upload
    options: RestoreOptions
    client: str
    number: int
    target: Path
    """Where the worker writes it."""
    view: View | None = None
    watched: bool = False
    """Whether somebody wants to see its progress, or only the result."""
    wanted: int = 0
    """How many clients hold it; see :meth:`hold`."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the last client has let go."""
    state: State = "queued"
    found: Found | None = None
    result: Result | None = None
    problem: ProblemError | None = None
    progress: TileDone | None = None
    events: list[tuple[str, Event | None]] = field(default_factory=list)
    """What happened so far, by the names that clients know."""
    worker: WorkerProcess | None = None
    """What restores it at present."""
    ended: float = 0.0
    """When, by the monotonic clock."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._note("queued", None)

    def hold(self) -> None:
        """Note that one more client wants it."""
        self.wanted += 1

    def let_go(self) -> None:
        """Note that a client wants it no more."""
        self.wanted -= 1
        if not self.wanted:
            self.left.set()

    def hear(self, event: Event) -> None:
        """Note what a worker says."""
        if self.finished:
            return
        match event:
            case Decoded():
                self._note("decoded", event)
            case Found():
                self.found = event
                self._note("found", event)
            case Preview():
                self._note("preview", event)
            case TileDone():
                self.progress = event
                self._note("tile", event)
            case _:
                pass

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.state not in ("queued", "running")

    @property
    def previews(self) -> list[Preview]:
        """What can be seen of the result already."""
        return [event for _, event in self.events if isinstance(event, Preview)]

    def begin(self, worker: WorkerProcess) -> None:
        """Note that a worker has it now; after a crash, once more."""
        self.state, self.worker = "running", worker
        self._note("running", None)

    def end(self, state: State, result: Result | None = None, problem: ProblemError | None = None) -> None:
        """Note what became of it."""
        if not self.finished:
            self.state, self.result, self.problem, self.worker = state, result, problem, None
            self.ended = time.monotonic()
            self._note(state, None)

    def fail(self, failed: Failed) -> None:
        """Note that a worker refused."""
        self.end("failed", problem=problem_of(failed))

    def look(self, view: View) -> None:
        """Have what somebody looks at restored before the rest."""
        if self.worker is not None:
            self.worker.tell(Look(self.number, view))
        else:
            self.view = view

    def cancel(self) -> None:
        """Ask the worker to stop after the tile at hand."""
        if self.worker is not None:
            self.worker.tell(Cancel(self.number))

    async def wait(self) -> None:
        """Wait until nothing more will happen."""
        while not self.finished:
            await self._changed.wait()

    async def follow(self, after: int, beat: float) -> AsyncIterator[tuple[int, str, Event | None] | None]:
        """What happened after the event of a number, and what happens from now on; None after each quiet ``beat``."""
        number = after
        while True:
            while number < len(self.events):
                number += 1
                yield (number, *self.events[number - 1])
            if self.finished:
                return
            changed = self._changed
            try:
                await asyncio.wait_for(changed.wait(), beat)
            except TimeoutError:
                yield None

    def _note(self, name: str, event: Event | None) -> None:
        self.events.append((name, event))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def outcome_of(
    computation: Computation, outcome: Done | Failed | Cancelled, kept: str, size: int, heatmap: str
) -> None:
    """Note a worker's last word on a computation."""
    found = computation.found
    if isinstance(outcome, Failed):
        computation.fail(outcome)
    elif isinstance(outcome, Cancelled) or found is None:
        computation.end("cancelled")
    else:
        result = Result(
            kept,
            size,
            "; ".join(filter(None, (found.note, outcome.told))),
            found.width,
            found.height,
            found.steps,
            found.sigma,
            found.quality,
            outcome.computing,
            outcome.seconds,
            outcome.confidence,
            outcome.departure,
            heatmap,
        )
        computation.end("done", result)
