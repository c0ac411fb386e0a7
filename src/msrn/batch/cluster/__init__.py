"""More images than one machine can restore: a manifest lists them, and any number of programs share it.

:func:`make_manifest` lists a folder or a bucket and settles what is made of each image. Programs that know nothing of
each other (:func:`restore_shard`), or the actors of a Ray cluster, then restore its entries. Each output is created
only if it is absent, and what became of each entry is recorded beside the outputs; :func:`sum_up` adds that up. The
manifest minus what is recorded as done is what is left: nothing else needs to survive.
"""

from msrn.batch.cluster.claim import claim_place
from msrn.batch.cluster.listing import make_manifest
from msrn.batch.cluster.on_ray import restore_on_ray
from msrn.batch.cluster.places import place_at
from msrn.batch.cluster.request import Request
from msrn.batch.cluster.results import Result
from msrn.batch.cluster.summary import Summary, sum_up
from msrn.batch.cluster.table import Entry, ManifestTable, Shard
from msrn.batch.cluster.worker import Computing, EntryWorker, restore_shard

__all__ = [
    "Computing",
    "Entry",
    "EntryWorker",
    "ManifestTable",
    "Request",
    "Result",
    "Shard",
    "Summary",
    "claim_place",
    "make_manifest",
    "place_at",
    "restore_on_ray",
    "restore_shard",
    "sum_up",
]
