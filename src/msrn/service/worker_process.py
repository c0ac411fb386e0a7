"""The service's side of a worker: started when needed, listened to, ended when idle, and again after a crash."""

import asyncio
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict

from msrn.service.messages import (
    Cancel,
    Cancelled,
    Done,
    Event,
    Export,
    Failed,
    Look,
    Restore,
    WorkerSettings,
    event_of,
    to_line,
)

Outcome = Done | Failed | Cancelled
_PROGRAM = "import sys; sys.path[:] = {path!r}; from msrn.service.worker import main; main()"
_LONGEST_LINE = 1 << 20


class WorkerEndedError(Exception):
    """The worker's process has ended before it was done."""


class WorkerProcess:
    """One worker, or none while nothing is asked of it.

    Args:
        settings: what it is started with.
        program: Python code that is the worker.
    """

    def __init__(self, settings: WorkerSettings, program: str = _PROGRAM) -> None:
        self._settings, self._program = settings, program.format(path=sys.path)
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._orders: dict[int, tuple[Callable[[Event], None], asyncio.Future[Outcome]]] = {}
        self._starting = asyncio.Lock()
        self.started = 0
        """How often it was started."""

    @property
    def busy(self) -> bool:
        """Whether anything is asked of it."""
        return bool(self._orders)

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    async def start(self) -> None:
        """Start the process, if there is none."""
        async with self._starting:
            if self._process is not None:
                return
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                self._program,
                json.dumps(asdict(self._settings)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the service, which then finishes what is under way
                limit=_LONGEST_LINE,
            )
            self.started += 1
            self._listening = asyncio.create_task(self._listen(self._process))

    async def warm(self) -> None:
        """Start it, and let it load what most pictures need."""
        if self._process is None:
            await self.start()
            self._write(b"warm\n")

    async def carry_out(self, order: Restore | Export, hear: Callable[[Event], None]) -> Outcome:
        """Give an order, and wait for what becomes of it.

        Args:
            order: what to do.
            hear: gets everything that is said of it before the end.

        Raises:
            WorkerEndedError: the process died.
        """
        await self.start()
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._orders[order.number] = (hear, outcome)
        try:
            self._write(to_line(order))
            return await outcome
        finally:
            self._orders.pop(order.number, None)

    def tell(self, message: Look | Cancel) -> None:
        """Say something about an order that is under way."""
        if self._process is not None:
            self._write(to_line(message))

    async def close(self, patience: float = 0.0) -> None:
        """End the process; the next order starts another."""
        process, listening = self._process, self._listening
        if process is None or listening is None:
            return
        if patience and process.stdin is not None:
            process.stdin.close()  # it ends by itself when it hears that
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(listening), patience)
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        await asyncio.shield(listening)

    def _write(self, line: bytes) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(ConnectionError, RuntimeError):  # it is gone, which whoever listens will find
                self._process.stdin.write(line)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        with suppress(ConnectionError, ValueError):  # ValueError: what it says makes no sense; it is ended
            while line := await process.stdout.readline():
                event = event_of(line)
                hear, outcome = self._orders.get(event.number, (None, None))
                if isinstance(event, Outcome):
                    if outcome is not None and not outcome.done():
                        outcome.set_result(event)
                elif hear is not None:
                    hear(event)
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        await process.wait()
        if self._process is process:
            self._process = None
        for _, outcome in self._orders.values():
            if not outcome.done():
                outcome.set_exception(WorkerEndedError(f"exit status {process.returncode}"))
