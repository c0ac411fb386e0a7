"""What goes back: a kept file's content, and what happens to a job as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import StreamingResponse

from msrn.service.jobs import Job, Jobs
from msrn.service.messages import Decoded, Found, Preview, TileDone
from msrn.service.schemas import job_answer

_CHUNK = 1 << 18
_BEAT = 15.0
"""Seconds after which something is said in any case, so that proxies and clients know that the line is alive."""


def file_answer(path: Path, media_type: str, name: str, headers: dict[str, str] | None = None) -> StreamingResponse:
    """A file's content. It is open from now on, so that it may be removed meanwhile."""
    file = path.open("rb")
    size = path.stat().st_size

    def chunks() -> Iterator[bytes]:
        with file:
            while chunk := file.read(_CHUNK):
                yield chunk

    described = {"Content-Length": str(size), "Content-Disposition": f"inline; filename*=UTF-8''{quote(name)}"}
    return StreamingResponse(chunks(), media_type=media_type, headers=described | (headers or {}))


def restored_name(name: str, suffix: str) -> str:
    """What a result is called: the picture's name, with the result's suffix."""
    return f"{Path(name).stem}_restored.{suffix}"


def event_stream(job: Job, jobs: Jobs, after: int) -> StreamingResponse:
    """What happens to a job, from the event after a number on, until it ends."""

    async def lines() -> AsyncIterator[str]:
        async for entry in job.computation.follow(after, _BEAT):
            if entry is None:
                yield ": still here\n\n"
                continue
            number, name, event = entry
            data = dict[str, object]()
            match event:
                case Decoded() | Found() | TileDone():
                    data |= asdict(event)
                case Preview():
                    place = f"/v1/jobs/{job.id}/previews/{event.left},{event.top}"
                    data |= asdict(event) | {"address": place}
                    del data["file"]
                case None:
                    data |= job_answer(job, jobs.turns.position(job.computation)).model_dump()
                case _:
                    pass
            data.pop("number", None)
            yield f"id: {number}\nevent: {name}\ndata: {json.dumps(data)}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def unless_gone(request: Request, work: asyncio.Future[None]) -> bool:
    """Wait for work to end; False as soon as the client is gone instead."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    leaving = asyncio.ensure_future(gone())
    try:
        await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return work.done()
    finally:
        leaving.cancel()
