"""What is remembered of a computation: who holds it, and what is left of it. Nothing is computed here."""

import asyncio

import pytest

from msrn.service import jobs as jobs_module
from msrn.service.computations import Upload
from msrn.service.jobs import Jobs
from msrn.service.lanes import Lanes
from msrn.service.messages import RestoreOptions
from msrn.service.settings import ServiceSettings

UPLOAD = Upload("input-0", "0" * 64, "a.png", 9)


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """Jobs that nobody takes."""
    monkeypatch.setattr(Lanes, "open", lambda self: None)
    return Jobs(ServiceSettings(cache=tmp_path / "cache"))


async def submitted(jobs, client="a", watched=True):
    return await jobs.submit(UPLOAD, RestoreOptions(), client, watched=watched)


def test_the_same_is_joined_but_not_what_is_being_cancelled(jobs):
    async def ask():
        async with jobs.opened():
            first = await submitted(jobs)
            assert await submitted(jobs, "b") is first
            assert await jobs.turns.next() is first  # a lane has it
            jobs.release(first)
            assert await submitted(jobs, "c") is first, "somebody still wants it"
            jobs.release(first)
            jobs.release(first)
            again = await submitted(jobs)
            assert again is not first, "the worker may have been told to stop"
            first.end("cancelled")
            await asyncio.sleep(0)
            assert await submitted(jobs, "b") is again

    asyncio.run(ask())


@pytest.mark.parametrize(("kept", "leaves"), [(60, True), (0.01, False)])
def test_previews_go_when_everybody_has_left_or_a_little_later(jobs, monkeypatch, kept, leaves):
    monkeypatch.setattr(jobs_module, "PREVIEWS_KEPT", kept)

    async def finish():
        async with jobs.opened():
            computation = await submitted(jobs)
            preview = computation.target.with_name(f"{computation.target.name}-256-0.png")
            preview.write_bytes(b"preview")
            computation.end("done")
            await asyncio.sleep(0)
            assert preview.exists()
            if leaves:
                jobs.release(computation)
            await asyncio.sleep(0.05)
            assert not preview.exists()

    asyncio.run(finish())


def test_nothing_temporary_is_left_at_the_end(jobs):
    async def end():
        async with jobs.opened():
            await submitted(jobs)
            jobs.files.temporary().write_bytes(b"half")
        return list(jobs.files.folder.iterdir())

    assert asyncio.run(end()) == []
