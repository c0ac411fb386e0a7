"""The commands for many machines: `msrn manifest`, its `status`, and `msrn restore --manifest`."""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from msrn.cli import options
from msrn.cli.console import Bar, count, print_data, printable, say, show_log
from msrn.cli.options import FILES
from msrn.cli.restoring import CommonOptions, ComputingOptions, EncodingOptions, OutputNames, SizeOptions
from msrn.errors import ImageError, UsageError
from msrn.system.machine import check_address_space

if TYPE_CHECKING:
    from msrn.batch.cluster import Entry, Result, Summary

manifest = App(name="manifest", help_flags=("--help", "-h"))
_PER_MACHINE = ("device", "tile")
"""Computing options that decide no result: each machine has its own."""
_SETTLED = ("overwrite", "skip_existing", "dry_run", "compare", "confidence", "deadline")
"""Common options that make no sense with a manifest, as do names and encoding."""


@manifest.default
def make(
    source: Annotated[str, Parameter(name="IN", group=FILES)],
    /,
    *,
    output: Annotated[str, Parameter(name=("--output", "-o"), group=FILES)],
    names: OutputNames = OutputNames(),
    overwrite: options.Overwrite = False,
    size: SizeOptions = SizeOptions(),
    weights: options.SeveralWeights = None,
    computing: ComputingOptions = ComputingOptions(),
    encoding: EncodingOptions = EncodingOptions(),
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List images for many machines to restore, and sum up results.

    $ msrn manifest s3://bucket/photographs --output images.parquet
    $ msrn manifest status images.parquet --output s3://bucket/restored

    The options say what is made of every image, and are kept. Make the manifest on a machine like those that restore.

    Args:
        source: Folder or URI whose images are listed, to any depth.
        output: The manifest to write, a path or URI.
        weights: Weights instead of their task's own; may be repeated.
    """
    from msrn.batch import Settings
    from msrn.batch.cluster import Request, make_manifest

    show_log(verbose, quiet)
    given = vars(computing)
    request = Request(
        tuple(str(Path(name).absolute()) if Path(name).is_file() else name for name in weights or []),
        Settings(size.scale, size.exact, **vars(encoding)),
        {name: value for name, value in given.items() if name not in _PER_MACHINE},
    )
    request = request.settled(request.restorer(computing.device, computing.tile))
    with Bar(quiet) as bar:
        listed = make_manifest(
            source,
            output,
            request,
            **vars(names),
            overwrite=overwrite,
            progress=lambda found: bar.show(f"{found.images:,} images", 0),
        )
    for why in listed.plan.unlisted:
        say(f"msrn: error: {why}")
    if not quiet:
        if listed.plan.links:
            links = count(len(listed.plan.links), "link")
            say(f"msrn: note: {links} to folders not entered, such as {listed.plan.links[-1]}")
        if listed.left_out:
            kinds = ", ".join(
                f"{number:,} {suffix or 'without one'}" for suffix, number in listed.left_out.most_common(5)
            )
            say(f"msrn: note: {count(listed.left_out.total(), 'file')} left out, by extension: {kinds}")
        say(f"msrn: {output} lists {count(listed.images, 'image')}, {listed.bytes / 1e9:.2f} GB")
    if listed.plan.unlisted:
        raise SystemExit(ImageError.exit_code)


@manifest.command
def status(
    images: Annotated[str, Parameter(name="MANIFEST", group=FILES)],
    /,
    *,
    output: Annotated[str, Parameter(name=("--output", "-o"), group=FILES)],
    table: Annotated[str | None, Parameter(group=FILES)] = None,
    as_json: options.AsJSON = False,
    quiet: options.Quiet = False,
) -> None:
    """Say how many images are done, failed and left, how fast it goes, and why images fail.

    $ msrn manifest status images.parquet --output restored
    $ msrn manifest status images.parquet --output restored --table results.parquet

    Args:
        images: The manifest, a path or URI.
        output: Where the outputs are.
        table: Write a Parquet table of all images: status, SHA-256, error.
    """
    from msrn.batch.cluster import ManifestTable, place_at, sum_up

    opened = ManifestTable(images)
    with Bar(quiet) as bar:
        said = sum_up(opened, place_at(output), table, lambda share: bar.show("reading records", share))
    print_data(json.dumps(_values(said), indent=2) if as_json else printable_lines(images, said))


def printable_lines(name: str, said: "Summary") -> str:
    """What `msrn manifest status` prints."""
    values, errors = _values(said), said.errors.most_common()
    lines = [f"{name}: {count(said.images, 'image')}, {said.bytes / 1e9:.2f} GB"]
    lines.append(f"  done     {said.done:>13,}  {100 * said.done / said.images:.1f} %")
    lines += [f"  failed   {said.failed:>13,}", f"  pending  {said.pending:>13,}"]
    if said.seconds:
        mean, median, late, most = (values[f"seconds_{name}"] for name in ("mean", "median", "95", "max"))
        lines.append(
            f"  seconds per image: mean {mean:.2f}, median {median:.2f}, 95 % below {late:.2f}, most {most:.2f}"
        )
    if values["images_per_second"]:
        workers = count(values["workers"], "worker")
        lines.append(f"  {values['images_per_second']:.2f} images/s from the first record to the last, {workers}")
    lines += [f"  failed: {number:,} × {kind}, such as: {said.examples[kind]}" for kind, number in errors]
    return "\n".join(map(printable, lines))


def _values(said: "Summary") -> dict[str, Any]:
    """The summary as JSON has it."""
    counted = ("images", "bytes", "done", "failed", "pending", "bytes_done")
    values: dict[str, Any] = {name: getattr(said, name) for name in counted}
    ordered = sorted(said.seconds)
    if ordered:
        values["seconds_mean"] = sum(ordered) / len(ordered)
        for name, share in (("median", 0.5), ("95", 0.95), ("max", 1.0)):
            values[f"seconds_{name}"] = ordered[int(share * (len(ordered) - 1))]
    span = (said.last - said.first).total_seconds() if said.first and said.last else 0
    values["images_per_second"] = (said.done + said.failed) / span if span > 0 else None
    values["workers"] = len(said.workers)
    values["errors"] = {kind: {"count": n, "example": said.examples[kind]} for kind, n in said.errors.items()}
    return values


def restore_manifest(
    inputs: Sequence[Path],
    output: str,
    size: SizeOptions,
    weights: Sequence[str] | None,
    common: CommonOptions,
    cluster: options.ClusterOptions,
) -> None:
    """`msrn restore --manifest`: what is left of it, or of a shard, by this program or a cluster."""
    from msrn.batch.cluster import Computing, ManifestTable, Shard, restore_on_ray, restore_shard

    assert cluster.manifest is not None
    _refuse_settled(inputs, size, weights, common)
    show_log(common.verbose, common.quiet)
    check_address_space()
    shard = Shard() if cluster.shard is None else Shard.parse(cluster.shard)
    opened = ManifestTable(cluster.manifest)
    how = Computing(common.computing.device, common.computing.tile, common.jobs, common.limits)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: what is done is recorded
    with Bar(common.quiet) as bar, _Report(bar, opened.bytes / shard.count, common) as report:
        if cluster.cluster is None:
            restore_shard(opened, output, shard, how, fail_fast=common.fail_fast, done=report.done)
        else:
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(sys.stderr if common.verbose else nowhere):
                # where Ray writes what it has to say, at length, of a node that is lost
                address, each = cluster.cluster, cluster.cores
                restore_on_ray(opened, output, address, how, cores=each, fail_fast=common.fail_fast, done=report.done)
    report.sum_up(cluster.manifest, output)


def _refuse_settled(
    inputs: Sequence[Path], size: SizeOptions, weights: Sequence[str] | None, common: CommonOptions
) -> None:
    """Raise for options that the manifest has settled, whatever they say."""
    given = ["IN"] * bool(inputs) + ["--weights"] * bool(weights)
    for chosen, names in (
        *((each, [field.name for field in fields(each)]) for each in (size, common.names, common.encoding)),
        (common.computing, [field.name for field in fields(ComputingOptions) if field.name not in _PER_MACHINE]),
        (common, _SETTLED),
    ):
        usual = type(chosen)()
        changed = [name for name in names if getattr(chosen, name) != getattr(usual, name)]
        given += [f"--{'ext' if name == 'extension' else name.replace('_', '-')}" for name in changed]
    if given:
        what = f"leave out {', '.join(given)}, or make another manifest"
        raise UsageError(f"the manifest has settled what is made of which images: {what}")


class _Report:
    """Tells how far a shard is and what became of each image.

    Args:
        bar: shows how far it is.
        total: bytes of the shard.
        common: what is to be said.
    """

    def __init__(self, bar: Bar, total: float, common: CommonOptions) -> None:
        self._bar, self._total = bar, max(total, 1)
        self._quiet, self._as_json = common.quiet, common.as_json
        self.counts = {"restored": 0, "found made": 0, "failed": 0}
        self._bytes = self._pixels = 0
        self._started = time.perf_counter()

    def __enter__(self) -> "_Report":
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._bar.say("msrn: interrupted; the same command goes on where this one was stopped")
            raise SystemExit(130) from error

    def done(self, entry: "Entry", result: "Result", pixels: int) -> None:
        """Count what became of an image, and say it."""
        what = "failed" if result.status == "failed" else "restored" if pixels else "found made"
        self.counts[what] += 1
        self._bytes += entry.size
        self._pixels += pixels
        self._bar.show(f"{entry.id}  {self._counted()}", self._bytes / self._total)
        if result.error is not None:
            self._bar.say(f"msrn: error: {result.error}")
        elif not self._quiet:
            seconds = "" if result.seconds is None else f"; {result.seconds:.1f} s"
            self._bar.say(f"{result.output}  ({result.note}{seconds})")

    def sum_up(self, name: str, output: str) -> None:
        """Say what became of all images; raises SystemExit if some failed."""
        seconds = time.perf_counter() - self._started
        if self._as_json:
            print_data(json.dumps({**self.counts, "seconds": seconds, "pixels": self._pixels}))
        if not self._quiet or self.counts["failed"]:
            say(f"msrn: {self._counted()} in {seconds:.1f} s ({self._pixels / seconds / 1e6:.2f} MP/s)")
        if self.counts["failed"]:
            say(f"msrn: why images failed is in msrn manifest status {name} -o {output}; to try again, run the same")
            raise SystemExit(ImageError.exit_code)

    def _counted(self) -> str:
        return ", ".join(f"{number:,} {what}" for what, number in self.counts.items())
