"""Reading recipes: from TOML, from a run's ``recipe.json`` or from a checkpoint.

An unknown key is an error that names the nearest known one, if one is near. ``load(path, overrides)`` is the only way
in; the command line's ``--set key=value`` goes through the same checks.
"""

import difflib
import json
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from msrn.errors import UsageError
from msrn.training.recipe import Recipe

PACKAGED = Path(__file__).parent / "recipes"
"""Those that come with the package."""
_ELSEWHERE = {
    "data": "dataset datasets",
    "data.folders": "train_gt_images_dir dataroot_gt",
    "data.levels": "scale upscale_factor",
    "data.patch": "gt_size gt_image_size image_size patch_size",
    "loss.intermediate_weight": "loss_weights",
    "name": "exp_name",
    "network.channels": "num_feat",
    "network.memory_blocks": "num_memory_blocks",
    "network.recursions": "num_residual_blocks",
    "optimiser.batch": "batch_size",
    "optimiser.decay_factor": "gamma lr_scheduler_gamma",
    "optimiser.decay_steps": "lr_scheduler_step_size",
    "optimiser.ema_decay": "model_ema_decay",
    "optimiser.rate": "lr learning_rate model_lr",
    "optimiser.steps": "epochs total_iter iterations",
    "seed": "manual_seed",
}
"""What the original repository and others call a key."""


def load(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file, TOML or a run's ``recipe.json``, and apply overrides.

    Args:
        path: the file, or the name of a recipe that comes with the package.
        overrides: ``section.key=value`` each; values in TOML syntax, bare words, or ``none``.

    Raises:
        UsageError: the file cannot be read, or a key or value does not fit.
    """
    path = _found(path)
    try:
        text = path.read_text(encoding="utf-8")
        parsed: Any = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
        values: dict[str, Any] = dict(parsed)
    except OSError as error:
        raise UsageError(f"cannot read recipe {path}: {error.strerror}") from error
    except (ValueError, TypeError, RecursionError) as error:  # of either parser, or of the encoding
        raise UsageError(f"recipe {path} is not valid {path.suffix[1:].upper() or 'TOML'}: {error}") from error
    for override in overrides:
        _override(values, override)
    return validate(values, str(path))


def _found(path: Path) -> Path:
    """The file itself, or that of the package's recipe of this name."""
    if path.is_file() or path.parent != Path():
        return path
    known = {each.stem: each for each in sorted(PACKAGED.glob("*.toml"))}
    if path.stem not in known or path.suffix not in ("", ".toml"):
        names = ", ".join(known)
        raise UsageError(f"no recipe {str(path)!r}: neither a file nor one that comes with the package ({names})")
    return known[path.stem]


def validate(values: dict[str, Any], source: str) -> Recipe:
    """Turn plain values (from TOML or a checkpoint) into a recipe.

    Raises:
        UsageError: a key or value does not fit; all of them are named, with the ``source``.
    """
    try:
        return Recipe.model_validate_json(json.dumps(values, default=str))  # where a list is a tuple
    except ValidationError as error:
        raise UsageError(f"recipe {source}: " + "; ".join(_explain(dict(item)) for item in error.errors())) from error
    except (RecursionError, ValueError) as error:
        raise UsageError(f"recipe {source} is nested too deep: {error}") from error


def schema() -> dict[str, Any]:
    """Return the JSON schema of recipes, by which editors complete and check them (``#:schema`` in the first line)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set takes key=value, got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = None if text.strip() == "none" else text.strip()
    *sections, leaf = key.strip().split(".")
    table = values
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise UsageError(f"--set {override}: {section!r} is not a section")
    table[leaf] = value


def _explain(error: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "tuple_type":
        return f'{where}: a list is wanted, such as ["one", "two"] or [1, 2]'
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['msg']}" if where else str(error["msg"])
    nearest = _nearest(where)
    return f"unknown key {where!r}; " + (f"did you mean {nearest!r}?" if nearest else "`msrn schema` lists all keys")


def _nearest(where: str) -> str | None:
    """The known key, or section, whose whole or last name is most like an unknown one's."""
    section, _, leaf = where.rpartition(".")
    for key, others in _ELSEWHERE.items():
        if leaf.lower() in others.split():
            return key
    keys = list(_known_keys(Recipe))
    names = {key: key for key in keys}
    names |= {key.rpartition(".")[2]: key for key in keys if key.startswith(f"{section}.") or not section}
    near = difflib.get_close_matches(leaf, names, n=1)
    return names[near[0]] if near else None


def _known_keys(model: type[BaseModel], section: str = "") -> Iterator[str]:
    """All keys, such as ``section.key``, and the sections themselves."""
    for name, info in model.model_fields.items():
        yield f"{section}{name}"
        for kind in getattr(info.annotation, "__args__", (info.annotation,)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _known_keys(kind, f"{section}{name}.")
