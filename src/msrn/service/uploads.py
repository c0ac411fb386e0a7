"""A picture comes in: as a form's file or as the body itself, straight into a file named after its content."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from urllib.parse import unquote

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from msrn.service.computations import Upload
from msrn.service.kept_files import KeptFiles
from msrn.service.problems import ProblemError
from msrn.service.settings import ServiceSettings

_CHUNK = 1 << 18
_LONGEST_NAME = 120


async def receive(request: Request, files: KeptFiles, settings: ServiceSettings) -> Upload:
    """Store the picture that a request holds.

    Raises:
        ProblemError: it holds none, or one of too many bytes.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _from_form(request, files, settings)
    if kind.startswith("image/") or kind == "application/octet-stream":
        name = unquote(request.headers.get("x-file-name", ""))
        return await _stored(request.stream(), name, files, settings)
    raise ProblemError("wrong_type", f"Its Content-Type is {kind[:60]!r}." if kind else "It has no Content-Type.")


async def _from_form(request: Request, files: KeptFiles, settings: ServiceSettings) -> Upload:
    try:
        async with request.form(max_files=1, max_fields=8, max_part_size=4096) as form:
            image = form.get("image")
            if not isinstance(image, UploadFile):
                raise ProblemError("bad_request", "The form has no file in its field image.")
            return await _stored(_chunks(image), image.filename or "", files, settings)
    except HTTPException as error:
        if isinstance(error, ProblemError):
            raise
        raise ProblemError("bad_request", f"The form is damaged: {error.detail}") from error


async def _chunks(image: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await image.read(_CHUNK):
        yield chunk


async def _stored(chunks: AsyncIterator[bytes], name: str, files: KeptFiles, settings: ServiceSettings) -> Upload:
    temporary, digest, size = files.temporary(), hashlib.sha256(), 0
    try:
        with temporary.open("xb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > settings.max_bytes:
                    raise ProblemError("too_many_bytes", f"A file may have {settings.max_bytes:,} bytes here.")
                digest.update(chunk)
                file.write(chunk)
        kept = f"input-{digest.hexdigest()}"
        files.keep(temporary, kept)
    except OSError as error:
        raise ProblemError("no_disk", f"{error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return Upload(kept, digest.hexdigest(), _plain(name), size)


def _plain(name: str) -> str:
    """A file's name without folders and without what cannot be printed."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return "".join(c for c in last if c.isprintable())[:_LONGEST_NAME] or "picture"
