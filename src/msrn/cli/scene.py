"""One raster that memory does not hold, by any of the commands for photographs."""

import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from msrn.cli.console import Bar, print_data, say
from msrn.errors import UsageError
from msrn.system.extras import install_command, installed_version

if TYPE_CHECKING:
    from msrn.cli.restoring import CommonOptions, Load, SizeOptions


def is_scene(path: Path) -> bool:
    """Whether an input is a raster that is restored window by window; says so where the extra for that is missing."""
    if path.suffix.lower() not in (".tif", ".tiff", ".zarr"):
        return False
    from msrn.images.raster import is_raster

    if not is_raster(path):
        return False
    if installed_version("rasterio") is None:
        say(f"msrn: warning: {path} is a raster; its coordinates are lost without: {install_command('raster')}")
        return False
    return True


def restore_scene(
    load: "Load", done: str, source: Path, output: Path, common: "CommonOptions", size: "SizeOptions"
) -> None:
    """Restore a raster and say what was done; ``done`` says what is done to all alike."""
    from msrn.batch.raster import begun_with, restore_raster

    if common.dry_run or common.compare is not None or common.confidence is not None:
        raise UsageError(f"{source} is a raster: --dry-run, --compare and --confidence are for pictures")
    target = output if output.suffix and not output.is_dir() else output / f"{source.stem}{common.names.suffix}.tif"
    if common.skip_existing and target.exists():
        say(f"{target}  (exists, skipped)")
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: what is done is kept
    restorer, began = load(begun_with(target)), time.perf_counter()
    with Bar(common.quiet) as bar:
        made = restore_raster(
            source,
            target,
            restorer,
            scale=size.scale,
            size=size.exact,
            overwrite=common.overwrite,
            progress=lambda share: bar.show(source.name, share),
        )
    seconds, note = time.perf_counter() - began, "; ".join(filter(None, (done, made.note)))
    if common.as_json:
        row = {"input": str(source), "output": str(target), "note": note, "size_before": made.size_before}
        print_data(json.dumps([row | {"size": made.size, "seconds": round(seconds, 3)}], indent=2))
    if not common.quiet:
        before, after = (f"{width}×{height}" for width, height in (made.size_before, made.size))
        again = f"; {made.continued} of {made.windows} windows made before" if made.continued else ""
        say(f"{target}  ({note}; {before} → {after}{again}; {seconds:.1f} s)")
