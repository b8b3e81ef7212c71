"""The report as one HTML file that stands alone: the template from `page/`, with text and data put into it.

What a page says is in it as plain HTML, and reads without scripts; the script adds the pictures that one can move in.
"""

from __future__ import annotations

from base64 import b64encode
from importlib import resources
from typing import TYPE_CHECKING

from gilscope.errors import GilscopeError
from gilscope.report.markup import Markup, element, joined
from gilscope.report.page_data import as_script

if TYPE_CHECKING:
    from collections.abc import Iterable


class NoPageError(GilscopeError):
    """The report page was left out when this was built."""


def render(title: str, header: Iterable[str], sections: Iterable[str], data: object = None) -> str:
    """Return the whole page.

    Args:
        title: of the document.
        header: what stands first: the verdict and its figures.
        sections: what follows, each with a heading.
        data: what the script draws from; None where it has nothing to draw.

    Raises:
        NoPageError: the package was built without the page.
    """
    body = joined([element("header", *header), element("main", *sections)])
    filled = {"title": joined([title]), "body": body, "data": as_script(data)}
    page = _template()
    for name, markup in filled.items():
        # In the order in which they stand: what was put in is not looked at again.
        before, mark, page = page.partition(f"<!--gilscope:{name}-->")
        filled[name] = Markup(before + markup)
        if not mark:
            raise NoPageError(f"the page's template should have a place for its {name}, and has none: install again")
    return "".join(filled.values()) + page


def section(heading: str, *children: str, identity: str | None = None) -> Markup:
    """Return a part of the page with its heading."""
    return element("section", element("h2", heading), *children, id=identity)


def how_to_read(*paragraphs: str) -> Markup:
    """Return what explains a picture, folded."""
    return element(
        "details", element("summary", "How to read this"), *(element("p", text) for text in paragraphs), class_="help"
    )


def table(caption: str, head: Iterable[str], rows: Iterable[Iterable[str]], numbers: int = 1) -> Markup:
    """Return a table that scrolls by itself where it is wider than the screen.

    Args:
        caption: what it is about.
        head: names of the columns.
        rows: cells; the first is the name of the row.
        numbers: from which column on cells are numbers.
    """

    def row(cells: Iterable[str], scope: str) -> Markup:
        # The first row and the first column are names.
        made = (
            element(
                "th" if scope == "col" or not column else "td",
                cell,
                class_="n" if column >= numbers else None,
                scope=scope if scope == "col" or not column else None,
            )
            for column, cell in enumerate(cells)
        )
        return element("tr", *made)

    whole = element(
        "table",
        element("caption", caption),
        element("thead", row(head, "col")),
        element("tbody", *(row(cells, "row") for cells in rows)),
    )
    return element("div", whole, class_="wide", tabindex="0", role="region", aria_label=caption)


def figures(shown: Iterable[tuple[str, str, str]]) -> Markup:
    """Return the figures that stand below a verdict: what it is, its value, and how sure or how spread it is."""
    return element(
        "dl",
        *(
            element(
                "div", element("dt", name), element("dd", value, class_="value"), element("dd", spread, class_="quiet")
            )
            for name, value, spread in shown
        ),
        class_="figures",
    )


def picture(svg: str, words: str) -> Markup:
    """Return a picture as an image, in which nothing moves and no script runs; words say what it is."""
    source = f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode('ascii')}"
    image = element("img", class_="still", src=source, alt=words)
    return element("div", image, class_="wide", tabindex="0", role="region", aria_label=f"Picture: {words}")


def flame_graph(data: object = None, name: str | None = None) -> Markup:
    """Return where the script draws a flame graph; hidden until it does.

    Args:
        data: of `page_data.flame_data` or `compared_data`; None: the page's own.
        name: tells it from others on the page.
    """
    own = "" if data is None else element("script", as_script(data), type="application/json")
    return element("div", own, data_picture="flame", data_name=name, hidden=True)


def _template() -> str:
    try:
        return resources.files("gilscope.report").joinpath("template.html").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NoPageError(
            "expected the report's template in the package, and there is none: it was built with GILSCOPE_PAGE=off; "
            "install again without that, or use --text"
        ) from None
