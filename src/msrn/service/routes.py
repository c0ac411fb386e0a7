"""The API: what it does at each address, and how OpenAPI describes it."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from msrn import __version__
from msrn.network.catalogue import CATALOGUE, find
from msrn.service.answers import event_stream, file_answer, restored_name, unless_gone
from msrn.service.computations import Computation, Upload
from msrn.service.jobs import Jobs
from msrn.service.messages import RestoreOptions, TaskName, View
from msrn.service.problems import ProblemError, documented
from msrn.service.schemas import (
    MEDIA_TYPES,
    FormatQuery,
    JobAnswer,
    JobQuery,
    LimitsAnswer,
    ModelAnswer,
    ModelsAnswer,
    RestoreQuery,
    ViewBody,
    job_answer,
)
from msrn.service.uploads import receive

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The picture's file: as it is, or as the field `image` of a form.",
        "content": {
            "application/octet-stream": _BINARY,
            **dict.fromkeys(MEDIA_TYPES.values(), _BINARY),
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}
_EVERYWHERE = ("no_token", "wrong_host", "wrong_origin", "bad_request")
_TAKEN_IN = ("slow_upload", "too_many_bytes", "wrong_type", "queue_full", "client_full", "no_disk", "ending")
_READ = ("too_many_pixels", "unknown_format", "several_pictures", "bad_image", "bad_options")
_COMPUTED = (*_READ, "no_memory", "no_worker", "too_long")
_IMAGE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture's file.", "content": dict.fromkeys(MEDIA_TYPES.values(), _BINARY)}
}
_RESULT_HEADERS = {
    "X-Note": {"description": "What was found and done, in words.", "schema": {"type": "string"}},
    "X-Kept": {"description": "yes if the result was computed before.", "schema": {"type": "string"}},
}
_EVENT = 'id: 5\nevent: tile\ndata: {"step": 1, "done": 2, "total": 12}\n\n'
JobId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{22}$", examples=["Zk3uQv0n3l2mT5aXw8yB1g"])]
_COMMANDS: dict[str, TaskName] = {
    "sr": "upscale",
    "denoise": "denoise",
    "jpeg": "dejpeg",
    "photo": "restore",
    "photo-sr": "upscale",
}


def api(jobs: Jobs) -> APIRouter:
    """The routes of one service."""
    router = APIRouter(prefix="/v1")
    settings = jobs.settings

    @router.post(
        "/restore",
        summary="Restore a picture",
        response_class=StreamingResponse,
        openapi_extra=_BODY,
        responses={200: _IMAGE[200] | {"headers": _RESULT_HEADERS}} | documented(*_EVERYWHERE, *_TAKEN_IN, *_COMPUTED),
    )
    async def restore(  # pyright: ignore[reportUnusedFunction]
        request: Request, query: Annotated[RestoreQuery, Query()]
    ) -> Response:
        """Take a picture's file and answer with the restored picture's file, losslessly unless asked otherwise.

        The answer is exactly what the command of the same name writes. For pictures that take long, use `/v1/jobs`.
        """
        client = _client(request)
        async with jobs.place(client):
            upload = await receive(request, jobs.files, settings)
            computation = await jobs.submit(upload, query.options(), client, watched=False)
        known = computation.finished
        try:
            work = asyncio.ensure_future(computation.wait())
            deadline = asyncio.wait_for(unless_gone(request, work), settings.seconds)
            try:
                if not await deadline:
                    work.cancel()
                    return Response(status_code=408)  # to nobody
            except TimeoutError:
                work.cancel()
                raise ProblemError("too_long", f"It took more than {settings.seconds:g} s.") from None
            return _result(jobs, computation, upload, "yes" if known else "no")
        finally:
            jobs.release(computation)

    @router.post(
        "/jobs",
        summary="Begin a job",
        status_code=202,
        response_model=JobAnswer,
        openapi_extra=_BODY,
        responses=documented(*_EVERYWHERE, *_TAKEN_IN),
    )
    async def begin(  # pyright: ignore[reportUnusedFunction]
        request: Request, response: Response, query: Annotated[JobQuery, Query()]
    ) -> JobAnswer:
        """Take a picture's file and answer at once; follow `events` until the job is done, then get its `result`."""
        client = _client(request)
        async with jobs.place(client):
            upload = await receive(request, jobs.files, settings)
            computation = await jobs.submit(upload, query.options(), client, watched=True, view=query.looked_at())
        job = jobs.add(computation, upload)
        response.headers["Location"] = f"/v1/jobs/{job.id}"
        return job_answer(job, jobs.turns.position(computation))

    @router.get(
        "/jobs/{job_id}",
        summary="How a job is",
        response_model=JobAnswer,
        responses=documented(*_EVERYWHERE, "not_found"),
    )
    async def status(job_id: JobId) -> JobAnswer:  # pyright: ignore[reportUnusedFunction]
        """Answer with everything that is known of a job."""
        job = jobs.get(job_id)
        return job_answer(job, jobs.turns.position(job.computation))

    @router.delete(
        "/jobs/{job_id}",
        summary="Cancel or forget a job",
        status_code=204,
        responses=documented(*_EVERYWHERE, "not_found"),
    )
    async def forget(job_id: JobId) -> None:  # pyright: ignore[reportUnusedFunction]
        """Stop a job after the tile at hand, if it is under way, and forget it."""
        jobs.forget(job_id)

    @router.get(
        "/jobs/{job_id}/events",
        summary="Follow a job",
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "Server-sent events: queued, running, decoded, found, preview, tile, and at the end "
                "done, failed or cancelled.",
                "content": {"text/event-stream": {"example": _EVENT}},
            }
        }
        | documented(*_EVERYWHERE, "not_found"),
    )
    async def events(  # pyright: ignore[reportUnusedFunction]
        job_id: JobId, last_event_id: Annotated[int, Header(ge=0, le=10**9)] = 0
    ) -> Response:
        """Tell what happens to a job, as it happens, until it ends."""
        return event_stream(jobs.get(job_id), jobs, last_event_id)

    @router.post(
        "/jobs/{job_id}/view",
        summary="Say what is looked at",
        status_code=202,
        responses=documented(*_EVERYWHERE, "not_found"),
    )
    async def look(job_id: JobId, view: ViewBody) -> None:  # pyright: ignore[reportUnusedFunction]
        """Have a part of the result restored before the rest; `preview` events tell where to get it."""
        jobs.get(job_id).computation.look(View(view.x, view.y, view.width, view.height))

    @router.get(
        "/jobs/{job_id}/previews/{place}",
        summary="A part of the result",
        response_class=StreamingResponse,
        responses={200: {"description": "The part, as PNG.", "content": {"image/png": _BINARY}}}
        | documented(*_EVERYWHERE, "not_found"),
    )
    async def preview(  # pyright: ignore[reportUnusedFunction]
        job_id: JobId, place: Annotated[str, Path(pattern=r"^[0-9]{1,6},[0-9]{1,6}$", examples=["640,320"])]
    ) -> Response:
        """Answer with a part of the result that a `preview` event told of; only while the job runs."""
        for each in jobs.get(job_id).computation.previews:
            if place == f"{each.left},{each.top}" and jobs.files.folder.joinpath(each.file).is_file():
                return file_answer(jobs.files.folder / each.file, "image/png", "preview.png")
        raise ProblemError("not_found", "There is no such preview, or no longer.")

    @router.get(
        "/jobs/{job_id}/result",
        summary="The result",
        response_class=StreamingResponse,
        responses={200: _IMAGE[200] | {"headers": _RESULT_HEADERS}}
        | documented(*_EVERYWHERE, "not_found", "not_ready", "no_result", *_COMPUTED),
    )
    async def result(  # pyright: ignore[reportUnusedFunction]
        job_id: JobId, query: Annotated[FormatQuery, Query()]
    ) -> Response:
        """Answer with the restored picture, in any format and at any strength, without restoring it again.

        `strength` mixes it with the picture as it came. Without parameters it is exactly what the job made.
        """
        job = jobs.get(job_id)
        computation = job.computation
        if computation.result is None:
            raise ProblemError("no_result" if computation.finished else "not_ready")
        made = computation.options
        as_made = {name: getattr(made, name) for name in FormatQuery.model_fields} | {"strength": 1.0}
        if not query.model_fields_set or query.model_dump() == as_made:
            return _result(jobs, computation, job.upload, "yes")
        if made.format not in ("png", "tif"):
            raise ProblemError("bad_options", f"The job made a {made.format}: ask it for png to write others of it.")
        certified = made.consistent and computation.result.departure is not None
        kept_to = {"task": made.task, "scale": made.scale, "to": made.to, "consistent": certified}
        options = RestoreOptions(**kept_to, **query.model_dump())
        async with jobs.exported(job.upload, options, computation.result) as (kept, _):
            name = restored_name(job.upload.name, query.format)
            return file_answer(jobs.files.folder / kept, MEDIA_TYPES[query.format], name)

    @router.get(
        "/jobs/{job_id}/confidence",
        summary="Where the result may be wrong",
        response_class=StreamingResponse,
        responses={200: {"description": "The map, as gray PNG.", "content": {"image/png": _BINARY}}}
        | documented(*_EVERYWHERE, "not_found", "not_ready"),
    )
    async def confidence(job_id: JobId) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Answer with a map as large as the result, of a job that was asked for `confidence`.

        It says what the error of the 32×32 pixels around a place is below, in 90 of 100 such places: black is 0, white
        16 grey levels and more.
        """
        job = jobs.get(job_id)
        if not job.computation.finished:
            raise ProblemError("not_ready")
        result = job.computation.result
        path = jobs.files.find(result.heatmap) if result and result.heatmap else None
        if path is None:
            raise ProblemError("not_found", "There is no map: ask for one by confidence=true, of what is restored.")
        return file_answer(path, "image/png", f"{job.upload.name}_confidence.png")

    @router.get(
        "/jobs/{job_id}/original",
        summary="The picture as it came",
        response_class=StreamingResponse,
        responses={200: {"description": "The picture, as PNG.", "content": {"image/png": _BINARY}}}
        | documented(*_EVERYWHERE, "not_found", *_COMPUTED),
    )
    async def original(job_id: JobId) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Answer with the picture as it came, upright and as PNG, for programs that cannot read its format."""
        job = jobs.get(job_id)
        async with jobs.exported(job.upload, RestoreOptions(), None) as (kept, _):
            return file_answer(jobs.files.folder / kept, "image/png", f"{job.upload.name}.png")

    @router.get("/models", summary="What there is", response_model=ModelsAnswer, responses=documented(*_EVERYWHERE))
    async def models() -> ModelsAnswer:  # pyright: ignore[reportUnusedFunction]
        """Answer with the weights that come with the package, and what this service takes."""
        rows = [
            ModelAnswer(
                name=row.name,
                task=_COMMANDS[row.task],
                default=find(row.kind) is row,
                color=row.color,
                summary=row.summary,
            )
            for row in CATALOGUE
        ]
        limits = LimitsAnswer(
            bytes=settings.max_bytes, pixels=settings.max_pixels, waiting=settings.waiting, seconds=settings.seconds
        )
        return ModelsAnswer(version=__version__, models=rows, limits=limits, formats=list(MEDIA_TYPES))

    return router


def _client(request: Request) -> str:
    return request.client.host if request.client else "?"


def _result(jobs: Jobs, computation: Computation, upload: Upload, kept_before: str) -> Response:
    """The result's file, or why there is none."""
    if computation.problem is not None:
        raise computation.problem
    result, suffix = computation.result, computation.options.format
    path = None if result is None else jobs.files.find(result.kept)
    if result is None or path is None:
        raise ProblemError("not_found", "The result is no longer kept; send the picture again.")
    note = result.note.replace("σ", "sigma").encode("ascii", "replace").decode()
    headers = {"X-Note": note, "X-Kept": kept_before}
    return file_answer(path, MEDIA_TYPES[suffix], restored_name(upload.name, suffix), headers)
