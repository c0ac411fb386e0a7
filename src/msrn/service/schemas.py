"""What the API takes and gives, as OpenAPI documents it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from msrn.service.computations import Computation, Result
from msrn.service.jobs import Job
from msrn.service.messages import FormatName, RestoreOptions, TaskName, View
from msrn.types import Subsampling, Task

MEDIA_TYPES: dict[FormatName, str] = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "tif": "image/tiff",
    "bmp": "image/bmp",
}
"""By the format's name."""
_LARGEST_SCALE = 8
_SIZE = r"^([1-9][0-9]{0,5}x([1-9][0-9]{0,5})?|x[1-9][0-9]{0,5})$"


class FormatQuery(BaseModel):
    """How a picture is written."""

    model_config = ConfigDict(extra="forbid")

    format: FormatName = Field("png", description="Format of the result; png and tif keep 16 bits.")
    quality: int = Field(95, ge=1, le=100, description="Of jpg and webp; webp at 100 is lossless.")
    subsampling: Subsampling = Field("4:4:4", description="Chroma of jpg.")
    strip_metadata: bool = Field(False, description="Leave EXIF, XMP, IPTC, colour profile and texts out.")
    strength: float = Field(1.0, ge=0, le=1, description="Share of the networks' changes to apply.")


class RestoreQuery(FormatQuery):
    """What to do with a picture: as the command's options of these names."""

    task: TaskName = Field("restore", description="`restore` finds out what the picture needs.")
    model: Annotated[str, StringConstraints(max_length=64, pattern=r"^[A-Za-z0-9_.-]*$")] = Field(
        "", description="Weights, by a name from /v1/models; empty for the task's own. Not with `restore`."
    )
    scale: float | None = Field(None, ge=1, le=_LARGEST_SCALE, description="Enlarge by this factor.")
    to: str = Field(
        "",
        description="Enlarge to this size instead: 1920x1080, or 1920x or x1080 to keep proportions.",
        pattern=f"^$|{_SIZE}",
        max_length=13,
        examples=["1920x"],
    )
    effort: int = Field(0, ge=0, le=64, description="Memory blocks to compute, from 1: fewer are faster; 0 is all.")
    consistent: bool = Field(
        False, description="Keep the result to what its input allows, and check it. For png, tif, bmp, webp at 100."
    )
    confidence: bool = Field(
        False,
        description="Say how far the result is likely to be from the truth; jobs have a map of where it may be wrong.",
    )

    def options(self) -> RestoreOptions:
        """The same, as a worker takes it."""
        return RestoreOptions(**self.model_dump(include=set(RestoreOptions.__dataclass_fields__)))


class JobQuery(RestoreQuery):
    """What to do, and what somebody looks at: that is restored first."""

    view: str = Field(
        "",
        description="What is looked at: X,Y,WIDTHxHEIGHT; the centre as shares of the result, the size in its pixels.",
        pattern=r"^$|^(0(\.[0-9]{1,6})?|1(\.0{1,6})?),(0(\.[0-9]{1,6})?|1(\.0{1,6})?),[1-9][0-9]{0,3}x[1-9][0-9]{0,3}$",
        max_length=40,
        examples=["0.5,0.5,1280x800"],
    )

    def looked_at(self) -> View | None:
        """The same, as a worker takes it."""
        if not self.view:
            return None
        x, y, size = self.view.split(",")
        width, _, height = size.partition("x")
        return View(float(x), float(y), int(width), int(height))


class ViewBody(BaseModel):
    """What somebody looks at."""

    model_config = ConfigDict(extra="forbid")

    x: float = Field(ge=0, le=1, description="Centre, as a share of the result's width.")
    y: float = Field(ge=0, le=1, description="Likewise of its height.")
    width: int = Field(ge=1, le=9999, description="In pixels of the result.")
    height: int = Field(ge=1, le=9999)


class FoundAnswer(BaseModel):
    """What a picture was found to need."""

    note: str = Field(description="In words, as the command says it.", examples=["JPEG quality 42 removed"])
    steps: list[Task] = Field(description="The networks' tasks, in order; none if the picture needs nothing.")
    width: int = Field(description="Of the result.")
    height: int
    sigma: float | None = Field(None, description="Noise that was found, on the scale of 0 to 255.")
    quality: int | None = Field(None, description="JPEG quality that was found.")


