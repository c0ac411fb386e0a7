"""The usual image sets by name: where their files lie once unpacked (docs/datasets.md says where they come from)."""

from dataclasses import dataclass
from pathlib import Path

from msrn.errors import UsageError
from msrn.images import FORMATS
from msrn.images.folder import is_image


@dataclass(frozen=True)
class Dataset:
    """One set's usual layouts.

    Args:
        name: as the command line takes it, in lower case.
        places: glob patterns relative to the data root; the first that matches anything counts.
        evaluation: whether the field scores on it, so that training on it would void every comparison.
    """

    name: str
    places: tuple[str, ...]
    evaluation: bool = False


def _benchmark(name: str, *spellings: str) -> Dataset:
    """Test sets lie flat, in ``HR`` or ``original``, or as pairs of the self-similarity paper (``image_SRF_4``)."""
    pairs = (f"image_SRF_{scale}/*_HR.*" for scale in (4, 3, 2))
    inside = ("HR/*", "original/*", "GTmod12/*", *pairs, "*")
    folders = (*spellings, *(f"benchmark/{each}" for each in spellings))
    return Dataset(name, tuple(f"{each}/{place}" for each in folders for place in inside), evaluation=True)


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("t91", ("T91/*", "t91/*", "Train_91/*", "91-image/*")),
        Dataset("bsds200", ("BSDS200/*", "bsds200/*", "BSD200/*", "bsd200/*", "BSDS300/images/train/*")),
        Dataset("div2k", ("DIV2K/DIV2K_train_HR/*", "DIV2K_train_HR/*", "div2k/DIV2K_train_HR/*", "DIV2K/HR/*")),
        Dataset("div2k-valid", ("DIV2K/DIV2K_valid_HR/*", "DIV2K_valid_HR/*", "div2k/DIV2K_valid_HR/*"), True),
        Dataset(
            "div8k", ("DIV8K/train/HR/*", "DIV8K/DIV8K_train_HR/*", "DIV8K_train_HR/*", "DIV8K/train/*", "DIV8K/*")
        ),
        Dataset("flickr2k", ("Flickr2K/Flickr2K_HR/*", "Flickr2K_HR/*", "Flickr2K/*", "flickr2k/*")),
        Dataset("ost", ("OST/OutdoorSceneTrain_v2/*/*", "OutdoorSceneTrain_v2/*/*", "OST/*/*", "OST/*")),
        _benchmark("set5", "Set5", "set5"),
        _benchmark("set14", "Set14", "set14"),
        _benchmark("bsds100", "BSDS100", "BSD100", "B100", "bsds100", "BSDS300/images/test"),
    )
}


def locate(source: str, root: Path) -> tuple[Path, list[Path]]:
    """Return the image files of a named set under ``root``, or of any folder with all its subfolders, in order.

    Returns:
        The folder that names are relative to, and the files.

    Raises:
        UsageError: no such folder or set, or no image in it.
    """
    folder = Path(source)
    if folder.is_dir():
        files = [path for path in sorted(folder.rglob("*")) if is_image(path)]
        if not files:
            raise UsageError(f"no images in {folder} (looked for {', '.join(sorted(FORMATS))})")
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
