"""The exceptions a user can meet, each with the exit code the command line ends with.

Every message says what came, what was expected, and what to do about it. Anything that is not an
:class:`MSRNError` is a bug in this package and ends with exit code 1.
"""


class MSRNError(Exception):
    """Base of all errors that a user can cause and mend."""

    exit_code = 1


class UsageError(MSRNError):
    """An argument, option, recipe or array that does not fit (exit code 2)."""

    exit_code = 2


class ImageError(MSRNError):
    """An image file that cannot be read, or is not what it claims to be (exit code 3)."""

    exit_code = 3


class TooManyPixelsError(ImageError):
    """An image of more pixels than are taken; found before it is decoded."""


class UnknownFormatError(ImageError):
    """A file that is no image of a format read here."""


class SeveralPicturesError(ImageError):
    """A file of several frames or pages, where one was asked for without saying which."""


class WeightsError(MSRNError):
    """A weights file or checkpoint that is missing, unknown, damaged or unfit (exit code 4)."""

    exit_code = 4


class OutputError(MSRNError):
    """An output that cannot be written (exit code 5)."""

    exit_code = 5
