"""Every refusal of the service: its status, its name for programs, and plain words for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from msrn.service.messages import Failed

MEDIA_TYPE = "application/problem+json"
"""RFC 9457."""


@dataclass(frozen=True)
class ProblemKind:
    """A kind of refusal."""

    status: int
    title: str
    help: str
    """What would work."""


KINDS: Mapping[str, ProblemKind] = {
    "no_token": ProblemKind(401, "A token is needed", "Send the header Authorization: Bearer TOKEN."),
    "wrong_host": ProblemKind(
        403, "This service does not go by that name", "Call it by localhost, or start it with --allow-host NAME."
    ),
    "wrong_origin": ProblemKind(403, "Other websites may not use this service", "Open the service's own page."),
    "not_found": ProblemKind(404, "There is nothing here", "See /v1/openapi.json for what there is."),
    "wrong_method": ProblemKind(405, "This address does not take that method", "See /v1/openapi.json."),
    "slow_upload": ProblemKind(408, "The picture came too slowly", "Send it again over a better connection."),
    "not_ready": ProblemKind(409, "The result is not there yet", "Follow /v1/jobs/{id}/events until it is done."),
    "no_result": ProblemKind(409, "There is no result", "The job failed or was cancelled; send the picture again."),
    "too_many_bytes": ProblemKind(
        413, "The file is too large", "Send a smaller file, or start the service with a larger --max-bytes."
    ),
    "too_many_pixels": ProblemKind(
        413,
        "The picture has too many pixels",
        "Send a smaller picture, enlarge it less, or start the service with a larger --max-pixels.",
    ),
    "unknown_format": ProblemKind(
        415,
        "This is not a picture that can be read here",
        "Send a PNG, JPEG, WebP, AVIF, HEIC, JPEG XL, GIF, BMP or TIFF file.",
    ),
    "wrong_type": ProblemKind(
        415,
        "The request holds no picture",
        "Send the file's bytes with Content-Type image/… or application/octet-stream, or a form with the field image.",
    ),
    "several_pictures": ProblemKind(
        422,
        "The file holds several pictures",
        "Save the one you want as a file of its own, or restore them all by the command: msrn restore.",
    ),
    "bad_image": ProblemKind(
        422, "The picture cannot be read", "Open and save it with another program, and try again."
    ),
    "bad_request": ProblemKind(422, "The request cannot be understood", "See /v1/openapi.json for what is taken."),
    "bad_options": ProblemKind(422, "These options do not go together", "Change what the message names."),
    "queue_full": ProblemKind(429, "Too many pictures are waiting", "Wait a little, and send it again."),
    "client_full": ProblemKind(
        429, "Too many of your pictures are waiting", "Wait until some are done, and send it again."
    ),
    "internal": ProblemKind(500, "Something went wrong here", "This is a fault of the program; please report it."),
    "no_memory": ProblemKind(503, "There is too little memory", "Try a smaller picture, or again later."),
    "no_worker": ProblemKind(
        503, "What restores ended unexpectedly", "Try again; a smaller picture needs less memory."
    ),
    "no_disk": ProblemKind(503, "The disk is full", "Make room on the disk that holds the cache, and try again."),
    "ending": ProblemKind(503, "The service is about to end", "Try again when it has been started anew."),
    "too_long": ProblemKind(
        504, "This took too long", "Send it to /v1/jobs, which waits longer, or enlarge less, or try again later."
    ),
}
"""By their code, which programs go by. This is also what OpenAPI documents."""


class ProblemError(HTTPException):
    """A refusal, as an exception.

    Args:
        code: a key of :data:`KINDS`.
        detail: what is wrong in this case.
        retry_after: seconds after which it is worth trying again.
    """

    def __init__(self, code: str, detail: str = "", retry_after: float | None = None) -> None:
        self.code, self.kind = code, KINDS[code]
        headers = {} if retry_after is None else {"Retry-After": str(max(1, round(retry_after)))}
        if self.kind.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        super().__init__(self.kind.status, detail or self.kind.title + ".", headers)

    def body(self) -> dict[str, str | int]:
        """The refusal as JSON."""
        return {
            "type": "about:blank",
            "code": self.code,
            "status": self.kind.status,
            "title": self.kind.title,
            "detail": self.detail,
            "help": self.kind.help,
        }

    def response(self) -> JSONResponse:
        """The refusal as an answer."""
        return JSONResponse(self.body(), self.kind.status, self.headers, MEDIA_TYPE)


def problem_of(failed: Failed) -> ProblemError:
    """What a worker's refusal is to a client."""
    message, (first, *_) = failed.message, (failed.message.split() or [""])
    names_a_file = "." in first
    return ProblemError(failed.refusal, f"{message if names_a_file else message[:1].upper() + message[1:]}.")


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's descriptions of refusals, by status, with an example of each."""
    described: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        error = ProblemError(code)
        entry = described.setdefault(error.status_code, {"description": error.kind.title})
        if error.kind.title not in entry["description"]:
            entry["description"] += f"; or: {error.kind.title}"
        content = entry.setdefault("content", {}).setdefault(
            MEDIA_TYPE, {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}
        )
        content["examples"][code] = {"value": error.body()}
        if error.kind.status == 429:
            seconds = {"schema": {"type": "integer", "minimum": 1}}
            entry["headers"] = {"Retry-After": {"description": "Seconds to wait", **seconds}}
    return described


PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "A refusal (RFC 9457).",
    "required": ["type", "code", "status", "title", "detail", "help"],
    "properties": {
        "type": {"type": "string"},
        "code": {"type": "string", "enum": list(KINDS)},
        "status": {"type": "integer"},
        "title": {"type": "string", "description": "What is wrong, in general."},
        "detail": {"type": "string", "description": "What is wrong here."},
        "help": {"type": "string", "description": "What would work."},
    },
}
