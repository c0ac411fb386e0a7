"""One call for one task: an image of any usual kind goes in, the restored one comes out as the same kind.

=================  =====================================================================================
in                 out
=================  =====================================================================================
path               a :class:`~msrn.images.picture.Picture`, for ``msrn.write``; a file of several is an error
``Frames``         ``Frames``, each restored when it is asked for, for ``msrn.write_frames``
``Picture``        a ``Picture``
image of PIL       an image of PIL; colour profile, EXIF and resolution go along
numpy array        an array of the same type: ``(H, W)`` or ``(H, W, C)``, or a batch ``(N, H, W, C)``; C = 1
                   (gray), 2 (gray and alpha), 3 (RGB) or 4 (RGB and alpha); uint8, uint16, or floating point in [0, 1]
tensor of torch    a tensor of the same type on the same device: ``(C, H, W)`` or a batch ``(N, C, H, W)``
list or tuple      a list
=================  =====================================================================================

Floating point is clipped to [0, 1] and not rounded. Weights are loaded once for each way to compute.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import numpy as np

from msrn.errors import UsageError
from msrn.images import Frames, read
from msrn.images.picture import Picture
from msrn.restoration.automatic import Automatic, Chooser, Enlarging, better_for
from msrn.restoration.restorer import Restorer
from msrn.restoration.together import check_together
from msrn.types import BackendName, Precision, Size, Task

if TYPE_CHECKING:
    from msrn.restoration.certificate import Departure
    from msrn.restoration.confidence import Confidence

Name = Literal["restore", "upscale", "denoise", "dejpeg"]
"""The functions here."""


class Computing(TypedDict, total=False):
    """How to compute: see :class:`~msrn.restoration.restorer.Restorer`."""

    device: str
    backend: BackendName
    precision: Precision
    tile: int
    tta: bool
    strength: float
    effort: int


def upscale(
    image: Any,
    scale: float | None = None,
    *,
    size: Size | None = None,
    weights: str | Path | None = None,
    deadline: float = 0,
    consistent: bool = False,
    **computing: Unpack[Computing],
) -> Any:
    """Enlarge an image, or several.

    Args:
        image: see this module.
        scale: factor for both sides, from 1; 2 if no size is given either. What is beyond 4 is interpolated.
        size: exact new ``(height, width)`` instead; None for one keeps proportions.
        weights: a catalogue name or a file; by default the task's own, and what was read from a JPEG file is freed of
            its artifacts first.
        deadline: seconds that the networks may take for each picture, by a forecast: they end after as many of their
            memory blocks as fit, at least one; 0 for any. Not with ``effort``.
        consistent: move the result into what its input allows (:func:`verify` tells whether it is); of a JPEG's picture
            that needs the file: give its path, or a picture read with ``coefficients=True``.
        computing: arguments of :class:`~msrn.restoration.restorer.Restorer`.

    Returns:
        The same kind as ``image``.

    Raises:
        MSRNError: no such image, weights, size or option, or nothing bounds a result that is to be consistent; the
            message says what to do.

    Example:
        >>> larger = msrn.upscale(skimage.data.astronaut(), 2)
    """
    restorer = _restorer("sr", weights, **computing) if weights else _enlarging(**computing)
    return _restored(image, _Way(restorer, scale, size, deadline, consistent), computing)


def denoise(
    image: Any,
    *,
    weights: str | Path = "denoise",
    deadline: float = 0,
    consistent: bool = False,
    **computing: Unpack[Computing],
) -> Any:
    """Remove noise from an image, or several; see :func:`upscale` for the arguments.

    Nothing bounds such a result, so ``consistent`` is refused.

    Example:
        >>> clean = msrn.denoise(Image.open("photo.png"), strength=0.7)
    """
    way = _Way(_restorer("denoise", weights, **computing), deadline=deadline, consistent=consistent)
    return _restored(image, way, computing)


def dejpeg(
    image: Any,
    *,
    weights: str | Path = "jpeg",
    deadline: float = 0,
    consistent: bool = False,
    **computing: Unpack[Computing],
) -> Any:
    """Remove JPEG artifacts from an image, or several; see :func:`upscale` for the arguments.

    Example:
        >>> msrn.write(msrn.dejpeg("photo.jpg"), "clean.png")
    """
    way = _Way(_restorer("jpeg", weights, **computing), deadline=deadline, consistent=consistent)
    return _restored(image, way, computing)


def restore(
    image: Any,
    *,
    scale: float | None = None,
    size: Size | None = None,
    deadline: float = 0,
    consistent: bool = False,
    **computing: Unpack[Computing],
) -> Any:
    """Find out what an image needs and restore that; enlarge it if a scale or size is given.

    See :func:`upscale` for the arguments.

    Example:
        >>> restored = msrn.restore("photo.jpg", scale=2)
    """
    return _restored(image, _Way(_automatic(**computing), scale, size, deadline, consistent), computing)


def with_confidence(
    image: Any,
    name: Name = "restore",
    *,
    scale: float | None = None,
    size: Size | None = None,
    weights: str | Path | None = None,
    **computing: Unpack[Computing],
) -> "tuple[Any, Confidence]":
    """Restore one image as the named function does, and estimate how far the result is from the truth.

    Where ``restore`` also enlarges, it takes the same networks for small pictures as for large ones: the errors of the
    larger ones were measured for pictures that keep their size.

    Args:
        image: as for :func:`upscale`, but not several.
        name: ``restore``, ``upscale``, ``denoise`` or ``dejpeg``.
        scale: as for :func:`upscale`.
        size: likewise.
        weights: for all but ``restore``; see :func:`upscale`.
        computing: arguments of :class:`~msrn.restoration.restorer.Restorer`; not tta, strength or effort.

    Returns:
        What the named function returns, and a :class:`~msrn.restoration.confidence.Confidence`.

    Raises:
        MSRNError: as the named function; or the errors of these weights, applied like that, were not measured.

    Example:
        >>> restored, confidence = msrn.with_confidence("photo.jpg", "dejpeg")
        >>> print(confidence)
        error likely 3.1 grey levels, below 4.0 in 90% of such pictures
    """
    from msrn.restoration.confidence import Confidence, restore_with_confidence

    _check_single(image, "a confidence is of one image")
    check_together(
        confidence=True,
        effort=computing.get("effort", 0),
        tta=computing.get("tta", False),
        strength=computing.get("strength", 1.0),
    )
    restorer, found = _named(name, weights, **computing), list[Confidence]()
    if (scale is not None or size is not None) and name in ("denoise", "dejpeg"):
        raise UsageError(f"{name} does not enlarge: leave out scale and size")

    def restore(picture: Picture) -> Picture:
        settled = restorer.settled(picture, scale, size)
        made, confidence = restore_with_confidence(settled, picture, scale=scale, size=size)
        found.append(confidence)
        return made

    return _mapped(restore, image), found[0]


def verify(source: Any, result: Any) -> "Departure":
    """Check whether a result keeps to what its input allows, whoever made it, as ``msrn verify`` does.

    Args:
        source: what was restored, as for :func:`upscale`, but not several: the path of a JPEG file, or a picture that
            was enlarged.
        result: what was made of it, likewise, as large or larger.

    Returns:
        A :class:`~msrn.restoration.certificate.Departure`.

    Raises:
        MSRNError: nothing bounds such a result, or these cannot belong together; the message says why.

    Example:
        >>> departure = msrn.verify("photo.jpg", "restored.png")
        >>> departure.consistent, departure.outside
    """
    from msrn.restoration.certificate import measure

    found = list[Picture]()

    def keep(picture: Picture) -> Picture:
        found.append(picture)
        return picture

    for image in (source, result):
        _check_single(image, "a result is checked against one input")
        _mapped(keep, image, coefficients=True)
    return measure(*found)


@dataclass(frozen=True)
class _Way:
    """How one picture is restored."""

    restorer: Restorer | Chooser
    scale: float | None = None
    size: Size | None = None
    deadline: float = 0
    consistent: bool = False

    def __call__(self, picture: Picture) -> Picture:
        chosen = self.restorer.settled(picture, self.scale, self.size, quick=bool(self.deadline))
        if self.deadline:
            chosen = chosen.within(self.deadline, picture, self.scale, self.size)
        if not self.consistent:
            return chosen(picture, scale=self.scale, size=self.size)
        from msrn.restoration.assurance import certify, check_bounded

        check_bounded(chosen)
        return certify(chosen, picture, chosen(picture, scale=self.scale, size=self.size))


def _restored(image: Any, way: _Way, computing: Computing) -> Any:
    check_together(effort=computing.get("effort", 0), deadline=way.deadline)
    if way.consistent and isinstance(image, Frames):
        raise UsageError("Frames hold several pictures, and results are certified for single ones")
    return _mapped(way, image, coefficients=way.consistent)


def _check_single(image: Any, why: str) -> None:
    if isinstance(image, list | tuple | Frames) or getattr(image, "ndim", 0) == 4:
        raise UsageError(f"{why}: give them one after the other")


def _named(name: Name, weights: str | Path | None, **computing: Unpack[Computing]) -> Restorer | Chooser:
    if name == "restore":
        if weights is not None:
            raise UsageError(
                "restore chooses among the weights of all tasks: leave weights out, or name another function"
            )
        return _automatic(**computing)
    if name == "upscale" and weights is None:
        return _enlarging(**computing)
    tasks: dict[str, Task] = {"upscale": "sr", "denoise": "denoise", "dejpeg": "jpeg"}
    if name not in tasks:
        raise UsageError(f"unknown function {name!r}; known: restore, {', '.join(tasks)}")
    return _restorer(tasks[name], weights or tasks[name], **computing)


def _restorer(task: Task, weights: str | Path, **computing: Unpack[Computing]) -> Restorer:
    made = _loaded(weights, **computing)
    made.check_task(task)
    return made


@lru_cache(maxsize=16)
def _loaded(weights: str | Path, **computing: Unpack[Computing]) -> Restorer:
    return Restorer(weights, **computing)


@lru_cache(maxsize=16)
def _automatic(**computing: Unpack[Computing]) -> Automatic:
    return Automatic(lambda name: _loaded(name, **computing), better=better_for(computing.get("effort", 0)))


@lru_cache(maxsize=16)
def _enlarging(**computing: Unpack[Computing]) -> Enlarging:
    return Enlarging(lambda task: _restorer(task, task, **computing))


def _mapped(restore: Callable[[Picture], Picture], image: Any, *, coefficients: bool = False) -> Any:
    """Restore an image as a picture, and return the result as what it came as; of a file, with its coefficients."""
    pil, torch = sys.modules.get("PIL.Image"), sys.modules.get("torch")  # nobody has made one without importing it
    if isinstance(image, Picture):
        return restore(image)
    if isinstance(image, Frames):
        return image.map(restore)
    if isinstance(image, str | Path):
        return restore(read(image, coefficients=coefficients))
    if isinstance(image, list | tuple):
        return [_mapped(restore, each, coefficients=coefficients) for each in image]
    if pil is not None and isinstance(image, pil.Image):
        made = restore(Picture.from_pil(image)).to_pil()
        made.info |= {key: value for key, value in image.info.items() if key != "transparency"}  # now a plane
        return made
    if torch is not None and isinstance(image, torch.Tensor):
        return _of_tensor(restore, image)
    return _of_array(restore, np.asarray(image))


def _of_tensor(restore: Callable[[Picture], Picture], tensor: Any) -> Any:
    if tensor.ndim not in (3, 4):
        raise UsageError(f"a tensor has shape (C, H, W) or (N, C, H, W), got {tuple(tensor.shape)}")
    array = tensor.detach().movedim(-3, -1).cpu()
    half = str(tensor.dtype) == "torch.bfloat16"  # which numpy lacks
    made = _of_array(restore, (array.float() if half else array).numpy())
    return sys.modules["torch"].from_numpy(made).movedim(-1, -3).contiguous().to(tensor)


def _of_array(restore: Callable[[Picture], Picture], array: Any) -> Any:
    if array.ndim == 4:
        if not len(array):
            raise UsageError("there is no image in the batch")
        return np.stack([_of_array(restore, each) for each in array]).astype(array.dtype, copy=False)
    picture = restore(Picture.from_array(array))
    if array.dtype.kind == "f":
        planes = picture.pixels if picture.alpha is None else np.concatenate([picture.pixels, picture.alpha])
        made = np.moveaxis(planes.clip(0, 1), 0, -1).astype(array.dtype)
    else:
        made = np.atleast_3d(picture.to_array()).astype(array.dtype, copy=False)
    return made[:, :, 0] if array.ndim == 2 else made
