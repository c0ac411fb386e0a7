"""What a worker does with pictures: the command line's own functions, one picture at a time."""

import threading
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from msrn import images
from msrn.errors import TooManyPixelsError, UsageError
from msrn.images.isolated import Decoder
from msrn.images.picture import Picture
from msrn.images.resize import parse_size, resize
from msrn.network.catalogue import find
from msrn.restoration.assurance import Assurance, Assured
from msrn.restoration.automatic import Automatic, Enlarging, better_for
from msrn.restoration.certificate import keep_consistent
from msrn.restoration.chain import Chain
from msrn.restoration.region import restore_region
from msrn.restoration.restorer import Restorer
from msrn.restoration.steps import enlargement
from msrn.restoration.tiles import Rectangle
from msrn.restoration.together import check_holds_exactly, check_together
from msrn.service.messages import RestoreOptions, View, WorkerSettings
from msrn.types import Size, Task

_TASKS: dict[str, Task] = {"upscale": "sr", "denoise": "denoise", "dejpeg": "jpeg"}
CELL = 256
"""Side of the squares, in pixels, in which a view is restored: the first is there in a fraction of a second."""


class Plan:
    """What will be done to one picture.

    Args:
        picture: as it came.
        chain: the networks, in order, and why these.
        options: what was asked for.
    """

    def __init__(self, picture: Picture, chain: Chain, options: RestoreOptions) -> None:
        self._consistent = options.consistent
        self._assurance = Assurance(
            chain,
            picture,
            Path(f"result.{options.format}"),
            options.quality,
            confidence=options.confidence,
            consistent=options.consistent,
        )
        self.picture, self.steps, self.found, self._chain = picture, chain.steps, chain.found, chain
        self.note = "; ".join(filter(None, (picture.metadata.note, chain.note)))
        self._first: Picture | None = None
        self.scale, self.size = options.scale, _size(options)
        self.height, self.width = chain.result_size(picture, self.scale, self.size)

    @property
    def computing(self) -> str:
        """Backend and precision of the steps."""
        return ", ".join(dict.fromkeys(str(step.engine_for(self.picture).tuned.choice) for step in self.steps))

    def restored(self, progress: Callable[[int, float], None]) -> Assured:
        """The result; ``progress`` gets the step's number, from 0, and the share of it that is done."""
        result, watched = self.picture, self._assurance.restorer
        assert isinstance(watched, Chain)
        for result in watched.stages(self.picture, progress, scale=self.scale, size=self.size):
            if self._chain.bounded and self._first is None:
                self._first = result
        return self._assurance.of(result)

    @property
    def shows(self) -> bool:
        """Whether parts can be shown yet: what a file bounds is made as a whole, which is soon for a first step."""
        return not self._consistent and (not self._chain.bounded or self._first is not None)

    def region(self, region: Rectangle) -> Picture:
        """A rectangle of the result."""
        if self._first is not None:
            return restore_region(self.steps[1:], self._first, region, self.scale, self.size)
        return restore_region(self.steps, self.picture, region, self.scale, self.size)


