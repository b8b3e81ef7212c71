"""What the README and its like say must exist: files, headings, make targets, modules; and `make help` tells all."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from tests.rules import source

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_MAKE = re.compile(r"\bmake ((?:[a-z][\w-]*)(?: [a-z][\w-]*)*)")
_MODULE = re.compile(r"\bpython3? -m ([\w.]+)")
_TARGET = re.compile(r"^([a-z][\w-]*):(?!=)(.*)$", re.MULTILINE)
# Of the installer and the standard library; what else is run with -m is ours.
FOREIGN_MODULES = {"build", "pip", "pytest", "venv"}


def documents() -> tuple[Path, ...]:
    """Return all Markdown files of the project."""
    return source.files(".md")


def targets() -> dict[str, str]:
    """Return the Makefile's named targets, with what stands after their colon."""
    return dict(_TARGET.findall((source.ROOT / "Makefile").read_text(encoding="utf-8")))


def anchors(text: str) -> set[str]:
    """Return the anchors that a Markdown renderer makes of a text's headings."""
    prose = _FENCE.sub("", text)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path: Path, text: str) -> list[str]:
    """Return the links of a document that lead to no file, or to no heading of it."""
    broken = []
    for link in _LINK.findall(_FENCE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists():
            broken.append(link)
        elif anchor and target.suffix == ".md":
            heading = text if target == path else target.read_text(encoding="utf-8")
            if anchor not in anchors(heading):
                broken.append(link)
    return broken


def broken_commands(text: str) -> list[str]:
    """Return the commands in a document's code that name no make target or no module."""
    code = "\n".join([body for _, body in _FENCE.findall(text)] + re.findall(r"`([^`\n]+)`", _FENCE.sub("", text)))
    broken = []
    for words in _MAKE.findall(code):
        broken += [f"make {word}" for word in words.split() if word not in targets()]
    for module in _MODULE.findall(code):
        if module not in FOREIGN_MODULES and not _module_exists(module):
            broken.append(f"python -m {module}")
    return broken


def _module_exists(module: str) -> bool:
    parts = Path(*module.split("."))
    places = [source.ROOT / parts, source.ROOT / "src" / parts]
    ours = any(place.with_suffix(".py").is_file() or (place / "__main__.py").is_file() for place in places)
    return ours or ("." not in module and importlib.util.find_spec(module) is not None)


def test_readme_is_there() -> None:
    """The package's description is the README, and it tells how to run the tests and the demo."""
    text = (source.ROOT / "README.md").read_text(encoding="utf-8")
    assert "make test" in text
    assert "make demo" in text


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(source.ROOT)))
def test_document_links_lead_somewhere(path: Path) -> None:
    """Every relative link of a document leads to a file, and every anchor to a heading."""
    assert broken_links(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(source.ROOT)))
def test_document_commands_exist(path: Path) -> None:
    """Every `make TARGET` and `python -m MODULE` that a document shows can be run."""
    assert broken_commands(path.read_text(encoding="utf-8")) == []


def test_broken_links_and_commands_are_recognised(tmp_path: Path) -> None:
    """The rules above can fail."""
    path = tmp_path / "README.md"
    text = (
        "# One two\n[a](#one-two) [b](#three) [c](missing.md) [d](https://example.org/x)\n```\nmake nothing test\n```\n"
    )
    path.write_text(text + "`python -m gilscope.nothing`, `python -m pytest`\n", encoding="utf-8")
    assert broken_links(path, path.read_text(encoding="utf-8")) == ["#three", "missing.md"]
    assert broken_commands(path.read_text(encoding="utf-8")) == ["make nothing", "python -m gilscope.nothing"]


def test_make_help_lists_every_target() -> None:
    """Each target has its line in `make help`."""
    assert targets()
    assert [name for name, rest in targets().items() if "## " not in rest] == []
