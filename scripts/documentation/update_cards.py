"""Write a page for each weights file of the package, docs/weights/NAME.md, with a picture and its curve, and a table.

python scripts/documentation/update_cards.py             the pages, from cards and docs/results
python scripts/documentation/update_cards.py --time      time the weights here first
python scripts/documentation/update_cards.py --check     only compare the pages: exit code 1 if one is out of date
"""

import argparse
import json
import math
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from demo import run as demo  # noqa: E402
from scripts.documentation.update_curves import curves  # noqa: E402
from scripts.documentation.update_readme import WAYS, path_of, ways_of  # noqa: E402

from msrn.evaluation import tables  # noqa: E402
from msrn.evaluation.results import Evaluation, from_json  # noqa: E402
from msrn.network import weights  # noqa: E402
from msrn.network.catalogue import CatalogueRow  # noqa: E402
from msrn.network.memnet import build  # noqa: E402
from msrn.types import Task  # noqa: E402

PAGES, RESULTS = ROOT / "docs" / "weights", ROOT / "docs" / "results"
SAME = "the same, better, at"
"""How the catalogue describes weights by those in a row above."""
OVERVIEW = """\
# Which weights, and what each costs

The commands choose by themselves: the first weights of a kind, and for pictures with colours those that see colours,
where there are such. [`msrn restore`](../restore.md) takes larger ones where that is worth it. `--weights NAME` takes
others. A network that sees gray restores pictures with colours too ([how](../colour.md)).

"""
OVERVIEW_END = """
PSNR by the [literature's protocol](../protocol.md): sets of images, and whether R, G and B are scored or luminance,
differ by task, so only rows that say the same in "scored on" can be compared. `msrn weights` lists the seconds per
megapixel on your machine. Multiply-adds are those of one pass for each pixel of the result; a network that sees gray
takes three passes to remove noise from a picture with colours.
"""
LEVELS: dict[Task, str] = {"sr": "factors", "denoise": "σ", "jpeg": "quality", "photo": "σ", "photo-sr": "factors"}
LIMITS: dict[Task, str] = {
    "sr": """\
Made for images that were reduced by bicubic interpolation, or look so: blur, noise and JPEG artifacts are enlarged with
them; `msrn restore -s 2` removes the latter two first. What the small image does not hold stays soft; it is
not painted in.""",
    "denoise": """\
Made for white Gaussian noise. What a camera's own noise reduction or compression has smeared is no longer white, and is
partly taken for texture. A picture without noise loses a little, most where stripes are about a pixel wide;
`msrn restore` leaves such pictures alone.""",
    "jpeg": """\
Made for one compression, with its grid anywhere. Above quality 95 there is nothing to gain, and letters of full
contrast lose a little; a strong halftone loses much. `msrn restore` leaves such pictures alone.""",
    "photo": """\
Trained for three hours of a shared core in all so far: for noise under JPEG artifacts and for strong noise
it is the best there is here, for JPEG artifacts alone and weak noise it is worse than the networks for these.
`msrn restore` chooses.""",
}

UNCHECKED = "The paper's scores on these images are quoted from memory ([where the others are from](../protocol.md))."
MORE_LIMITS = {
    "msrn-m6r1s2-denoise": """
Of letters and stripes it has seen few in training: a clean page of letters comes back at 22.5 dB. For screenshots and
drawings there is [another file of its size](../../weights/README.md).""",
}


def page(entry: CatalogueRow) -> str:
    """One page in Markdown."""
    card = weights.load(entry.name).card
    color = " --color" if entry.color else ""
    lines = [
        f"# {entry.name}",
        "",
        f"{_capital(_summary(entry))}.",
        "",
        f"![Degraded, restored, original]({entry.name}.png)",
        "",
        "| | |",
        "|---|---|",
        *(f"| {key} | {value} |" for key, value in _facts(entry).items()),
        "",
        "## Scores",
        "",
        "PSNR in dB / SSIM by the [literature's protocol](../protocol.md); "
        f"`msrn evaluate -w {entry.name}{color}` prints the same.",
        "",
        _scores(entry),
        *(["", UNCHECKED] if entry.task == "denoise" and not entry.color else []),
        *_other_ways(entry),
        *_in_fewer_bits(card),
    ]
    timed = _timings().get(entry.sha256)
    if timed:
        lines += ["", "## Speed", "", f"{timed['cores']} cores, {timed['kind']}: {timed['why']}."]
    if card.training.get("curve"):
        lines += ["", "## Curve", "", f"![PSNR on held-out images while training]({entry.name}.svg)"]
        lines += ["", "PSNR in dB on crops of the training images that were held out, by hours of training."]
    return "\n".join([*lines, "", "## Limits", "", LIMITS[entry.task] + MORE_LIMITS.get(entry.name, ""), ""])


