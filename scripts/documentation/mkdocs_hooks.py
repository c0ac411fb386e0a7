"""What mkdocs.yml leaves to a program: pages generated from the code, and links to files outside docs.

The pages of docs are plain Markdown whose links work in a clone: `../src/msrn/network/graph.py`. On the site, every
file that is linked to so has a page of its own below `project`, and so has what that page links to.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

import reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(\]\(|(?:src|href)=\")([^)\"#\s]+)([^)\"]*)")
LANGUAGES = {".py": "python", ".toml": "toml", ".sh": "bash", ".js": "javascript", ".yaml": "yaml", ".json": "json"}
FOUND = (
    ("experiments/", 0.0005),
    ("weights/README", 2),
    ("weights/", 0.01),
    ("reference/", 0.5),
    ("guide", 4),
    ("index", 2),
    ("protocol", 2),
)
"""How much sooner than others pages are found (the first that fits counts): the log is long, and seldom looked for."""
UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"
_homes: dict[str, str] = {}
"""By a generated page, the folder of the repository that its links begin at."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of a folder where mkdocs.yml says `folder/*`, its README.md first."""
    for entry in config.nav:
        for title, value in entry.items():
            if isinstance(value, str) and value.endswith("/*"):
                folder = Path(config.docs_dir) / value.removesuffix("/*")
                names = sorted(
                    (path.name for path in folder.glob("*.md")), key=lambda name: (name != "README.md", name)
                )
                entry[title] = [f"{folder.name}/{name}" for name in names]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the references, and pages for the files outside docs that pages link to."""
    _homes.clear()
    for uri, text in (("reference/commands.md", reference.commands()), ("reference/python.md", reference.python())):
        files.append(File.generated(config, uri, content=text))
    waiting = [
        (path.relative_to(ROOT).parent.as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(Path(config.docs_dir).rglob("*.md"))
    ]
    while waiting:
        for path in _outside(*waiting.pop()):
            uri = _uri(path)
            if files.get_file_from_path(uri) is None:
                text, home = _content(path), path if (ROOT / path).is_dir() else posixpath.dirname(path)
                if uri.endswith(".md"):
                    _homes[uri] = home
                    waiting += [(home, text)] if path.endswith(".md") else []
                    files.append(File.generated(config, uri, content=text, inclusion=InclusionLevel.NOT_IN_NAV))
                else:
                    data = (ROOT / path).read_bytes()
                    files.append(File.generated(config, uri, content=data, inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links that go out of docs to the pages that were made for them."""
    uri = page.file.src_uri
    page.meta.setdefault("search", {"boost": next((much for start, much in FOUND if uri.startswith(start)), 1)})
    home = _homes.get(uri, posixpath.join("docs", posixpath.dirname(uri)))

    def led(link: re.Match[str]) -> str:
        path = _target(home, link[2])
        if path is None or (path.startswith("docs/") and not (ROOT / path).is_dir() and uri not in _homes):
            return link[0]
        return link[1] + posixpath.relpath(_uri(path), posixpath.dirname(uri) or ".") + link[3]

    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else LINK.sub(led, part) for part in parts)


def _target(home: str, link: str) -> str | None:
    """What a link leads to, from the root of the repository; None for addresses and what does not exist."""
    if ":" in link:
        return None
    path = posixpath.normpath(posixpath.join(home, link))
    return path if not path.startswith("..") and (ROOT / path).exists() else None


def _outside(home: str, markdown: str) -> Iterator[str]:
    """The files and folders that a page needs and mkdocs does not find: those outside docs, and all folders."""
    for _, link, _ in LINK.findall(markdown):
        path = _target(home, link)
        if path and (not path.startswith("docs/") or (ROOT / path).is_dir()):
            yield path


def _uri(path: str) -> str:
    """Where the site has a file of the repository."""
    if (ROOT / path).is_dir():
        return f"project/{path}/index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    picture = path.endswith((".png", ".svg", ".webp", ".jpg"))
    return f"project/{path}" if picture or path.endswith(".md") else f"project/{path}.md"


def _content(path: str) -> str:
    """The page of a file outside docs: itself if it is Markdown, its text, or a list of a folder's files."""
    here = ROOT / path
    if here.is_dir():
        names = sorted(each.name for each in here.iterdir() if each.is_file() and not each.name.startswith((".", "_")))
        return f"{UNSEARCHED}# {path}\n\n" + "\n".join(f"* `{name}`" for name in names) + "\n"
    if here.suffix in (".png", ".svg", ".webp", ".jpg", ".safetensors"):
        return ""
    text = here.read_text(encoding="utf-8")
    if here.suffix == ".md":
        return UNSEARCHED + text
    return f"{UNSEARCHED}# {path}\n\n````{LANGUAGES.get(here.suffix, 'text')}\n{text.rstrip()}\n````\n"
