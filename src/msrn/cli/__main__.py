"""``python -m msrn.cli`` is ``msrn``."""

from msrn.cli import main

main()
