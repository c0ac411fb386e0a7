"""Folders and object stores are used alike: a file is created once, and what goes wrong is said on one line."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from msrn.batch.cluster.places import file_at, place_at
from msrn.errors import ImageError, MSRNError, OutputError, UsageError


def test_a_file_is_created_once_and_read_and_listed(where):
    place = place_at(where("some place"))
    assert list(place.names()) == []
    assert place.size("a/b.txt") is None
    assert place.create("a/b.txt", b"first")
    assert not place.create("a/b.txt", b"second")
    assert place.create("c ü.txt", b"")
    assert place.size("a/b.txt") == 5
    assert place.read("a/b.txt") == b"first"
    assert sorted(place.names()) == [("a/b.txt", 5), ("c ü.txt", 0)]
    assert list(place.names("a")) == [("a/b.txt", 5)]
    other, name = file_at(f"{place.uri}/a/b.txt")
    with other.open(name) as file:
        file.seek(1)
        assert (other.uri, file.read(2), file.read()) == (f"{place.uri}/a", b"ir", b"st")


def test_of_many_at_once_one_creates_the_file(where):
    place = place_at(where("out"))
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: place.create("x", str(number).encode()), range(32)))
    assert sum(made) == 1
    assert place.read("x") == str(made.index(True)).encode()


def test_a_write_whose_answer_was_lost_is_found_done(store):
    place = place_at("s3://bucket/out")
    store.lost_answers.add("bucket/out/x")
    assert not place.create("x", b"content")  # tried again by the client, and there it was
    assert place.read("x") == b"content"
    assert store.created["bucket/out/x"] == store.refused["bucket/out/x"] == 1


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        (lambda place: place.read("missing"), ImageError),
        (lambda place: place.open("missing"), UsageError),
        (lambda place: place.create("x/../../y", b""), MSRNError),
    ],
)
def test_what_cannot_be_done_is_told_on_one_line(where, action, kind):
    place = place_at(where("out"))
    with pytest.raises(kind) as told:
        action(place)
    assert str(told.value).startswith("cannot ")
    assert "\n" not in str(told.value)
    assert "Debug" not in str(told.value)


def test_a_store_that_refuses_is_told(store):
    place = place_at("s3://bucket/out")
    store.broken = True
    for action, kind in (
        (lambda: place.create("x", b""), OutputError),
        (lambda: place.size("x"), ImageError),
        (lambda: list(place.names()), UsageError),
    ):
        with pytest.raises(kind, match="s3://bucket/out"):
            action()


def test_larger_files_than_are_taken_are_not_read(where):
    place = place_at(where("out"))
    place.create("x", bytes(100))
    assert place.read("x", 100) == bytes(100)
    with pytest.raises(ImageError, match="more than 99 bytes"):
        place.read("x", 99)


@pytest.mark.parametrize("uri", ["nothing://bucket", "s3://"])
def test_a_store_that_there_is_not_is_told(uri):
    with pytest.raises(UsageError, match=uri):
        place_at(uri)
