"""Rules about our C: no Python in ext/core, and every atomic access there and in ext/probe says its order and why."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.rules import source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ORDERS = re.compile(r"\b(?:relaxed|acquire|release|acq_rel|seq_cst)\b|\b[A-Z]+_ORDER_[A-Z_]+\b", re.IGNORECASE)
# An access's comment may stand above the statement, or above a run of accesses that it speaks for.
COMMENT_REACH_LINES = 8

_INCLUDES_PYTHON = re.compile(r"#\s*include\s*[<\"](?:Python|structmember|cpython/\w+|internal/\w+|frameobject)\.h")
_ACCESS = re.compile(
    r"\batomic_(?:load|store|exchange|compare_exchange_(?:strong|weak)|fetch_\w+?|flag_(?:test_and_set|clear))"
    r"(?P<explicit>_explicit)?\s*\("
)
_FORBIDDEN = {
    "volatile is no synchronisation": re.compile(r"\bvolatile\b(?!\s*\()"),
    "a stand-alone fence, which ThreadSanitizer does not model": re.compile(r"\batomic_(?:thread|signal)_fence\b"),
    "a builtin beside stdatomic.h": re.compile(r"\b__(?:atomic|sync)_\w+"),
}
_ATOMIC_NAME = re.compile(
    r"\b(?:_Atomic(?:\s*\([^)]*\)|\s+[\w ]+?)|atomic_(?!\w+_explicit)\w+)[\s*]*\b(\w+)\s*(?:\[[^\]]*\])*\s*[;,=)]"
)
_TYPED_NAME = re.compile(r"^\s*(?:const\s+|struct\s+|unsigned\s+)*\w+[\s*]+(\w+)\s*(?:\[[^\]]*\])*;", re.MULTILINE)


def core() -> tuple[Path, ...]:
    """Return the C files and headers of ext/core."""
    return source.files(".c", ".h", under="ext/core")


def bare_accesses(code: str, names: set[str]) -> Iterator[re.Match[str]]:
    """Yield uses of atomic members that are not handed on by address: `self->head`, and not `&self->head`."""
    if not names:
        return
    member = re.compile(rf"(?P<before>[&\w\])>.\[ -]*?)(?:->|\.)(?:{'|'.join(sorted(names))})\b(?!\s*\()")
    for match in member.finditer(code):
        expression = re.search(r"&?[\w\]\[()>.\-]*$", code[: match.end()])
        if expression and not expression.group().lstrip("(").startswith("&") and "sizeof" not in expression.group():
            yield match


def broken_rules(text: str) -> list[tuple[int, str]]:
    """Return offset and description of what a C text does against STYLE's rules 2 and 4 of memory ordering."""
    code = source.without_comments(text)
    found = [(match.start(), what) for what, pattern in _FORBIDDEN.items() for match in pattern.finditer(code)]
    lines, code_lines = text.splitlines(), code.splitlines()
    for match in _ACCESS.finditer(code):
        if not match["explicit"]:
            found.append((match.start(), f"{match.group().rstrip('( ')} without _explicit"))
            continue
        number = code.count("\n", 0, match.start())
        reach = range(max(0, number - COMMENT_REACH_LINES), number + 1)
        said = " ".join(_comment(lines[i], code_lines[i]) for i in reach)
        if not ORDERS.search(said) and not _said_for_all(text, code, match.start()):
            found.append((match.start(), "an atomic access without a comment that says its order and why"))
    found += [
        (match.end(), "an atomic used without atomic_..._explicit") for match in bare_accesses(code, atomics(code))
    ]
    return sorted(found)


def _said_for_all(text: str, code: str, offset: int) -> bool:
    """Return whether the comment above the function around an offset speaks for all that the function does."""
    before = [match.end() for match in re.finditer(r"^}.*$", code[:offset], re.MULTILINE)]
    start = before[-1] if before else 0
    header = text[start : code.find("{", start)]
    return re.search(rf"\b[Aa]ll\b[^.]*?(?:{ORDERS.pattern})", header) is not None


def atomics(code: str) -> set[str]:
    """Return the names that are declared atomic in a text, and nowhere in it as something else."""
    return set(_ATOMIC_NAME.findall(code)) - set(
        _TYPED_NAME.findall(re.sub(r"\b(?:_Atomic|atomic_\w+)[^;]*;", ";", code))
    )


def _comment(line: str, code_line: str) -> str:
    return "".join(character for character, kept in zip(line, code_line.ljust(len(line)), strict=False) if kept == " ")


def test_core_includes_no_python() -> None:
    """ext/core builds and is tested without an interpreter."""
    found = [
        source.where(path, text, match.start())
        for path in core()
        for text in [path.read_text(encoding="utf-8")]
        for match in _INCLUDES_PYTHON.finditer(text)
    ]
    assert not found


@pytest.mark.parametrize("directory", ["ext/core", "ext/probe"])
def test_every_atomic_access_says_its_order(directory: str) -> None:
    """No access is sequentially consistent by accident, and none is without its reason."""
    found = [
        f"{source.where(path, text, offset)}: {what}"
        for path in source.files(".c", ".h", under=directory)
        for text in [path.read_text(encoding="utf-8")]
        for offset, what in broken_rules(text)
    ]
    assert not found


GOOD = """
struct ring { _Atomic uint64_t head; uint64_t tail; };
/* ACQUIRE, pairs with RELEASE in publish (R2): may read the record */
uint64_t head = atomic_load_explicit(&self->head, memory_order_acquire);
/* relaxed: a total, nothing is published */
atomic_fetch_add_explicit(&rings[i].head, 1, memory_order_relaxed);
size_t size = sizeof(self->tail);
"""
GOOD_FUNCTION = """
/* After fork, in the child. All stores are relaxed: there is one thread. */
static void
reset(struct ring *self)
{
    atomic_store_explicit(&self->head, 0, memory_order_relaxed);
}
"""


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("/* relaxed: a total, nothing is published */\n", "\n" * 9), "without a comment"),
        (("atomic_load_explicit(&self->head, memory_order_acquire)", "atomic_load(&self->head)"), "without _explicit"),
        (("atomic_load_explicit(&self->head, memory_order_acquire)", "self->head"), "an atomic used without"),
        (
            ("atomic_fetch_add_explicit(&rings[i].head, 1, memory_order_relaxed)", "rings[i].head++"),
            "an atomic used without",
        ),
        (("size_t size", "volatile size_t size"), "volatile"),
        (("size_t size", "atomic_thread_fence(memory_order_seq_cst);\nsize_t size"), "fence"),
        (("size_t size", "__sync_synchronize();\nsize_t size"), "builtin"),
    ],
)
def test_broken_ordering_rules_are_recognised(change: tuple[str, str], complaint: str) -> None:
    """The rule above can fail for each of its reasons."""
    assert broken_rules(GOOD) == []
    broken = GOOD.replace(*change)
    assert broken != GOOD
    assert any(complaint in what for _, what in broken_rules(broken))


def test_comment_above_a_function_speaks_for_all_of_it_and_for_nothing_else() -> None:
    """A function that only resets says so once; the next one speaks for itself."""
    assert broken_rules(GOOD_FUNCTION) == []
    assert broken_rules(GOOD_FUNCTION.replace("All stores are relaxed", "Nothing else runs"))
    silent = GOOD_FUNCTION.split("*/")[1]
    assert broken_rules(GOOD_FUNCTION + "\n" * 9 + silent)