def overview() -> str:
    """The page that compares them all."""
    head = ("weights", "for", "sees", "multiply-adds per pixel", "scored on", "degraded, dB", "restored, dB")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for entry in weights.CATALOGUE:
        results = _results(entry)
        cells = (
            f"[{entry.name}]({entry.name}.md)",
            _capital(_summary(entry).rpartition(";")[0]),
            "colours" if entry.color else "gray",
            f"{weights.load(entry.name).card.config.multiply_adds_per_pixel:,}",
            f"{tables.data_name(results[0])}: {' / '.join(tables.level_name(result) for result in results)}",
            " / ".join(f"{result.baseline.psnr:.2f}" for result in results),
            f"**{' / '.join(f'{result.mean.psnr:.2f}' for result in results)}**",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return OVERVIEW + "\n".join(lines) + "\n" + OVERVIEW_END


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _summary(entry: CatalogueRow) -> str:
    """The catalogue's summary, which may need the row above, in words that stand alone."""
    first = next(row for row in weights.CATALOGUE if row.kind == entry.kind)
    purpose = first.summary.partition(";")[0]
    return entry.summary.replace(SAME, f"{purpose}: better than `{first.name}`, at")


def _facts(entry: CatalogueRow) -> dict[str, str]:
    """The table at the top."""
    loaded = weights.load(entry.name)
    card, network, training = loaded.card, loaded.card.config, loaded.card.training
    parameters = sum(parameter.numel() for parameter in build(loaded).parameters())
    return {
        "Task": f"{entry.task}, {LEVELS[entry.task]} {_levels(card)}",
        "Network": f"{network.name}, {network.channels} channels{_squares(network.unshuffle)}: {parameters:,} "
        f"parameters, receptive radius {network.receptive_radius} pixels",
        "Cost": f"{network.multiply_adds_per_pixel:,} multiply-adds per pixel of the result, "
        f"{network.multiply_adds_per_pixel / 1e6:.3f} × 10¹² per megapixel",
        "Recipe": f"`{card.recipe.get('name')}`, in [recipes](../../src/msrn/training/recipes); "
        "the resolved one is in the file",
        "Trained on": f"{card.data} ([what these are](../datasets.md)); every {_nth(card)}th image held out",
        _run(training): f"{training['steps']:,} steps, {training['patches']:,} patches, {training['hours']} hours on "
        f"one or two cores ({training['processor']}), other work beside it",
        "Began with": _beginning(training),
        "Licence": card.licence,
        "File": f"`{entry.file}`, SHA-256 `{entry.sha256}`",
    } | ({"Made by revision": f"`{card.commit}`"} if card.commit else {})


def _run(training: dict[str, Any]) -> str:
    return "Last run" if "began_with" in training else "Training"


def _beginning(training: dict[str, Any]) -> str:
    """What a run went on from."""
    if "began_with" not in training:
        return "the recipe's seed"
    name, digest = training["began_with"].split(", SHA-256 ")
    return f"`{name}` (SHA-256 `{digest[:8]}…`), an earlier run's result; see the [log](../experiments/README.md)"


def _in_fewer_bits(card: weights.Card) -> list[str]:
    """What bf16 and int8 cost, where it was measured."""
    if not card.losses:
        return []
    levels = list(next(iter(card.losses.values())))
    return [
        "",
        "## In fewer bits",
        "",
        "Loss of PSNR in dB on training images that were held out (of int8-bf16, the sum of both):",
        "",
        f"| | {' | '.join(levels)} |",
        "|---|" + "---|" * len(levels),
        *(
            f"| {name} | " + " | ".join(f"{loss[level]:+.4f}" for level in levels) + " |"
            for name, loss in card.costs.items()
        ),
    ]


def _squares(side: int) -> str:
    return f", on squares of {side}×{side} pixels" if side > 1 else ""


def _levels(card: weights.Card) -> str:
    levels = sorted(set(card.levels))
    return ", ".join(f"{level:g}" for level in levels) if card.task == "sr" else f"{levels[0]:g} to {levels[-1]:g}"


def _nth(card: weights.Card) -> int:
    return card.recipe.get("data", {}).get("validation_every", 20)


def _scores(entry: CatalogueRow) -> str:
    return tables.markdown([replace(result, weights=entry.name) for result in _results(entry)])


def _other_ways(entry: CatalogueRow) -> list[str]:
    """Scores with self-ensemble and on the authors' tiles, beside the paper's: of the paper's own network."""
    ways = {way: _results(entry, way) for way in ways_of(entry)}
    if len(ways) == 1:
        return []
    paper = [tables.pair(score) if (score := tables.reference(result)) else "–" for result in ways[""]]
    rows = {_options(way): [tables.pair(result.mean) for result in results] for way, results in ways.items()} | {
        "(the paper's scores)": paper
    }
    lines = [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
    levels = [tables.level_name(result) for result in ways[""]]
    head = [
        "",
        "The same images, restored in other ways ([what these are](../protocol.md)), these in bf16:",
        "",
    ]
    return [*head, f"| `msrn evaluate` with | {' | '.join(levels)} |", "|---" * (1 + len(levels)) + "|", *lines]


def _options(way: str) -> str:
    """Those of ``msrn evaluate`` for a way to score."""
    if not way:
        return "nothing else"
    protocol, tta = WAYS[way]
    options = [*([f"--protocol {protocol}"] if protocol != "matlab" else []), *(["--tta"] if tta else [])]
    return f"`{' '.join(options)} --precision bf16`"


def _results(entry: CatalogueRow, way: str = "") -> list[Evaluation]:
    return from_json(path_of(entry, way).read_text(encoding="utf-8"))


def _timings() -> dict[str, Any]:
    path = RESULTS / "speed.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def time_all() -> None:
    """Keep what the automatic choice's timing says of each file on this machine, timed anew."""
    from msrn.evaluation.speed import describe_machine
    from msrn.restoration.backends import create
    from msrn.restoration.engine import Engine, Options

    def timed(entry: CatalogueRow) -> str:
        engine = Engine(weights.load(entry.name), Options(device="cpu"))
        ranges = engine.weights.card.ranges
        engine.timing.learn(lambda choice: create(choice, engine.graph, ranges, engine.device), math.inf)
        return engine.timing.choose().why

    about = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MSRN_CACHE"] = folder  # what is known already may be from a busier day
        known = {
            entry.sha256: {"kind": about.kind, "cores": about.cores, "why": timed(entry)} for entry in weights.CATALOGUE
        }
    del os.environ["MSRN_CACHE"]
    (RESULTS / "speed.json").write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def picture(entry: CatalogueRow) -> None:
    """The demonstration's photograph of the task, restored by these weights."""
    case = next((case for case in demo.CASES if case[1] == entry.task), demo.CASES[-1])
    with tempfile.TemporaryDirectory() as folder:
        demo.sheet([demo.restore(Path(folder), case, entry.name)]).save(PAGES / f"{entry.name}.png", optimize=True)


def curve(points: list[Any]) -> bytes:
    """Held-out scores over hours as SVG, a line for each level."""
    levels = points[-1][2]
    return curves({"": {level: [(p[1], p[2][level]) for p in points if level in p[2]] for level in levels}})


def main() -> None:
    """Write or compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="only compare")
    what.add_argument("--time", action="store_true", help="time the weights on this machine first")
    arguments = parser.parse_args()
    if arguments.check:
        stale = [name for name, text in pages().items() if not is_current(name, text)]
        sys.exit(f"out of date: {', '.join(stale)}: run python scripts/documentation/update_cards.py" if stale else 0)
    if arguments.time:
        time_all()
    PAGES.mkdir(exist_ok=True)
    for known in PAGES.iterdir():
        known.unlink()
    for name, text in pages().items():
        (PAGES / name).write_text(text, encoding="utf-8")
    for entry in weights.CATALOGUE:
        points = weights.load(entry.name).card.training.get("curve")
        if points:
            (PAGES / f"{entry.name}.svg").write_bytes(curve(points))
        picture(entry)


def pages() -> dict[str, str]:
    """What each page should say, by its file's name."""
    return {"README.md": overview()} | {f"{entry.name}.md": page(entry) for entry in weights.CATALOGUE}


def is_current(name: str, text: str) -> bool:
    """Whether a page says what it should."""
    path = PAGES / name
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    main()
