"""Weights on the Hugging Face hub, and in folders of the same layout: ``config.json``, ``model.safetensors``, a card.

Only these files are ever read: nothing is unpickled, no code comes along, and tensors must fit exactly. ``config.json``
holds the SHA-256 of the weights, which are refused if theirs is another. Nothing here needs torch.
"""

import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from msrn.errors import MSRNError, OutputError, UsageError, WeightsError
from msrn.network.catalogue import find
from msrn.network.hub_card import card_page
from msrn.network.weights import Weights, load, load_file, save
from msrn.system.atomic import write_atomically
from msrn.system.extras import missing

CONFIG, WEIGHTS, PAGE = "config.json", "model.safetensors", "README.md"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def from_pretrained(
    source: str | Path,
    *,
    revision: str = "main",
    sha256: str | None = None,
    cache: Path | None = None,
    offline: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
) -> Weights:
    """Return weights by catalogue name, from a file or folder, or from a repository of the hub, in this order.

    Args:
        source: ``msrn-m4r1s2-sr``, a weights file, a folder as :func:`save_pretrained` writes it, or
            ``organisation/name``.
        revision: branch, tag or commit of the repository. All files are read from the one commit that it names now;
            only a commit stays the same.
        sha256: what the weights file must have, 64 hex digits; the only guard against a repository that changes hands.
        cache: folder for what was downloaded; the hub's own by default.
        offline: use what was downloaded before, and nothing else; so does the variable ``HF_HUB_OFFLINE=1``.
        token: for private repositories; the one of ``hf auth login`` by default.
        endpoint: address of another hub.

    Raises:
        WeightsError: there is none, or it cannot be reached, or is not what it says.
        UsageError: huggingface_hub is not installed, or a digest that is none.

    Example:
        >>> weights = from_pretrained("organisation/name", revision="<commit>", sha256="<digest>")
        >>> msrn.Restorer(weights)
    """
    if sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise UsageError(f"sha256 must be 64 hex digits in lower case, got {sha256!r}")
    path = Path(source)
    if find(source) is not None or path.is_file():
        weights = load(source)
    elif path.is_dir():
        weights = _read_folder(path, path.resolve().name)
    elif _REPOSITORY.fullmatch(str(source)):
        with _hub(f"{source} at {revision}") as hub:
            options = {"cache_dir": cache, "token": token, "endpoint": endpoint, "local_files_only": offline}
            config = Path(hub.hf_hub_download(str(source), CONFIG, revision=revision, **options))
            commit = config.parent.name  # of the cache's folder for it: a branch may have moved on in the meantime
            hub.hf_hub_download(str(source), WEIGHTS, revision=commit, **options)
        weights = _read_folder(config.parent, f"{source}@{commit[:8]}")
    else:
        weights = load(source)  # which says what is known
    if sha256 not in (None, weights.sha256):
        raise WeightsError(f"{source} has the SHA-256 {weights.sha256}, wanted was {sha256}")
    return weights


def save_pretrained(weights: Weights, folder: Path) -> None:
    """Write weights as a folder for the hub: ``config.json``, ``model.safetensors`` and a generated ``README.md``.

    Raises:
        OutputError: a file cannot be written.
        WeightsError: the arrays do not fit the card.
    """
    _save(weights, folder, folder.resolve().name)


def push(
    weights: Weights,
    repository: str,
    *,
    private: bool = False,
    message: str = "Add weights",
    token: str | None = None,
    endpoint: str | None = None,
) -> str:
    """Upload weights with their card as one commit, making the repository if there is none; return the commit.

    Args:
        weights: what to publish; their card says licence, training and scores.
        repository: ``organisation/name``.
        private: whether a new repository can be seen by its owners alone.
        message: first line of the commit.
        token: with the right to write; the one of ``hf auth login`` by default.
        endpoint: address of another hub.

    Raises:
        OutputError: the hub cannot be reached, or refuses.
        UsageError: a name that is none, or huggingface_hub is not installed.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise UsageError(f"a repository is named organisation/name, got {repository!r}")
    with TemporaryDirectory() as folder, _hub(repository, OutputError) as hub:
        _save(weights, Path(folder), repository)
        api = hub.HfApi(endpoint=endpoint, token=token)
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    return str(done.oid)


def _save(weights: Weights, folder: Path, name: str) -> None:
    with TemporaryDirectory() as first:
        data = save(weights, Path(first), "model").read_bytes()
        digest = load(next(Path(first).iterdir())).sha256
    card = asdict(weights.card)
    config = {
        "model_type": "msrn",
        "architectures": ["MSRN"],
        "library_name": "msrn-pytorch",
        "task": card["task"],
        "network": card["config"],
        "weights": WEIGHTS,
        "sha256": digest,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}") from error
    page = card_page(replace(weights, sha256=digest), name)
    files = {WEIGHTS: data, PAGE: page.encode(), CONFIG: (json.dumps(config, indent=2) + "\n").encode()}
    for file, content in files.items():  # the description last: it is what others look for
        write_atomically(folder / file, lambda out, content=content: out.write(content))


def _read_folder(folder: Path, name: str) -> Weights:
    """The weights of a folder, if ``config.json`` says the same of them as they do themselves."""
    try:
        loaded: object = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{name} is no folder of weights: {CONFIG} cannot be read ({error})") from error
    config = cast("dict[str, object]", loaded) if isinstance(loaded, dict) else {}
    if config.get("model_type") != "msrn":
        raise WeightsError(
            f"{name} holds another kind of model: model_type is {config.get('model_type')!r}, not 'msrn'"
        )
    weights = load_file(folder / WEIGHTS)
    if config.get("sha256") != weights.sha256:
        raise WeightsError(
            f"{name}: the SHA-256 of {WEIGHTS} is {weights.sha256}, {CONFIG} says {config.get('sha256')}"
        )
    if (config.get("task"), config.get("network")) != (weights.card.task, asdict(weights.card.config)):
        raise WeightsError(f"{name}: {CONFIG} describes another network than {WEIGHTS} holds")
    return replace(weights, name=name)


@contextmanager
def _hub(what: str, kind: type[MSRNError] = WeightsError) -> Generator[Any]:
    """The hub's library, its errors told in one sentence."""
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise missing("the hub", "huggingface_hub", "hub") from error
    errors: Any = huggingface_hub.errors
    try:
        yield huggingface_hub
    except errors.GatedRepoError as error:
        raise kind(f"{what}: accept the repository's terms on its page, then log in with `hf auth login`") from error
    except errors.RepositoryNotFoundError as error:
        raise kind(f"{what}: no such repository, or it is private: log in with `hf auth login`") from error
    except errors.RevisionNotFoundError as error:
        raise kind(f"{what}: the repository has no such revision") from error
    except errors.LocalEntryNotFoundError as error:
        raise kind(f"{what}: not downloaded before, and the hub cannot be reached") from error
    except errors.EntryNotFoundError as error:
        raise kind(f"{what}: has no {CONFIG} and {WEIGHTS}, so it is not of this package") from error
    except (errors.HTTPError, OSError) as error:
        if getattr(getattr(error, "response", None), "status_code", 0) in (401, 403):
            raise kind(f"{what}: not allowed; log in with `hf auth login`, with the right that this needs") from error
        raise kind(f"{what}: {str(error).strip().splitlines()[0]}") from error
