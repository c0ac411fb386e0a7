"""Which ways to restore go together: one rule and one text for the command line, the service and Python.

The texts name options, which have ``dashes`` on the command line and none elsewhere. Nothing heavy is imported here.
"""

from pathlib import Path

from msrn.errors import UsageError


def check_together(
    *,
    effort: int = 0,
    deadline: float = 0,
    confidence: bool = False,
    tta: bool = False,
    strength: float = 1.0,
    dashes: str = "",
) -> None:
    """Refuse ways to restore a picture that contradict each other.

    Args:
        effort: memory blocks to compute, 0 for all.
        deadline: seconds for the networks of a picture, 0 for any.
        confidence: whether errors are to be estimated.
        tta: whether flips are averaged.
        strength: share of the networks' changes to apply, 0 to 1.
        dashes: what stands before the names of options.

    Raises:
        UsageError: two of them do not go together, or there is no such deadline.

    Example:
        >>> check_together(effort=2, deadline=1.5, dashes="--")
        Traceback (most recent call last):
        UsageError: give --effort or --deadline, not both
    """
    if deadline < 0:
        raise UsageError(f"{dashes}deadline is in seconds from 0, which is any time, not {deadline:g}")
    if deadline and effort:
        raise UsageError(f"give {dashes}effort or {dashes}deadline, not both")
    if confidence and tta:
        why = "what the eight results differ by tells hardly more of their error"
        raise UsageError(f"{dashes}confidence is for one pass, as {why}: leave out {dashes}tta")
    if confidence and (deadline or effort or strength < 1):
        others = f"leave out {dashes}effort, {dashes}deadline and {dashes}strength"
        raise UsageError(f"{dashes}confidence is for the whole network's results in full: {others}")


def check_holds_exactly(target: Path, quality: int, dashes: str = "") -> None:
    """Refuse a file for a certified result that would be changed when it is written.

    Args:
        target: the file.
        quality: of lossy formats, 1 to 100.
        dashes: see :func:`check_together`.

    Raises:
        UsageError: its format does not keep every value.
    """
    from msrn.images import is_lossless

    if not is_lossless(target, quality):
        held, other = "png, tif, bmp, or webp of quality 100", "--ext" if dashes else "format"
        raise UsageError(f"{target} would not hold the result exactly: {dashes}consistent needs {held} ({other})")
