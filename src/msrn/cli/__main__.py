"""``python -m msrn.cli`` is ``msrn``."""

from msrn.__main__ import run

run()
