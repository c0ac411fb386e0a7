"""What becomes of a picture whose worker hangs, dies or finds no room: an answer, and nothing left over."""

import asyncio
import errno
import os
from functools import partial
from pathlib import Path

import pytest

from msrn.service import lanes
from msrn.service.computations import Upload
from msrn.service.jobs import Jobs
from msrn.service.messages import Restore, RestoreOptions
from msrn.service.problems import problem_of
from msrn.service.settings import ServiceSettings
from msrn.service.worker import Worker
from msrn.service.worker_process import WorkerProcess

HANGS = "import sys; [line for line in sys.stdin]"
DIES = "import sys; sys.stdin.readline(); sys.exit(1)"
TALKS = "import sys; sys.stdin.readline(); print('no event', flush=True); [line for line in sys.stdin]"


@pytest.mark.parametrize(
    ("program", "code", "crashes"), [(HANGS, "too_long", 0), (DIES, "no_worker", 2), (TALKS, "no_worker", 2)]
)
def test_a_worker_that_gives_no_result_costs_one_picture(tmp_path, monkeypatch, program, code, crashes):
    monkeypatch.setattr(lanes, "WorkerProcess", partial(WorkerProcess, program=program))
    jobs = Jobs(ServiceSettings(cache=tmp_path / "cache", seconds=0.5, job_seconds=0.5))

    async def ask():
        async with jobs.opened():
            for watched in (True, False):  # a job, and a request
                upload = Upload("input-0", "0" * 63 + str(int(watched)), "a.png", 9)
                computation = await jobs.submit(upload, RestoreOptions(), "a", watched=watched)
                await asyncio.wait_for(computation.wait(), 30)
                assert computation.problem.code == code
                jobs.release(computation)
            assert jobs.lanes.workers[0].started >= 2, "nothing is asked of a worker that hangs"
            return jobs.metrics.text().decode()

    assert f"msrn_worker_crashes_total {2 * crashes}.0" in asyncio.run(ask())
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "no_disk"), (errno.EDQUOT, "no_disk"), (errno.EIO, "internal")]
)
def test_a_result_that_finds_no_room_is_told_so(number, code):
    class Full:
        """A studio on a full disk."""

        def decode(self, source, name, *, coefficients):
            raise OSError(number, os.strerror(number))

    heard = []
    Worker(Full(), heard.append).take([Restore(1, "in", "in.png", str(Path("out")), RestoreOptions(), 0, None)])
    (failed,) = heard
    assert failed.refusal == code
    assert problem_of(failed).status_code == (503 if code == "no_disk" else 500)
