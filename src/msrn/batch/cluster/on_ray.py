"""A manifest restored by a Ray cluster: numbers of its parts go through Ray Data to actors, results come back.

What travels is the number of a part, and for each image a row that says what became of it. Each actor reads its part of
the manifest, its images and its weights itself, and creates the outputs and their records as any other program does
that restores a shard. So nothing of what is done is Ray's alone: after the loss of the driver, or of everything, the
same command goes on with what is not recorded as done. A part whose actor was lost is given to another one, which finds
the outputs that were made.
"""

import logging
import os
import socket
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msrn import errors
from msrn.batch.cluster.claim import claim_place
from msrn.batch.cluster.places import is_uri, place_at
from msrn.batch.cluster.results import Result, rows_done
from msrn.batch.cluster.table import Entry, ManifestTable, Shard
from msrn.batch.cluster.worker import Computing, Done, EntryWorker
from msrn.errors import MSRNError, UsageError
from msrn.system.atomic import reason
from msrn.system.machine import BOUND
from msrn.system.own_cores import bind_to_own_cores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_USUAL_CORES = 4
"""Cores of an actor, if the nodes have so many: a picture of some megapixels keeps that many busy."""
_PARTS_EACH, _PART_BYTES, _MOST_PARTS = 16, 16 << 20, 100_000
"""A part has about so many bytes, which stand for pixels as no image is opened before: few enough that a lost actor
costs little and the last ones end together, and not more parts than Ray keeps books of with ease."""
_PATIENCE = 20.0
"""Seconds that the cluster's head may take to answer."""
_STOPPED = "stopped"
"""Status of a row that says why no more can be restored."""
_AHEAD = 2
"""Parts that an actor has at once: the one at hand and the next."""


@dataclass(frozen=True)
class _Actors:
    """What the cluster has room for."""

    count: int
    cores: int
    gpus: int
    """Of each, 0 or 1."""


