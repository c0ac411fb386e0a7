#!/usr/bin/env python3
"""GIMP 3: Filters > Enhance > MSRN. Each entry restores the layer by the command ``msrn`` and adds the result.

Put this folder, with the file executable, among GIMP's plug-ins (Preferences > Folders > Plug-ins). ``msrn`` must be on
the path, or ``$MSRN_COMMAND`` name it.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

PROCEDURES = {
    "plug-in-msrn-restore": ("_Restore", "restore", "Find out what the layer needs, and restore that"),
    "plug-in-msrn-denoise": ("Remove _noise", "denoise", "Remove noise; its level is judged from the layer"),
    "plug-in-msrn-dejpeg": ("Remove _JPEG artifacts", "dejpeg", "Remove JPEG artifacts; the quality is judged"),
    "plug-in-msrn-upscale": ("_Enlarge to twice the size", "upscale", "Enlarge the layer, as a new image"),
}


def restore(command: str, before: Path, after: Path) -> str:
    """Run ``msrn`` on a file; return what went wrong, or nothing."""
    program = shlex.split(os.environ.get("MSRN_COMMAND", "msrn"))
    try:
        words = [*program, command, str(before), "--output", str(after), "--quiet"]
        done = subprocess.run(words, capture_output=True, text=True)
    except OSError as error:
        return f"msrn cannot be started ({error.strerror}): install msrn-pytorch, or set MSRN_COMMAND"
    return "" if done.returncode == 0 else (done.stderr.strip() or f"msrn ended with {done.returncode}")


def main() -> None:
    """Register with GIMP, whose modules exist inside it only."""
    import gi

    gi.require_version("Gimp", "3.0")
    from gi.repository import Gimp, Gio, GLib

    class Msrn(Gimp.PlugIn):
        def do_query_procedures(self):
            return list(PROCEDURES)

        def do_set_i18n(self, name):
            return False

        def do_create_procedure(self, name):
            label, command, says = PROCEDURES[name]
            procedure = Gimp.ImageProcedure.new(self, name, Gimp.PDBProcType.PLUGIN, run, command)
            procedure.set_image_types("RGB*, GRAY*")
            procedure.set_sensitivity_mask(Gimp.ProcedureSensitivityMask.DRAWABLE)
            procedure.set_menu_label(label)
            procedure.add_menu_path("<Image>/Filters/Enhance/MSRN")
            procedure.set_documentation(says, f"Runs msrn {command}", name)
            procedure.set_attribution("The MSRN-PyTorch authors", "The MSRN-PyTorch authors", "2026")
            return procedure

    def ended(procedure, status, text=""):
        return procedure.new_return_values(status, GLib.Error(text) if text else None)

    def run(procedure, run_mode, image, drawables, config, command):
        if len(drawables) != 1:
            return ended(procedure, Gimp.PDBStatusType.CALLING_ERROR, "Choose one layer.")
        drawable, quiet = drawables[0], Gimp.RunMode.NONINTERACTIVE
        Gimp.progress_init("MSRN")
        with tempfile.TemporaryDirectory() as folder:
            before, after = Path(folder, "before.png"), Path(folder, "after.png")
            alone = Gimp.Image.new_with_precision(
                drawable.get_width(), drawable.get_height(), image.get_base_type(), image.get_precision()
            )
            alone.insert_layer(Gimp.Layer.new_from_drawable(drawable, alone), None, 0)
            Gimp.file_save(quiet, alone, Gio.File.new_for_path(str(before)), None)
            alone.delete()
            wrong = restore(command, before, after)
            if wrong:
                return ended(procedure, Gimp.PDBStatusType.EXECUTION_ERROR, wrong)
            result = Gio.File.new_for_path(str(after))
            if command == "upscale":
                Gimp.Display.new(Gimp.file_load(quiet, result))
            else:
                image.undo_group_start()
                layer = Gimp.file_load_layer(quiet, image, result)
                layer.set_name(f"{drawable.get_name()} (msrn {command})")
                image.insert_layer(layer, drawable.get_parent(), image.get_item_position(drawable))
                _, x, y = drawable.get_offsets()
                layer.set_offsets(x, y)
                image.undo_group_end()
                Gimp.displays_flush()
        return ended(procedure, Gimp.PDBStatusType.SUCCESS)

    Gimp.main(Msrn.__gtype__, sys.argv)


if __name__ == "__main__":
    main()
