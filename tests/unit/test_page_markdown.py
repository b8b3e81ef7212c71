"""The Markdown summary: the verdict and the figures, and nothing in a name that Markdown obeys."""

from __future__ import annotations

import pytest

from gilscope.analysis import analyse
from gilscope.capture import Thread
from gilscope.report import markdown
from tests.made_capture import LOOP, MadeCapture, stack


def summary(name: str) -> str:
    """Return the summary of a capture with one convoy, in which everything has this name."""
    made = MadeCapture()
    made.threads = {number: Thread(number, number, 0, number == LOOP, name) for number in (1, 2, 3)}
    made.convoy(0, 5, stack=made.stack(stack(name, file=name)))
    return markdown.render(analyse(made), name)


def test_summary_has_verdict_percentiles_and_remedy() -> None:
    """One table row for each loop."""
    text = summary("main")
    assert text.startswith("### Stalls of main\n\n**The loop was stalled for 31 ms")
    assert "\n| main | 1 | 31 ms |" in text
    assert "\n1. **" in text


@pytest.mark.parametrize(
    "attack",
    [
        "<img src=x>",
        "[x](https://e.example)",
        "@everyone",
        "#1",
        "www.e.example",
        "a|b",
        "`x`",
        "**x**",
        "a\n# b",
        "!x",
    ],
)
def test_name_that_is_markdown_stays_text(attack: str) -> None:
    """Markup, links, mentions, issue numbers, cells and headings are only shown."""
    assert attack not in summary(attack)
    assert summary(attack).count("|") == summary("main").count("|")