def restore_on_ray(
    manifest: ManifestTable,
    output: str,
    address: str = "auto",
    computing: Computing | None = None,
    *,
    cores: int = 0,
    fail_fast: bool = False,
    done: Done = lambda entry, result, pixels: None,
) -> None:
    """Restore what is left of a manifest, by one actor per GPU or per so many cores of a Ray cluster.

    Every node needs this program, and reaches manifest, images and outputs under the same names. In a program that has
    connected to Ray already, that connection is used.

    Args:
        manifest: the manifest.
        output: path or URI of the place for the outputs; it is claimed for the manifest.
        address: of the cluster's head, as ``ray.init`` takes it; ``auto`` is the one that runs here.
        computing: how each actor computes.
        cores: of each actor; 0 for four, or all of the smallest node if that has fewer.
        fail_fast: raise the first error.
        done: called with what became of each image, once it is recorded.

    Raises:
        UsageError: there is no such cluster, it has no room for an actor, or weights, program or machines are not what
            the manifest was made for.
        OutputError: the place is another manifest's, or cannot be written to.
        MSRNError: the cluster is lost.

    Example:
        >>> restore_on_ray(ManifestTable("/shared/images.parquet"), "s3://bucket/restored", cores=2)
    """
    how, place = computing or Computing(), place_at(output)
    where = manifest.where if is_uri(manifest.where) else str(Path(manifest.where).absolute())
    claim_place(place, manifest)
    with _connected(address):
        import ray.data

        finished = rows_done(place, 0, manifest.rows - 1)
        if finished.all():
            return
        actors = _room(how.device, cores)
        parts = min(manifest.rows, max(_PARTS_EACH * actors.count, manifest.bytes // _PART_BYTES), _MOST_PARTS)
        about: list[Any] = [where, place.uri, how, parts, fail_fast, actors.cores, [ray.put(finished)]]
        rows = ray.data.range(parts, override_num_blocks=parts).map_batches(
            _Actor,
            batch_size=None,
            fn_constructor_args=about,
            num_cpus=actors.cores,
            num_gpus=actors.gpus or None,
            compute=ray.data.ActorPoolStrategy(
                min_size=1, initial_size=actors.count, max_size=None, max_tasks_in_flight_per_actor=_AHEAD
            ),
        )
        names = [field.name for field in fields(Result)]
        for row in _explained(rows.iter_rows()):
            if row["status"] == _STOPPED:
                raise getattr(errors, row["kind"], MSRNError)(row["error"])
            result = Result(**{name: row[name] for name in names})
            done(Entry(result.row, result.id, row["uri"], row["size"], result.output), result, row["pixels"])


class _Actor:
    """Restores parts of a manifest, in a process of its own on some node."""

    def __init__(
        self, where: str, output: str, how: Computing, parts: int, fail_fast: bool, cores: int, finished: list[Any]
    ) -> None:
        import ray

        os.environ[BOUND] = str(cores)  # or each would start threads for the whole machine
        here = ray.get_runtime_context().get_node_id()
        dealt = sum(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["NodeID"] == here)
        bind_to_own_cores(cores, int(dealt))  # nor are its decoders to take other actors' cores
        self._parts, self._finished = parts, ray.get(finished[0])
        self._rows = list[dict[str, Any]]()
        with self._noted():
            self._manifest = ManifestTable(where)
            worker = EntryWorker(self._manifest, output, how, fail_fast=fail_fast, done=self._note)
            self._worker = worker.__enter__()

    def __call__(self, batch: "dict[str, NDArray[np.int64]]") -> Any:
        """Restore the parts of these numbers, and return a row for every image of them, when it is recorded."""
        from pyarrow import Table

        if hasattr(self, "_worker"):
            with self._noted():
                for index in batch["id"].tolist():
                    entries = self._manifest.entries(Shard(index, self._parts))
                    self._worker.restore(entry for entry in entries if not self._finished[entry.row])
                self._worker.flush()
        rows, self._rows[:] = list(self._rows), []
        return Table.from_pylist(rows, schema=_schema())

    def __del__(self) -> None:
        if hasattr(self, "_worker"):
            self._worker.__exit__(None, None, None)  # which ends the decoders

    @contextmanager
    def _noted(self) -> Generator[None]:
        """Make an error that ends the whole run a row: of what is raised here, the driver would get text only."""
        try:
            yield
        except MSRNError as error:
            self._rows.append({"status": _STOPPED, "kind": type(error).__name__, "error": str(error)})

    def _note(self, entry: Entry, result: Result, pixels: int) -> None:
        self._rows.append(asdict(result) | {"uri": entry.uri, "size": entry.size, "pixels": pixels})


def _schema() -> Any:
    """The Arrow schema of the rows that come back."""
    import pyarrow as pa

    from msrn.batch.cluster.results import schema

    extra = {"uri": pa.string(), "size": pa.int64(), "pixels": pa.int64()}
    return pa.schema([*schema(), *(pa.field(name, kind) for name, kind in extra.items())])


@contextmanager
def _connected(address: str) -> Generator[None]:
    """A connection to a cluster, which was there or ends with the block; Ray is quiet unless ``-v`` is asked for."""
    told = logging.getLogger(__name__).isEnabledFor(logging.INFO)
    level = logging.INFO if told else logging.ERROR
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not told:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    if ray.is_initialized():
        yield
        return
    # Nodes with another PYTHONPATH than this program's would find another program, or none.
    path = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    try:
        host, _, port = address.rpartition(":")
        if port.isdigit():  # or Ray would try for minutes
            socket.create_connection((host, int(port)), _PATIENCE).close()
        with nullcontext() if told else _no_stderr():
            ray.init(address, log_to_driver=told, logging_level=level, runtime_env={"env_vars": path})
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"no Ray cluster at {address} ({reason(error)}); `ray start --head` starts one here"
        ) from error
    logging.getLogger("ray.data").setLevel(level)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _no_stderr() -> Generator[None]:
    """Hide what C++ writes there: as the first thing, that it is told to write nothing."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _room(device: str, cores: int) -> _Actors:
    """How many actors the nodes have room for now, and what each gets.

    Raises:
        UsageError: no node has so many cores.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    on_gpu = device != "cpu" and any(node.get("GPU", 0) >= 1 for node in nodes)
    nodes = [node for node in nodes if node.get("GPU" if on_gpu else "CPU", 0) >= 1]
    if not nodes:  # until there are some: a cluster that grows when something waits for it
        return _Actors(1, cores or _USUAL_CORES, 0)
    shares = [int(node.get("CPU", 0) // (node["GPU"] if on_gpu else 1)) for node in nodes]
    each = cores or max(1, min(_USUAL_CORES, *shares))
    slots = [int(node.get("CPU", 0) // each) for node in nodes]
    count = sum(min(slot, int(node["GPU"])) for slot, node in zip(slots, nodes, strict=True)) if on_gpu else sum(slots)
    if not count:
        raise UsageError(f"no node of the cluster has {each} cores (--cores); the largest has {max(shares)}")
    return _Actors(count, each, int(on_gpu))


def _explained(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows; raises :class:`MSRNError` where Ray gives up, with the last line of what it has to say."""
    from ray.exceptions import RayError

    try:
        yield from rows
    except RayError as error:
        said = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise MSRNError(f"the cluster stopped: {said[-1].strip()} (-v shows all)") from error