class ProgressAnswer(BaseModel):
    """How far a job is: tiles of the step at hand."""

    step: int
    done: int
    total: int


class ConfidenceAnswer(BaseModel):
    """How far a result is likely to be from the truth: root mean square, in grey levels of 255."""

    error: float = Field(description="In half of such pictures it is smaller.")
    below: float = Field(description="What it is below in that share of such pictures.")
    share: float = Field(examples=[0.9])


class DepartureAnswer(BaseModel):
    """How far a result departs from what its input allows."""

    consistent: bool = Field(description="Whether nothing is outside.")
    of: Literal["coefficients", "values"]
    checked: int
    outside: int
    largest: float = Field(description="Of coefficients in steps, 0.5 ending the interval; of values in grey levels.")
    reduced_by: str | None = Field(description="The kernel, where the result is larger than the input.")


class JobAnswer(BaseModel):
    """A job."""

    id: str
    name: str = Field(description="What its sender called the picture.")
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    position: int = Field(description="How many pictures are before it.")
    found: FoundAnswer | None = None
    progress: ProgressAnswer | None = None
    problem: dict[str, str | int] | None = Field(None, description="Why it failed, as refusals are described.")
    result: str | None = Field(None, description="Address of the result.")
    bytes: int | None = Field(None, description="Size of the result's file.")
    computing: str | None = Field(None, description="Backend and precision.")
    seconds: float | None = Field(None, description="Spent by the networks.")
    confidence: ConfidenceAnswer | None = Field(None, description="Where it was asked for and is known.")
    confidence_map: str | None = Field(None, description="Address of the map of where the result may be wrong.")
    departure: DepartureAnswer | None = Field(None, description="Of a result that was to be consistent.")
    events: str = Field(description="Address of what happens to it, as server-sent events.")


class ModelAnswer(BaseModel):
    """Weights that a picture can be restored with."""

    name: str
    task: TaskName
    default: bool = Field(description="Whether the task takes it by itself.")
    color: bool = Field(description="Whether it sees red, green and blue together.")
    summary: str


class LimitsAnswer(BaseModel):
    """What this service takes."""

    bytes: int
    pixels: int
    waiting: int
    seconds: float


class ModelsAnswer(BaseModel):
    """What this service can do."""

    version: str
    models: list[ModelAnswer]
    limits: LimitsAnswer
    formats: list[FormatName]


class StatusAnswer(BaseModel):
    """How the service is."""

    status: str = Field(examples=["ok"])
    waiting: int = 0


def found_of(computation: Computation) -> FoundAnswer | None:
    """What is known of what a picture needs."""
    known: Result | None = computation.result
    found = known or computation.found
    if found is None:
        return None
    return FoundAnswer.model_validate(
        {name: getattr(found, name) for name in ("note", "steps", "width", "height", "sigma", "quality")}
    )


def job_answer(job: Job, position: int) -> JobAnswer:
    """A job, as the API tells it."""
    computation, tile, result = job.computation, job.computation.progress, job.computation.result
    said: dict[str, Any] = {"confidence": None, "departure": None}
    if result is not None:
        said = {name: getattr(result, name) for name in said}
    return JobAnswer(
        id=job.id,
        name=job.upload.name,
        state=computation.state,
        position=position,
        found=found_of(computation),
        progress=None if tile is None else ProgressAnswer(step=tile.step, done=tile.done, total=tile.total),
        problem=None if computation.problem is None else computation.problem.body(),
        result=f"/v1/jobs/{job.id}/result" if result else None,
        bytes=result.size if result else None,
        computing=result.computing if result else None,
        seconds=result.seconds if result else None,
        confidence=said["confidence"] and ConfidenceAnswer(**said["confidence"]),
        confidence_map=f"/v1/jobs/{job.id}/confidence" if result and result.heatmap else None,
        departure=said["departure"] and DepartureAnswer(**said["departure"]),
        events=f"/v1/jobs/{job.id}/events",
    )
