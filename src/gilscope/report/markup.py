"""HTML and SVG elements whose text is escaped because there is no other way to make them."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from gilscope.report.stacks import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

_EMPTY = frozenset({"img", "meta", "br"})


class Markup(str):
    """Text that is markup already; made by `element` and `joined` alone."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: str | float | bool | None) -> Markup:
    """Return an element; children that are no Markup are text, and what a capture chose cannot become more than that.

    Args:
        name: of the element.
        children: what is in it.
        attributes: `class_` is `class`, `data_stall` is `data-stall`; None and False leave it out, True is the name
            alone.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_escaped(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _EMPTY:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{joined(children)}</{name}>")


def joined(parts: Iterable[str]) -> Markup:
    """Return the parts one after the other; those that are no Markup are text."""
    return Markup("".join(part if isinstance(part, Markup) else _escaped(part) for part in parts))


def _escaped(text: str) -> str:
    return html.escape(printable(text))
