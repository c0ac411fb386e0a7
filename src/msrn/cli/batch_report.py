"""What a batch says: notes on its plan, forecasts, progress, a line for each picture, a summary, a table."""

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msrn.cli.console import Bar, count, duration, print_data, printable, say, storage
from msrn.errors import ImageError, MSRNError
from msrn.system.extras import install_command

if TYPE_CHECKING:
    from msrn.batch import Job, JobForecast, Outcome, Plan


class BatchReport:
    """Tells how far a batch is and what became of each file; within its ``with`` block, also how it was stopped.

    Args:
        plan: the batch's.
        bar: shows how far it is.
        done: what is done to all pictures alike; empty where that differs.
        quiet: say errors only.
        as_json: print a table at the end.
    """

    def __init__(self, plan: "Plan", bar: Bar, done: str, quiet: bool, as_json: bool) -> None:
        self.bar = bar
        self._plan, self._done, self._quiet, self._as_json = plan, done, quiet, as_json
        self._outcomes: list[Outcome] = []
        self._started = time.perf_counter()
        # A file's work is taken to be in proportion to its bytes; what is skipped or fails is none.
        self._work = {job: _bytes_of(job.source) for job in plan.jobs}
        self._shares: dict[Job, float] = {}
        self._made = self._skipped = self._pixels = 0
        self._errors: list[MSRNError] = []
        self._shown = 0.0

    def __enter__(self) -> "BatchReport":
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        goes_on = self._plan.folder is not None or not all(job.is_picture for job in self._plan.jobs)
        if isinstance(error, KeyboardInterrupt) and goes_on:
            self.bar.say("msrn: interrupted; the same command goes on where this one was stopped")
            raise SystemExit(130) from error
        if isinstance(error, MSRNError) and error in self._errors:  # it was said
            if self._as_json:
                print_data(self._table())
            if len(self._plan.jobs) > 1:
                self.bar.say(f"{self._summary()}; stopped, the same command goes on from here")
            raise SystemExit(error.exit_code) from error

    @property
    def outcomes(self) -> "list[Outcome]":
        """What became of each file so far, in the plan's order."""
        return sorted(self._outcomes, key=lambda outcome: self._plan.jobs.index(outcome.job))

    def advance(self, job: "Job", share: float) -> None:
        """Show the file at hand and the speed so far."""
        self._shares[job] = share
        self._show(job)

    def done(self, outcome: "Outcome") -> None:
        """Count what became of a file, and say it."""
        job, error = outcome.job, outcome.error
        self._outcomes.append(outcome)
        self._pixels += outcome.pixels
        if error is not None or outcome.skipped:
            self._skipped += error is None
            self._work[job] = 0
        else:
            self._made += 1
            self._shares[job] = 1
        if error is not None:
            self._errors.append(error)
        self._show(job)
        if error is not None:
            self.bar.say(f"msrn: error: {error}")
        elif not self._quiet and not job.to_stdout:
            self.bar.say(f"{job.target}  ({self._what_was_done(outcome)})")

    def sum_up(self, failures: Path | None) -> None:
        """Say what became of all files, at the end.

        Raises:
            SystemExit: some failed.
        """
        if self._as_json:
            print_data(self._table())
        files, failed = len(self._plan.jobs), len(self._errors)
        if files > 1 and (failed or not self._quiet):
            say(self._summary())
            if failed and failures is not None:
                say(f"msrn: {failed} of {count(files, 'file')} failed, see {failures}")
        if failed:
            raise SystemExit(exit_code(self._errors, files))

    def _what_was_done(self, outcome: "Outcome") -> str:
        if outcome.skipped:
            return f"{outcome.skipped}, skipped"
        before, after = (f"{width}×{height}" for width, height in (outcome.size_before, outcome.size))
        size = f"{before} → {after}" if before != after else after
        return "; ".join([*filter(None, (self._done, outcome.note)), size, duration(outcome.seconds)])

    def _show(self, job: "Job") -> None:
        work = sum(self._work.values())
        share = sum(share * self._work[job] for job, share in self._shares.items()) / work if work else 1.0
        self._shown = max(self._shown, share)
        ended, failed = len(self._outcomes), len(self._errors)
        parts = [job.source.name] + ([f"{ended} of {len(self._work)}"] if len(self._work) > 1 else [])
        parts += [self._speed()] if self._made else []  # of nothing there is none
        self.bar.show("  ".join([*parts, f"{failed} failed"] if failed else parts), self._shown)

    def _summary(self) -> str:
        counts = f"{self._made} restored, {self._skipped} skipped, {len(self._errors)} failed"
        speed = f" ({self._speed()})" if self._made else ""
        return f"msrn: {counts} in {duration(time.perf_counter() - self._started)}{speed}"

    def _speed(self) -> str:
        seconds = max(time.perf_counter() - self._started, 1e-9)
        return f"{self._made / seconds:.2f} images/s, {self._pixels / seconds / 1e6:.2f} MP/s"

    def _table(self) -> str:
        """What became of each file, in the plan's order, as JSON."""
        rows = [
            {
                "input": str(outcome.job.source),
                "output": None if outcome.error else str(outcome.job.target),
                "skipped": bool(outcome.skipped),
                "note": "; ".join(filter(None, (self._done * bool(outcome.pixels), outcome.note))),
                "error": str(outcome.error) if outcome.error else None,
                "size_before": outcome.size_before,
                "size": outcome.size,
                "seconds": round(outcome.seconds, 3),
                "departure": outcome.departure and outcome.departure.as_json(),
                "confidence": outcome.confidence and outcome.confidence.as_json(),
            }
            for outcome in self.outcomes
        ]
        return json.dumps(rows, indent=2)


