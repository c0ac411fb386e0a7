"""The documentation site builds without a warning, its links lead somewhere, and its pages can be used by anyone."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from tests.helpers.scripts import script
from tests.helpers.static import served

pytest.importorskip("mkdocs")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class _Page(HTMLParser):
    """What a page refers to, and what can be referred to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.anchors: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {given[key] or "" for key in ("id", "name") if key in given}
        self.targets |= {given[key] or "" for key in ("href", "src") if key in given}


def broken(folder: Path) -> list[str]:
    """The links of a site to pages, files and headings that it does not have."""
    pages = {
        path: _Page(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html") if path.name != "404.html"
    }
    lost = []
    for path, page in pages.items():
        here = "/" + path.relative_to(folder).as_posix()
        for target in page.targets:
            parts = urlsplit(urljoin(here, target))
            if parts.scheme or parts.netloc:
                continue
            there = folder / unquote(parts.path).lstrip("/")
            there = there / "index.html" if parts.path.endswith("/") else there
            known = pages[there].anchors if there in pages else {"", unquote(parts.fragment)}
            if not there.is_file() or unquote(parts.fragment) not in known:
                lost.append(f"{here}: {target}")
    return lost


def test_no_link_is_broken_and_nothing_comes_from_elsewhere(site):
    assert broken(site) == []
    for path in site.rglob("*.html"):
        for target in _Page(path.read_text(encoding="utf-8")).targets:
            assert not target.split("?")[0].endswith((".js", ".css", ".woff2")) or "://" not in target


def test_a_broken_link_is_seen(tmp_path):
    (tmp_path / "index.html").write_text('<a href="#here" id="here"></a><a href="../x/"></a><a href="#there"></a>')
    assert sorted(broken(tmp_path)) == ["/index.html: #there", "/index.html: ../x/"]


def test_every_command_and_public_name_has_its_section(site):
    import msrn
    from msrn.cli import COMMANDS

    commands = _Page((site / "reference/commands/index.html").read_text(encoding="utf-8")).anchors
    names = _Page((site / "reference/python/index.html").read_text(encoding="utf-8")).anchors
    for place in (place for places in COMMANDS.values() for place in places):
        assert f"msrn-{place.partition(':')[2]}" in commands
    for name in set(msrn.__all__) - {"__version__"}:
        assert f"msrn-{name.lower()}" in names


def test_the_figures_are_the_weights_and_the_table_is_the_networks():
    drawn = script("update_figures")
    for file, text in drawn.figures().items():
        assert (drawn.IMAGES / file).read_text(encoding="utf-8") == text, "run scripts/documentation/update_figures.py"
    assert drawn.sizes() in (ROOT / "docs" / "network.md").read_text(encoding="utf-8")


PAGES = ("", "guide/", "gallery/", "network/", "reference/commands/", "export/", "weights/")


@pytest.mark.parametrize(("width", "pages"), [(380, PAGES), (1400, PAGES[:3])])
def test_pages_fit_and_have_no_serious_fault(site, browser, screenshots, width, pages):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    complaints: list[str] = []
    with served(site) as address:
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        for name in pages:
            page.goto(f"{address}/{name}")
            page.screenshot(path=screenshots / f"site-{name.strip('/').replace('/', '-') or 'start'}-{width}.png")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            found = axe.run(page).response["violations"]
            serious = [
                (each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")
            ]
            assert serious == [], name
        page.close()
    assert complaints == []


def test_the_slider_moves_between_before_and_after(site, browser):
    with served(site) as address:
        page = browser.new_page(viewport={"width": 1000, "height": 800})
        page.goto(f"{address}/gallery/")
        box = page.locator(".compare").first
        slider = box.get_by_role("slider")
        slider.focus()
        page.keyboard.press("Home")
        assert box.evaluate("box => box.style.getPropertyValue('--at')") == "0%"
        size = box.locator("img").first.evaluate("image => [image.naturalWidth, image.clientWidth]")
        assert size[0] == size[1]  # one pixel is one pixel
        page.close()


LOOKED_FOR = {
    "remove noise": "restore/",
    "numpy array": "python/",
    "resume training": "training/",
    "docker container": "service/",
    "which weights": "weights/",
    "enlarge a photograph": "guide/",
    "memnet_m6r6": "from_the_original/",
}


def test_a_newcomer_finds_what_they_look_for(site, browser):
    with served(site) as address:
        page = browser.new_page(viewport={"width": 1000, "height": 800})
        for words, expected in LOOKED_FOR.items():
            page.goto(address)
            page.get_by_role("textbox", name="Search").fill(words)
            page.wait_for_selector(".md-search-result__link", timeout=60_000)
            found = page.locator(".md-search-result__item").evaluate_all(
                "all => all.slice(0, 2).map((one) => new URL(one.querySelector('a').href).pathname)"
            )
            assert f"/{expected}" in found, (words, found)
        page.close()
