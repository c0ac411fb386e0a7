"""Gathers the photographs that likely errors are calibrated on, and those that they are checked on.

    python scripts/benchmarks/unseen_photographs.py PACKAGES DATA OUT

PACKAGES is a folder with each of SOURCES unpacked in a folder of its name (Debian's packages by ``dpkg-deb -x``, the
others are public repositories), DATA the one with T91 and BSD200. No network was trained on any of these pictures.
Writes PNGs into ``OUT/calibration``, ``OUT/final``, ``OUT/test`` and ``OUT/reserve``, which nothing has looked at yet.
Pictures of the first calibration stay in it, the final part of ``photographs.py`` is kept for figures alone, and of all
others the first digit of their name's SHA-256 decides. Those were compressed once, so they are reduced by Pillow's
Lanczos to nine sixteenths, or to 720 pixels on the long side, whichever is less; pictures whose short side is then
below 192 are left out.
"""

import argparse
import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from msrn.images.folder import list_images
from msrn.training.loader import split

LONG = 720
SHORT = 192
COMPRESSED = 1000
"""Longer pictures were compressed once, or may have been."""
CALIBRATED = {
    "plasma-workspace-wallpapers": "Kite DarkestHour Autumn ColdRipple Grey",
    "mate-backgrounds": "Wood Aqua RainDrops Blinds FreshFlower YellowFlower Storm",
    "scikit-image": "astronaut chelsea rocket brick grass gravel coins moon hubble_deep_field retina ihc",
}
"""The first calibration, with 15 images of T91 and BSD200 that every training run holds out."""
FINAL = {
    "plasma-workspace-wallpapers": "FallenLeaf Path EveningGlow ColorfulCups OneStandsOut BytheWater summer_1am",
    "mate-backgrounds": "Garden Dune TwoWings GreenMeadow LadyBird",
    "scikit-image": "motorcycle_left coffee",
}
"""Of ``photographs.py``: figures alone."""
SOURCES = {
    "gcompris-qt-data": "erase clickgame explore_farm_animals explore_monuments explore_world_animals "
    "explore_world_music",
    "opencv-doc": "aero1 aloeL apple basketball1 board building butterfly ela_original fruits graf1 home leuvenA "
    "messi5 orange rubberwhale1 scenetext01 scenetext03 scenetext04 scenetext05 scenetext06 squirrel_cls stuff",
    "libjxl-testdata": "flower",
    "budgie-backgrounds": "abstract-spiral beacon-street-sunset blue-periwinkle canyon-wren casa-mila "
    "extreme-desert-hike high-trestle-trail lake-sherburne oakland-zoo-otters perched-osprey piazza-gae-aulenti "
    "roman-colosseum saturnian-profile singaporean-cityscape tea-gardens the-spices-of-life",
    "pop-wallpapers": "ahmadreza-sajadi-10140-edit galen-crout-175291 jad-limcaco-183877 jake-hills-36605 "
    "jared-evans-119758 kait-herzog-8242 nasa-45068 nasa-53884 nasa-89127 ng-32703 samuel-zeller-337041 "
    "sean-afnan-244576 sebastien-gabriel-232361 spacex-81773",
    "elementary-wallpapers": "Ashim+DSilva Martin+Adams Morskie+Oko Mr.+Lee Snow-Capped+Mountain Sunset+by+the+Pier "
    "Tj+Holowaychuk Viktor+Forgacs",
}
"""Photographs (no drawings, none twice) of each source; of gcompris all those in these resource files."""


def part_of(name: str) -> str:
    """The part of a picture that had none before: a half of all names, a quarter, a quarter."""
    digit = hashlib.sha256(name.encode()).hexdigest()[0]
    return "calibration" if digit in "01234567" else "test" if digit in "89ab" else "reserve"


def in_resources(path: Path) -> Iterator[tuple[str, Image.Image]]:
    """The pictures in one of Qt's resource files, which holds WebP files as they are."""
    data, place, number = path.read_bytes(), 0, 0
    while (place := data.find(b"RIFF", place)) >= 0:
        size = 8
        if data[place + 8 : place + 12] == b"WEBP":
            size += int.from_bytes(data[place + 4 : place + 8], "little")
            image = Image.open(io.BytesIO(data[place : place + size]))
            if min(image.size) >= SHORT * 16 // 9:
                yield f"{path.stem}-{number:03d}", image
                number += 1
        place += size


def found(folder: Path, names: str) -> Iterator[tuple[str, Image.Image]]:
    """The named pictures below a folder, the largest file of each."""
    for name in (each.replace("+", " ") for each in names.split()):
        files = [path for path in folder.rglob("*") if path.is_file() and name in (path.stem, path.parts[-4])]
        path = max(files, key=lambda path: path.stat().st_size)
        yield from in_resources(path) if path.suffix == ".rcc" else [(name, Image.open(path))]


def reduced(image: Image.Image, share: float = 1.0) -> Image.Image:
    """An 8-bit picture, gray or in colours: a share of what it was, and ``LONG`` if it was large."""
    image = image if image.mode == "L" else image.convert("RGB")
    factor = min(share, LONG / max(image.size) if max(image.size) >= COMPRESSED else 1.0)
    size = round(image.width * factor), round(image.height * factor)
    return image if factor == 1 else image.resize(size, Image.Resampling.LANCZOS)


def gathered(packages: Path, data: Path) -> Iterator[tuple[str, str, Image.Image]]:
    """The part that a picture is in, its name, and the picture."""
    for part, sources in (("calibration", CALIBRATED), ("final", FINAL)):
        for source, names in sources.items():
            yield from ((part, name, reduced(image)) for name, image in found(packages / source, names))
    trained = list_images([data / "t91"]) + list_images([data / "bsd200"])
    yield from (("calibration", path.stem, Image.open(path)) for path in split(trained, 20)[1])
    for source, names in SOURCES.items():
        for name, image in found(packages / source, names):
            picture = reduced(image, 9 / 16)
            if min(picture.size) >= SHORT:
                yield part_of(name), name, picture


def main() -> None:
    """Write the parts, and count them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("packages", "data", "out"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    counts = Counter[str]()
    for part, name, picture in gathered(options.packages, options.data):
        (options.out / part).mkdir(parents=True, exist_ok=True)
        picture.save(options.out / part / f"{name}.png", compress_level=1)
        counts[part] += 1
    print(", ".join(f"{part}: {count}" for part, count in counts.items()))


if __name__ == "__main__":
    main()
