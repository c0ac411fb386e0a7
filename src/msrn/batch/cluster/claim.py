"""A place for outputs belongs to one manifest: what is found there under an output's name then is that output."""

import json

from msrn import __version__
from msrn.batch.cluster.places import Place
from msrn.batch.cluster.table import ManifestTable
from msrn.errors import OutputError

BOOKS = "msrn-results"
"""Folder among the outputs for the claim and the records."""
_CLAIM = f"{BOOKS}/manifest.json"


def claim_place(place: Place, manifest: ManifestTable) -> None:
    """Make a place a manifest's, or find that it is; may be called by many programs at once.

    Raises:
        OutputError: it is another manifest's, holds files of something else, or cannot be written to.
    """
    if _is_claimed(place, manifest):
        return
    foreign = next((name for name, _ in place.names() if not name.startswith(f"{BOOKS}/")), None)
    # Whoever claims it first may have written outputs since.
    if foreign is not None and not _is_claimed(place, manifest):
        raise OutputError(f"{place.uri} holds {foreign}, which might be taken for a result; name a place that is empty")
    content = {"manifest": manifest.digest, "settings": manifest.request.identity, "version": __version__}
    if not place.create(_CLAIM, json.dumps(content, indent=1).encode()):
        _is_claimed(place, manifest)


def _is_claimed(place: Place, manifest: ManifestTable) -> bool:
    """Whether the place is the manifest's; False if nobody's.

    Raises:
        OutputError: it is another manifest's.
    """
    if place.size(_CLAIM) is None:
        return False
    try:
        said = json.loads(place.read(_CLAIM))
        same = said["manifest"] == manifest.digest, said["settings"] == manifest.request.identity
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{place.uri}/{_CLAIM} is damaged; name another place for the outputs") from error
    if not all(same):
        what = "of other weights or settings" if same[0] else "of other images"
        raise OutputError(
            f"{place.uri} belongs to another manifest, {what}: outputs of two are not mixed; name another place"
        )
    return True
