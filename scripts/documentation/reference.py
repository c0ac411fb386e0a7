"""The reference pages of the site, as Markdown: commands from the command line itself, Python from its docstrings."""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from docstring_parser import parse

import msrn

FURTHER = {
    "msrn.network.weights": ("load", "Weights", "Card"),
    "msrn.network.hub": ("from_pretrained", "save_pretrained", "push"),
    "msrn.network.converters": ("convert",),
    "msrn.restoration.export": ("export",),
}
"""What programs may use besides the names of ``msrn`` itself."""


def commands() -> str:
    """Every command with its options, as ``--help`` has them."""
    from msrn.cli import COMMANDS, app

    text = app.generate_docs(output_format="markdown")
    first = f"## msrn {next(iter(next(iter(COMMANDS.values())))).partition(':')[2]}"
    text = first + text.partition(f"\n{first}")[2].partition("\n## msrn --help")[0]
    text = re.sub(r"^(?:\$ .*\n?)+", _examples, text, flags=re.MULTILINE)
    return f"# Commands\n\n`msrn COMMAND --help` prints the same.\n\n{text.strip()}\n"


def _examples(lines: re.Match[str]) -> str:
    said = "\n".join(line.removeprefix("$ ") for line in lines[0].strip().splitlines())
    return f"```bash\n{said}\n```\n"


def python() -> str:
    """The public functions and classes, by their docstrings."""
    parts = ["# Python", "", "[How they are used](../python.md). Everything below is typed."]
    for name in sorted((name for name in msrn.__all__ if name != "__version__"), key=str.lower):
        parts += _described(f"msrn.{name}", getattr(msrn, name))
    for module, names in FURTHER.items():
        for name in names:
            parts += _described(f"{module}.{name}", getattr(import_module(module), name))
    return "\n".join(parts) + "\n"


def _described(name: str, thing: Any) -> Iterator[str]:
    """A section about a function or a class, with the class's own methods."""
    yield f"\n## {name} {{ #{name.replace('.', '-').lower()} }}\n"
    yield from _body(name, thing)
    if not inspect.isclass(thing):
        return
    for key, member in vars(thing).items():
        method = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
        if key.startswith("_") or not (inspect.isfunction(method) or isinstance(member, property)):
            continue
        if member.__doc__ and not any(member.__doc__ == getattr(base, key, None) for base in thing.__mro__[1:]):
            yield f"\n### {thing.__name__}.{key} {{ #{name.replace('.', '-').lower()}-{key} }}\n"
            yield from _body(f"{thing.__name__}.{key}", method)


def _body(name: str, thing: Any) -> Iterator[str]:
    if not isinstance(thing, property):
        signature = re.sub(r"\b(?:pathlib|collections\.abc|typing|msrn(?:\.\w+)+|numpy)\.", "", str(_signature(thing)))
        yield f"```python\n{name}{_wrapped(signature)}\n```\n"
    said = parse(inspect.getdoc(thing) or "")
    for paragraph in (said.short_description, said.long_description):
        if paragraph:
            yield f"{_markdown(paragraph)}\n"
    rows = [(f"`{each.arg_name}`", each.description) for each in said.params]
    rows += [("returns", said.returns.description)] if said.returns else []
    rows += [(f"raises `{each.type_name}`", each.description) for each in said.raises]
    if rows:
        yield "| argument | |\n|---|---|"
        yield from (
            f"| {term} | {_markdown(' '.join((text or '').split())).replace('|', chr(92) + '|')} |"
            for term, text in rows
        )
        yield ""
    for example in said.examples:
        yield f"```python\n{(example.snippet or example.description or '').strip()}\n```\n"


def _signature(thing: Any) -> str:
    try:
        return str(inspect.signature(thing))
    except (TypeError, ValueError):
        return "()"


def _wrapped(signature: str) -> str:
    """A long signature, one argument a line."""
    if len(signature) <= 88:
        return signature
    arguments, _, result = signature.rpartition(")")
    parts = re.split(r", (?=\*?\w+[:,=]|\*, |/)", arguments.removeprefix("("))
    return "(\n    " + ",\n    ".join(parts) + f"\n){result}"


def _markdown(text: str) -> str:
    """A docstring's reStructuredText: ``code`` and :class:`~module.Name`."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`").replace("<", "&lt;") if "`" not in text else re.sub(r"``", "`", text)
