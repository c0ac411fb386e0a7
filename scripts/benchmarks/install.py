"""What stands between a newcomer and the first restored picture: megabytes, and seconds.

    python scripts/benchmarks/install.py [CHECKOUT] [--extras fast,video]

pip downloads a checkout and what it needs, with its constraints, then installs it into an empty environment from its
warm cache; ``msrn restore`` then restores a JPEG of 512×512 pixels twice, with an empty cache at first.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Install, restore, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, nargs="?", default=ROOT)
    parser.add_argument("--extras", default="", help="with commas; none is what the README installs")
    options = parser.parse_args()
    wanted = f".[{options.extras}]" if options.extras else "."
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = Image.open(ROOT / "demo" / "photographs" / "coffee.png").convert("RGB").crop((0, 0, 512, 512))
        photo.save(folder / "photo.jpg", quality=30)

        def run(*command: object) -> float:
            started = time.perf_counter()
            environment = os.environ | {"MSRN_CACHE": str(folder / "cache"), "PYTHONPATH": ""}
            subprocess.run([*map(str, command)], cwd=options.checkout, env=environment, check=True)
            return time.perf_counter() - started

        pip = ("-m", "pip", "--quiet", "--disable-pip-version-check")
        run(sys.executable, *pip, "download", "-c", "constraints.txt", "-d", folder / "wheels", wanted)
        downloaded = _megabytes(folder / "wheels")
        made = run(sys.executable, "-m", "venv", folder / "venv")
        python, empty = folder / "venv" / "bin" / "python", _megabytes(folder / "venv")
        installed = run(python, *pip, "install", "--no-compile", "-c", "constraints.txt", wanted)
        unpacked = _megabytes(folder / "venv") - empty
        restore = (folder / "venv" / "bin" / "msrn", "restore", folder / "photo.jpg", "--overwrite", "-q")
        first, second = (run(*restore, "-o", folder / "restored.png") for _ in range(2))
    print(f"downloaded {downloaded:.0f} MB, unpacked {unpacked:.0f} MB")
    print(f"environment and installation {made + installed:.1f} s, first picture {first:.1f} s, second {second:.1f} s")


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


if __name__ == "__main__":
    main()
