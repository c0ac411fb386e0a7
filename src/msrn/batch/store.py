"""The way of a restored picture or video into its file and into the manifest."""

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from msrn import __version__, images
from msrn.batch.output_folder import ClaimedOutput
from msrn.batch.plan import Job
from msrn.errors import OutputError
from msrn.images.picture import Picture
from msrn.types import Size

if TYPE_CHECKING:  # naming outputs needs no network
    from msrn.restoration.automatic import Automatic
    from msrn.restoration.restorer import Restorer


@dataclass(frozen=True)
class Settings:
    """What decides the output besides the pixels and the weights."""

    scale: float | None = None
    """See ``Restorer.__call__``."""
    size: Size | None = None
    """See ``Restorer.__call__``."""
    quality: int = 95
    subsampling: str = "4:4:4"
    strip_metadata: bool = False
    version: str = __version__
    """What this program was called; outputs of another version are not taken for this one's."""

    def digest(self, restorer: "Restorer | Automatic") -> str:
        """SHA-256 of everything that decides what becomes of an input."""
        return hashlib.sha256(json.dumps(asdict(self) | restorer.identity, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Store:
    """What writes the outputs of a batch, and records them."""

    output: ClaimedOutput
    settings: Settings
    digest: str
    """The settings' digest."""
    keep: bool
    """Keep what has come to exist under an output's name since the batch began."""

    def write(self, job: Job, picture: Picture, source: str) -> None:
        """Write a restored picture to its file or to standard output; ``source`` is the SHA-256 of its input.

        Raises:
            OutputError: it cannot be written, or has come to exist meanwhile.
        """
        settings = self.settings
        how: dict[str, Any] = {"quality": settings.quality, "subsampling": settings.subsampling}
        how["strip_metadata"] = settings.strip_metadata
        if job.to_stdout:
            buffer = BytesIO()  # TIFF cannot be written to a pipe
            images.prepare(picture, job.target, **how)(buffer)
            try:
                sys.stdout.buffer.write(buffer.getbuffer())
                sys.stdout.buffer.flush()
            except OSError as error:
                raise OutputError(f"cannot write to standard output: {error.strerror}") from error
        else:
            images.write(picture, job.target, before_rename=lambda made: self.record(job, made, source), **how)

    def record(self, job: Job, made: BinaryIO, source: str) -> None:
        """Note what is about to get its name, unless something else has got it meanwhile and is to be kept."""
        if self.keep and job.target.exists():
            raise OutputError(f"{job.target} has come to exist meanwhile and is kept")
        if self.output.manifest is not None:
            digest = hashlib.file_digest(cast(Any, made), "sha256").hexdigest()
            self.output.manifest.append(job.target, source, self.digest, digest)
