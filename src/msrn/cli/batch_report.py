"""What a batch says: notes on its plan, forecasts, progress, a summary, a table."""

import json
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from msrn.cli.console import Bar, print_data, printable, say
from msrn.errors import ImageError, MSRNError

if TYPE_CHECKING:
    from msrn.batch import Job, JobForecast, Outcome, Plan


class BatchReport:
    """Tells how far a batch is: images and megapixels a second, what failed."""

    def __init__(self, plan: "Plan", bar: Bar, quiet: bool) -> None:
        self.bar = bar
        self.last_error: MSRNError | None = None
        self.outcomes: list[Outcome] = []
        self._files, self._quiet = len(plan.jobs), quiet
        self._started = time.perf_counter()
        self._made = self._skipped = self._failed = self._pixels = 0
        self._shown = 0.0

    def advance(self, job: "Job", share: float) -> None:
        """Show the file at hand and the speed so far."""
        self._show(job.source.name, share)

    def done(self, outcome: "Outcome") -> None:
        """Count what became of a file, and say it."""
        self.outcomes.append(outcome)
        self._failed += outcome.error is not None
        self._made += not (outcome.skipped or outcome.error)
        self._skipped += bool(outcome.skipped)
        self._pixels += outcome.pixels
        self._show(outcome.job.source.name, 0)
        if outcome.error is not None:
            self.last_error = outcome.error
            self.bar.say(f"msrn: error: {outcome.error}")
        elif not self._quiet and not outcome.job.to_stdout:
            note = f" {outcome.skipped}, skipped" if outcome.skipped else f"  ({outcome.note})" if outcome.note else ""
            self.bar.say(f"{outcome.job.target}{note}")

    def _show(self, name: str, share: float) -> None:
        ended = self._made + self._skipped + self._failed
        # Several may be at hand, each with a share of its own.
        self._shown = max(self._shown, (ended + share) / self._files)
        parts = [name] if self._files == 1 else [name, f"{ended} of {self._files}"]
        parts += [self._speed()] if self._made else []  # of nothing there is none
        self.bar.show("  ".join([*parts, f"{self._failed} failed"] if self._failed else parts), self._shown)

    def summary(self) -> str:
        """One line for the end."""
        counts = f"{self._made} restored, {self._skipped} skipped, {self._failed} failed"
        return f"msrn: {counts} in {time.perf_counter() - self._started:.1f} s ({self._speed()})"

    def _speed(self) -> str:
        seconds = max(time.perf_counter() - self._started, 1e-9)
        return f"{self._made / seconds:.2f} images/s, {self._pixels / seconds / 1e6:.2f} MP/s"


def say_notes(plan: "Plan") -> None:
    """Say what of the inputs is left out, and why."""
    if plan.links:
        say(f"msrn: note: {len(plan.links)} links to folders are not entered, such as {plan.links[-1]}")
    if plan.videos_left_out:
        say(f"msrn: note: {len(plan.videos_left_out)} videos in folders are left out; --videos restores them too")
    if plan.made_before:
        say(f"msrn: note: {len(plan.made_before)} inputs are outputs of earlier runs, such as {plan.made_before[0]}")
    if plan.not_read:
        kinds = ", ".join(sorted({path.suffix.lower() for path in plan.not_read}))
        say(f"msrn: note: {len(plan.not_read)} images of formats that are not read are left out ({kinds})")


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
    say(f"msrn: about {total:.1f} s and {most / 2**30:.2f} GiB at most on this machine")
    if errors or failed:
        raise SystemExit(exit_code(errors, len(rows)))


def table(outcomes: "Sequence[Outcome]") -> str:
    """What became of each file, as JSON."""
    rows = [
        {
            "input": str(outcome.job.source),
            "output": None if outcome.error else str(outcome.job.target),
            "skipped": bool(outcome.skipped),
            "note": outcome.note,
            "error": str(outcome.error) if outcome.error else None,
        }
        for outcome in outcomes
    ]
    return json.dumps(rows, indent=2)


def exit_code(errors: Sequence[MSRNError], count: int) -> int:
    """One file with one reason keeps that reason's code; a batch says that some images failed."""
    return errors[0].exit_code if count == 1 and errors else ImageError.exit_code