class Studio:
    """The networks that were asked for so far, and a guarded process that decodes.

    Args:
        settings: of the worker.
        decoder: decodes strangers' files.
    """

    def __init__(self, settings: WorkerSettings, decoder: Decoder | None = None) -> None:
        self.settings = settings
        self.decoder = decoder or Decoder(settings.max_pixels, settings.decode_seconds)
        self._restorers: dict[tuple[str, str], Restorer] = {}
        self._loading = threading.Lock()

    def decode(self, source: str, name: str, *, coefficients: bool = False) -> Picture:
        """Decode a file, in a process of its own; of a JPEG file perhaps with the coefficients that bound results."""
        return self.decoder.decode(Path(source).read_bytes(), Path(name), coefficients=coefficients)

    def plan(self, picture: Picture, options: RestoreOptions, tile: int = 0) -> Plan:
        """Settle what will be done.

        Raises:
            UsageError: options that do not fit each other, the picture or the format.
            TooManyPixelsError: the result would be too large.
        """
        size, task = _size(options), options.task
        if options.scale is not None and size is not None:
            raise UsageError("give scale or to, not both")
        if options.model and task == "restore":
            raise UsageError("a model is for one task: ask for upscale, denoise or dejpeg with it")
        if task in ("denoise", "dejpeg") and (options.scale is not None or size is not None):
            raise UsageError(f"{task} does not enlarge: ask for restore or upscale with scale or to")
        check_together(effort=options.effort, confidence=options.confidence, strength=options.strength)
        target = Path(f"result.{options.format}")
        if options.consistent:
            check_holds_exactly(target, options.quality)

        def load(kind: str) -> Restorer:
            chosen = self._restorer(kind, options.model).with_effort(options.effort)
            return chosen.with_options(tile=tile, strength=options.strength)

        if task == "restore":
            chooser = Automatic(load, better=better_for(options.effort))
            chain = chooser.settled(picture, options.scale, size)
        elif task == "upscale" and not options.model:
            chain = Enlarging(load).settled(picture, options.scale, size)
        else:
            chain = Chain([load(_TASKS[task])], "")
        made = Plan(picture, chain, options)
        if made.width * made.height > self.settings.max_pixels:
            raise TooManyPixelsError(
                f"the result would have {made.width:,}×{made.height:,} = {made.width * made.height:,} pixels"
            )
        images.check_output(target, made.width, made.height)
        if options.format in ("jpg", "bmp") and picture.alpha is not None and picture.alpha.min() < 1:
            raise UsageError(
                f"the picture is transparent, which {options.format} cannot hold: ask for png, webp or tif"
            )
        return made

    def warm(self) -> None:
        """Load what most pictures need, while nobody waits for it."""
        self.decoder.start()
        images.get_ready()
        import numpy as np

        tasks: tuple[Task, ...] = ("jpeg", "denoise")
        for task in tasks:
            self._restorer(task, "")(Picture(np.zeros((3, 8, 8), np.float32)))

    def _restorer(self, task: str, model: str) -> Restorer:
        row, how = find(model) if model else None, self.settings
        key = (task, model)
        if model and (row is None or row.task != task):
            raise UsageError(f"the model {model} is not for this task; GET /v1/models lists those that are")
        with self._loading:
            if key not in self._restorers:
                self._restorers[key] = Restorer(
                    model or task, device=how.device, backend=how.backend, precision=how.precision
                )
            return self._restorers[key]

    def exported(self, source: str, name: str, restored: str, options: RestoreOptions) -> bytes:
        """A picture's file: as it came, or as it was restored, at some strength between the two."""
        if options.consistent:
            check_holds_exactly(Path(f"result.{options.format}"), options.quality)
        original = self.decode(source, name, coefficients=options.consistent)
        if not restored:
            return encoded(original, options)
        result = images.decode(Path(restored).read_bytes(), Path(name), max_pixels=self.settings.max_pixels)
        pixels = result.pixels
        if options.strength < 1:
            before = original.pixels
            if before.shape != pixels.shape:
                before = resize(before, **enlargement(original, options.scale, _size(options)))
            pixels = before + (pixels - before) * before.dtype.type(options.strength)
        made = original.with_pixels(pixels, result.alpha)
        return encoded(keep_consistent(original, made) if options.consistent else made, options)


def encoded(picture: Picture, options: RestoreOptions) -> bytes:
    """A picture as a file's content, as the command writes it."""
    buffer = BytesIO()
    images.prepare(
        picture,
        Path(f"result.{options.format}"),
        quality=options.quality,
        subsampling=options.subsampling,
        strip_metadata=options.strip_metadata,
    )(buffer)
    return buffer.getvalue()


def encoded_plainly(picture: Picture) -> bytes:
    """A picture as PNG in 8 bits without metadata but the colour profile."""
    kept = replace(picture.metadata, bits=8, exif=None, xmp=None, iptc=None, comment=None)
    return encoded(replace(picture, metadata=kept), RestoreOptions())


def cells(view: View, width: int, height: int) -> list[Rectangle]:
    """The squares that cover what somebody sees of a result, those nearest to the middle first."""
    x, y = view.x * width, view.y * height
    left, top = (max(0, int(middle - side / 2)) for middle, side in ((x, view.width), (y, view.height)))
    right, bottom = min(width, left + view.width), min(height, top + view.height)
    grid = [
        Rectangle(row, min(row + CELL, height), column, min(column + CELL, width))
        for row in range(top // CELL * CELL, bottom, CELL)
        for column in range(left // CELL * CELL, right, CELL)
    ]
    return sorted(
        grid, key=lambda cell: abs((cell.left + cell.right) / 2 - x) ** 2 + abs((cell.top + cell.bottom) / 2 - y) ** 2
    )


def _size(options: RestoreOptions) -> Size | None:
    return parse_size(options.to, "to") if options.to else None
