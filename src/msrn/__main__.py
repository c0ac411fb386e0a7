"""``msrn`` and ``python -m msrn``: one command in a process of its own, sooner begun and sooner ended."""

import os
import sys
from contextlib import suppress

from msrn.system.guarded_process import start_ahead

_RESTORING = ("restore", "upscale", "denoise", "dejpeg")


def run() -> None:
    """Run a command.

    A restoring command's process for decoding imports what it needs while this one does the same. In the end, libraries
    are not unloaded one by one, unless torch is among them, which has processes and files of its own to close.
    """
    streams = (sys.stdin, sys.stdout, sys.stderr)
    if all(streams) and sys.argv[1:2] and sys.argv[1] in _RESTORING and not {"-h", "--help", "--dry-run"} & {*sys.argv}:
        start_ahead("msrn.images.isolated")
    from msrn.cli import main

    code: object = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    with suppress(OSError, ValueError):
        if isinstance(code, int) and "torch" not in sys.modules:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    run()
