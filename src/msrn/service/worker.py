"""The worker: a process that restores one picture after the other, and can be killed at any moment.

It reads orders from standard input and writes events to standard output; pictures are files that both name. When the
service is gone, so is the worker.
"""

import errno
import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from queue import Queue
from typing import BinaryIO

from msrn.errors import ImageError, MSRNError, SeveralPicturesError, TooManyPixelsError, UnknownFormatError, UsageError
from msrn.service.messages import (
    HEATMAP,
    Cancel,
    Cancelled,
    Decoded,
    Done,
    Event,
    Export,
    Failed,
    Found,
    Look,
    Order,
    Preview,
    Refusal,
    Restore,
    TileDone,
    View,
    WorkerSettings,
    order_of,
    to_line,
)
from msrn.service.studio import Plan, Studio, cells, encoded, encoded_plainly
from msrn.system.atomic import reason


class _Stopped(Exception):  # noqa: N818 (not an error)
    """Somebody wants no result any more."""


class Worker:
    """Carries out orders.

    Args:
        studio: what decodes, restores and encodes.
        tell: gets the events, from several threads.
    """

    def __init__(self, studio: Studio, tell: Callable[[Event], None]) -> None:
        self.studio, self.tell = studio, tell
        self._restoring, self._exporting = Queue[Restore | None](), Queue[Export | None]()
        self._cancelled: set[int] = set()
        self._views = deque[tuple[int, View]]()
        self._shown: set[tuple[int, int]] = set()

    def take(self, orders: Iterable[Order]) -> None:
        """Carry out orders until there are no more; each kind in its turn, exports beside restoring."""
        threads = [threading.Thread(target=work, daemon=True) for work in (self._restore_all, self._export_all)]
        for thread in threads:
            thread.start()
        for order in orders:
            if isinstance(order, Cancel):
                self._cancelled.add(order.number)
            elif isinstance(order, Look):
                self._views.append((order.number, order.view))
            elif isinstance(order, Export):
                self._exporting.put(order)
            else:
                self._restoring.put(order)
        self._restoring.put(None)
        self._exporting.put(None)
        for thread in threads:
            thread.join()

    def _restore_all(self) -> None:
        while (order := self._restoring.get()) is not None:
            self.tell(self._outcome(order.number, lambda order=order: self._restore(order)))
            self._cancelled.discard(order.number)

    def _export_all(self) -> None:
        while (order := self._exporting.get()) is not None:
            self.tell(self._outcome(order.number, lambda order=order: self._export(order)))

    def _outcome(self, number: int, work: Callable[[], Event]) -> Event:
        """What becomes of an order, whatever happens."""
        try:
            return work()
        except _Stopped:
            return Cancelled(number)
        except MemoryError:
            return Failed(number, "no_memory", "there is not enough memory for this picture now")
        except SeveralPicturesError as error:
            return Failed(number, _refusal(error), str(error).rpartition(": ")[0])  # behind it, the command's options
        except MSRNError as error:
            return Failed(number, _refusal(error), str(error))
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            return Failed(number, "no_disk" if full else "internal", reason(error))
        except Exception as error:  # whatever may still be wrong here must cost this picture only
            return Failed(number, "internal", f"{type(error).__name__}: {reason(error)}")

    def _restore(self, order: Restore) -> Event:
        number = order.number
        self._go_on(number)
        picture = self.studio.decode(order.source, order.name, coefficients=order.options.consistent)
        self.tell(Decoded(number, picture.width, picture.height))
        self._go_on(number)
        plan = self.studio.plan(picture, order.options, order.tile)
        sigma, quality = (plan.found.sigma, plan.found.quality) if plan.found else (None, None)
        tasks = tuple(step.weights.card.task for step in plan.steps)
        self.tell(Found(number, plan.note, tasks, plan.width, plan.height, sigma, quality))
        if order.view is not None:
            self._views.append((number, order.view))
        self._shown.clear()
        self._show(order, plan)
        started, tiles = time.perf_counter(), [0] * len(plan.steps)

        def progress(step: int, share: float) -> None:
            tiles[step] += 1
            self.tell(TileDone(number, step + 1, tiles[step], max(tiles[step], round(tiles[step] / share))))
            self._go_on(number)
            self._show(order, plan)

        made = plan.restored(progress)
        seconds = time.perf_counter() - started
        self._show(order, plan)
        Path(order.target).write_bytes(encoded(made.picture, order.options))
        confidence, departure = made.confidence, made.departure
        if confidence is not None:
            Path(f"{order.target}{HEATMAP}").write_bytes(encoded_plainly(confidence.picture()))
        return Done(
            number,
            plan.computing,
            seconds,
            "; ".join(filter(None, made.told)),
            confidence and confidence.as_json(),
            departure and departure.as_json(),
        )

    def _export(self, order: Export) -> Event:
        data = self.studio.exported(order.source, order.name, order.restored, order.options)
        Path(order.target).write_bytes(data)
        return Done(order.number)

    def _go_on(self, number: int) -> None:
        if number in self._cancelled:
            raise _Stopped

    def _show(self, order: Restore, plan: Plan) -> None:
        """Restore what is looked at and was not shown yet; whoever looks elsewhere meanwhile comes first."""
        while self._views and plan.shows:
            number, view = self._views.popleft()
            if number != order.number:
                continue
            for cell in cells(view, plan.width, plan.height):
                if (cell.top, cell.left) in self._shown:
                    continue
                self._go_on(order.number)
                file = Path(f"{order.target}-{cell.left}-{cell.top}.png")
                file.write_bytes(encoded_plainly(plan.region(cell)))
                self._shown.add((cell.top, cell.left))
                width, height = cell.right - cell.left, cell.bottom - cell.top
                self.tell(Preview(number, cell.left, cell.top, width, height, str(file)))
                if self._views:
                    break


def _refusal(error: MSRNError) -> Refusal:
    kinds: dict[type[MSRNError], Refusal] = {
        TooManyPixelsError: "too_many_pixels",
        UnknownFormatError: "unknown_format",
        SeveralPicturesError: "several_pictures",
        ImageError: "bad_image",
        UsageError: "bad_options",
    }
    for kind, refusal in kinds.items():
        if isinstance(error, kind):
            return refusal
    return "internal"


def main() -> None:
    """Serve until standard input ends; ``sys.argv`` holds the :class:`WorkerSettings` as JSON."""
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not fall among the events
    studio = Studio(WorkerSettings(**json.loads(sys.argv[1])))
    telling = threading.Lock()

    def tell(event: Event) -> None:
        with telling:
            answers.write(to_line(event))
            answers.flush()

    Worker(studio, tell).take(_orders(questions, studio))


def _orders(questions: BinaryIO, studio: Studio) -> Iterable[Order]:
    for line in questions:
        if line == b"warm\n":
            threading.Thread(target=studio.warm, daemon=True).start()
        else:
            yield order_of(line)
    os._exit(0)  # nobody is left to hear what is still computed
