"""A stand-in of an object store, and manifests whose weights return what they get."""

import pytest
from tests.helpers.networks import identity_weights
from tests.helpers.object_store import object_store

from msrn.network.weights import save

pytest.importorskip("pyarrow")
pytest.importorskip("obstore")


@pytest.fixture(scope="package")
def running_store():
    with object_store() as store:
        yield store


@pytest.fixture
def store(running_store, monkeypatch):
    """An empty object store that S3's clients are led to."""
    for name, value in running_store.environment.items():
        monkeypatch.setenv(name, value)
    for books in (running_store.objects, running_store.created, running_store.refused, running_store.read):
        books.clear()
    yield running_store
    running_store.broken = False


@pytest.fixture(params=["folder", "object store"])
def where(request, tmp_path):
    """A function from a name to a place: a folder, or a prefix of a bucket."""
    if request.param == "folder":
        return lambda name: str(tmp_path / name)
    request.getfixturevalue("store")
    return lambda name: f"s3://bucket/{name}"


@pytest.fixture(scope="package")
def identity(tmp_path_factory):
    """Files of weights that return their input, for all tasks of `msrn restore`."""
    folder = tmp_path_factory.mktemp("weights")
    return tuple(str(save(identity_weights(task), folder, task)) for task in ("jpeg", "denoise", "photo"))
