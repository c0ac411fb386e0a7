"""``python -m msrn`` is ``msrn``."""

from msrn.cli import main

main()
