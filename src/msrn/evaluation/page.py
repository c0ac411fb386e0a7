"""Self-contained HTML pages from the templates beside this module; everything put into one is escaped."""

from pathlib import Path

from msrn.system.atomic import write_atomically
from msrn.system.extras import missing


def render(template: str, **values: object) -> str:
    """The page that a template and its values make.

    >>> render("benchmark.html", title="<b>", head=["network"], rows=[]).count("&lt;b&gt;")
    2

    Raises:
        UsageError: Jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise missing("making a page", "Jinja2", "train") from error
    templates = jinja2.Environment(loader=jinja2.PackageLoader("msrn.evaluation"), autoescape=True)
    return templates.get_template(template).render(values)


def write_page(path: Path, page: str) -> None:
    """Write a page; what is no Unicode in it, as in some file names, is written as its code.

    Raises:
        OutputError: it cannot be written.
    """
    write_atomically(path, lambda file: file.write(page.encode(errors="backslashreplace")))