def say_notes(plan: "Plan") -> None:
    """Say what of the inputs is left out, and why."""
    if plan.links:
        say(f"msrn: note: {count(len(plan.links), 'link')} to folders not entered, such as {plan.links[-1]}")
    if plan.videos_left_out:
        say(f"msrn: note: {count(len(plan.videos_left_out), 'video')} in folders left out; --videos restores them too")
    if plan.without_coordinates:
        rasters = f"{count(len(plan.without_coordinates), 'raster')}, such as {plan.without_coordinates[0]}"
        say(f"msrn: warning: {rasters}; coordinates are lost without: {install_command('raster')}")
    if plan.made_before:
        made = count(len(plan.made_before), "input")
        say(f"msrn: note: {made} made by earlier runs, such as {plan.made_before[0]}")
    if plan.not_read:
        kinds = ", ".join(sorted({path.suffix.lower() for path in plan.not_read}))
        say(f"msrn: note: {count(len(plan.not_read), 'image')} left out, of formats that are not read ({kinds})")


def show_forecasts(forecasts: "Iterable[JobForecast]", as_json: bool, failed: bool) -> None:
    """What ``--dry-run`` prints, each file as soon as it was looked at.

    Raises:
        SystemExit: where a file cannot be read, or ``failed`` says that a folder cannot be listed.
    """
    total, most = 0.0, 0
    rows: list[dict[str, str | float | None]] = []
    errors: list[MSRNError] = []
    for expected in forecasts:
        job, note, error = expected.job, expected.note, expected.error
        what = {"input": str(job.source), "output": str(job.target), "note": note}
        rows.append({**what, "seconds": expected.seconds, "bytes": expected.bytes, "error": error and str(error)})
        if error is not None:
            errors.append(error)
            say(f"msrn: error: {error}")
        elif not as_json:
            print_data(printable(f"{job.source} -> {job.target}" + (f"  ({note})" if note else "")))
        total, most = total + expected.seconds, max(most, expected.bytes)
    if as_json:
        print_data(json.dumps(rows, indent=2))
    about = "about " if total >= 0.1 else ""
    say(f"msrn: {about}{duration(total)} and {storage(most)} at most on this machine")
    if errors or failed:
        raise SystemExit(exit_code(errors, len(rows)))


def exit_code(errors: Sequence[MSRNError], files: int) -> int:
    """One file with one reason keeps that reason's code; a batch says that some images failed."""
    return errors[0].exit_code if files == 1 and errors else ImageError.exit_code


def _bytes_of(path: Path) -> int:
    try:
        return max(1, path.stat().st_size)
    except (OSError, ValueError):  # it fails, or is standard input
        return 1
