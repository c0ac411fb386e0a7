"""The application: the API, the page, and what watches over the service, behind the gate."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, PlainTextResponse

from msrn import __version__
from msrn.service.gate import Gate
from msrn.service.jobs import Jobs
from msrn.service.metrics import TEXT, Counted
from msrn.service.problems import PROBLEM_SCHEMA, ProblemError, documented
from msrn.service.routes import api
from msrn.service.schemas import StatusAnswer
from msrn.service.settings import ServiceSettings
from msrn.service.traffic import Traffic

PAGE = Path(__file__).with_name("page")
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_TYPES[".webmanifest"] = "application/manifest+json"
_DESCRIPTION = """\
Restores photographs: enlarges them, removes noise and JPEG artifacts, or finds out what a picture needs.

Answers are pixel for pixel what the command `msrn` writes. The same picture with the same options is computed once.
Refusals are `application/problem+json`: `code` for programs, `detail` and `help` for people.
"""


def application(settings: ServiceSettings) -> tuple[FastAPI, Jobs]:
    """An ASGI application, and the jobs it works on, which a server drains when it is asked to end."""
    jobs = Jobs(settings)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncGenerator[None]:
        async with jobs.opened():
            yield

    app = FastAPI(
        title="MSRN",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,  # these load their scripts from elsewhere
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        lifespan=life,
    )
    app.include_router(api(jobs))
    _watching(app, jobs)
    _page(app, jobs)
    _refusals(app)

    app.add_middleware(Counted, metrics=jobs.metrics)
    app.add_middleware(Gate, settings=settings)
    app.add_middleware(Traffic, settings=settings)
    app.openapi = lambda: _described(app)
    return app, jobs


def _watching(app: FastAPI, jobs: Jobs) -> None:
    """The routes for whoever watches over the service."""
    hosts = documented("wrong_host", "wrong_origin")

    @app.get("/healthz", summary="Whether it lives", response_model=StatusAnswer, responses=hosts)
    async def lives() -> StatusAnswer:  # pyright: ignore[reportUnusedFunction]
        """Answer as long as the service runs."""
        return StatusAnswer(status="ok", waiting=len(jobs.turns))

    @app.get(
        "/readyz",
        summary="Whether it takes pictures",
        response_model=StatusAnswer,
        responses=hosts | documented("ending"),
    )
    async def ready() -> StatusAnswer:  # pyright: ignore[reportUnusedFunction]
        """Answer 200 while pictures are taken, 503 when the service is about to end."""
        if jobs.ending:
            raise ProblemError("ending", retry_after=10)
        return StatusAnswer(status="ok", waiting=len(jobs.turns))

    @app.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=PlainTextResponse,
        responses=hosts | documented("no_token"),
    )
    async def figures() -> Response:  # pyright: ignore[reportUnusedFunction]
        """Answer with what was counted, in Prometheus' text format."""
        return Response(jobs.metrics.text(), media_type=TEXT)


def _page(app: FastAPI, jobs: Jobs) -> None:
    """The page for people: a few files that come with the package."""
    files = {path.name: path for path in sorted(PAGE.iterdir()) if path.suffix in _TYPES}

    @app.get("/", include_in_schema=False)
    async def page() -> Response:  # pyright: ignore[reportUnusedFunction]
        await jobs.lanes.warm()  # somebody is about to choose a picture
        return FileResponse(files["index.html"], media_type="text/html")

    @app.get("/page/{name}", include_in_schema=False)
    async def part(name: str) -> Response:  # pyright: ignore[reportUnusedFunction]
        if name not in files:
            raise ProblemError("not_found")
        return FileResponse(files[name], media_type=_TYPES[files[name].suffix], headers={"Cache-Control": "no-cache"})


def _refusals(app: FastAPI) -> None:
    """Every error becomes a problem in plain words."""

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:  # pyright: ignore[reportUnusedFunction]
        if isinstance(error, ProblemError):
            return error.response()
        code = {404: "not_found", 405: "wrong_method"}.get(error.status_code, "bad_request")
        problem = ProblemError(code)
        problem.headers = dict(error.headers or {}) | dict(problem.headers or {})
        return problem.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(  # pyright: ignore[reportUnusedFunction]
        _: Request, error: RequestValidationError
    ) -> Response:
        return ProblemError("bad_request", "; ".join(_in_words(each) for each in error.errors())[:500]).response()

    @app.exception_handler(Exception)
    async def internal(_: Request, error: Exception) -> Response:  # pyright: ignore[reportUnusedFunction]
        return ProblemError("internal", f"{type(error).__name__}.").response()


def _in_words(error: Mapping[str, Any]) -> str:
    """A finding of pydantic's."""
    place = [str(part) for part in error["loc"] if part not in ("query", "path", "body", "header")]
    if error["type"] == "extra_forbidden":
        return f"{place[-1]} is no option"
    return f"{'.'.join(place) or 'the body'}: {str(error['msg'])[:1].lower()}{str(error['msg'])[1:]}"


def _described(app: FastAPI) -> dict[str, Any]:
    """OpenAPI's description, made once."""
    if not app.openapi_schema:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = PROBLEM_SCHEMA
        made["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "Only where the service has a token."}
        }
        made["security"] = [{}, {"token": []}]
        app.openapi_schema = made
    return app.openapi_schema
