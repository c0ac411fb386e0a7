"""The usual image sets by name: where their files lie once unpacked (docs/datasets.md says where they come from)."""

from pathlib import Path
from typing import NamedTuple

from msrn.errors import UsageError
from msrn.images import SUFFIXES
from msrn.images.folder import is_image


class Dataset(NamedTuple):
    """One set's usual layouts."""

    places: tuple[str, ...]
    """Patterns below the data root; the first that matches anything counts."""
    evaluation: bool = False
    """Whether the field scores on it, so that training on it would void every comparison."""


def _benchmark(*spellings: str) -> Dataset:
    """Test sets lie flat, in ``HR`` or ``original``, or as pairs of the self-similarity paper (``image_SRF_4``)."""
    pairs = (f"image_SRF_{scale}/*_HR.*" for scale in (4, 3, 2))
    inside = ("HR/*", "original/*", "GTmod12/*", *pairs, "*")
    folders = (*spellings, *(f"benchmark/{each}" for each in spellings))
    return Dataset(tuple(f"{each}/{place}" for each in folders for place in inside), evaluation=True)


DATASETS = {
    "t91": Dataset(("T91/*", "t91/*", "Train_91/*", "91-image/*")),
    "bsds200": Dataset(("BSDS200/*", "bsds200/*", "BSD200/*", "bsd200/*", "BSDS300/images/train/*")),
    "div2k": Dataset(("DIV2K/DIV2K_train_HR/*", "DIV2K_train_HR/*", "div2k/DIV2K_train_HR/*", "DIV2K/HR/*")),
    "div2k-valid": Dataset(("DIV2K/DIV2K_valid_HR/*", "DIV2K_valid_HR/*", "div2k/DIV2K_valid_HR/*"), True),
    "div8k": Dataset(("DIV8K/train/HR/*", "DIV8K/DIV8K_train_HR/*", "DIV8K_train_HR/*", "DIV8K/train/*", "DIV8K/*")),
    "flickr2k": Dataset(("Flickr2K/Flickr2K_HR/*", "Flickr2K_HR/*", "Flickr2K/*", "flickr2k/*")),
    "ost": Dataset(("OST/OutdoorSceneTrain_v2/*/*", "OutdoorSceneTrain_v2/*/*", "OST/*/*", "OST/*")),
    "set5": _benchmark("Set5", "set5"),
    "set14": _benchmark("Set14", "set14"),
    "bsds100": _benchmark("BSDS100", "BSD100", "B100", "bsds100", "BSDS300/images/test"),
}
"""By the name that the command line takes, in lower case."""


def is_scored_on(source: str) -> bool:
    """Whether a source is a known set that the field scores on, rather than a folder."""
    known = DATASETS.get(source.lower())
    return known is not None and known.evaluation and not Path(source).is_dir()


def locate(source: str, root: Path) -> tuple[Path, list[Path]]:
    """Find a named set under ``root``, or any folder: where names begin, and its image files, also of subfolders.

    Raises:
        UsageError: no such folder or set, or no image in it.
    """
    folder = Path(source)
    if folder.is_dir():
        files = [path for path in sorted(folder.rglob("*")) if is_image(path)]
        if not files:
            raise UsageError(f"no images in {folder} (looked for {', '.join(sorted(SUFFIXES))})")
        return folder, files
    dataset = DATASETS.get(source.lower())
    if dataset is None:
        raise UsageError(f"{source} is neither a folder nor one of the known sets ({', '.join(DATASETS)})")
    for place in dataset.places:
        files = [path for path in sorted(root.glob(place)) if is_image(path)]
        if files:
            return root, files
    looked = ", ".join(dataset.places)
    raise UsageError(f"{source} is not under {root} (looked for {looked}); give its folder, or --data-root")
