"""Arrows that import-linter cannot see, because compiled modules and the standard library are not in its graph."""

from __future__ import annotations

import ast
from dataclasses import dataclass

import pytest

from tests.rules import source

NATIVE = ("gilscope._spans", "gilscope._probe")
INPUT_OUTPUT = (
    "asyncio",
    "ctypes",
    "http",
    "io",
    "mmap",
    "multiprocessing",
    "os",
    "pathlib",
    "select",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "subprocess",
    "tempfile",
    "threading",
    "urllib",
)


@dataclass(frozen=True)
class Arrow:
    """What the modules of one directory may not import."""

    where: str
    forbidden: tuple[str, ...]

    def broken_by(self, module: str) -> bool:
        """Return whether importing the module goes against the arrow."""
        return any(module == name or module.startswith(f"{name}.") for name in self.forbidden)


# The public API is what `gilscope` itself offers, its exceptions, and the bench with its receiver: users and load tests
# see the same.
PUBLIC = ("gilscope.errors", "gilscope.bench")
PRIVATE = tuple(
    f"gilscope.{path.name.partition('.')[0]}"
    for path in sorted((source.ROOT / "src" / "gilscope").iterdir())
    if path.suffix in {"", ".py", ".pyi"} and f"gilscope.{path.stem}" not in PUBLIC
)
ARROWS = [
    Arrow("src/gilscope/analysis", (*NATIVE, *INPUT_OUTPUT, "gilscope.spans", "gilscope.probe")),
    Arrow("src/gilscope/report", (*NATIVE, "gilscope.spans", "gilscope.probe")),
    Arrow("src/gilscope/spans", ("gilscope._probe", "gilscope.probe")),
    Arrow("src/gilscope/probe", ("gilscope._spans", "gilscope.spans", "opentelemetry")),
    Arrow("src", ("loadtests", "experiments", "tests", "pytest")),
    Arrow("loadtests", (*PRIVATE, "tests", "experiments")),
]


def imports(text: str, package: str) -> list[tuple[int, str]]:
    """Return line and full name of every module that a text imports.

    Args:
        text: a Python module's source.
        package: the dotted name of the package that it is in, for relative imports.
    """
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])
            start = base if node.level else node.module or ""
            found += [(node.lineno, start)] + [(node.lineno, f"{start}.{alias.name}") for alias in node.names]
    return found


@pytest.mark.parametrize("arrow", ARROWS, ids=lambda arrow: arrow.where)
def test_imports_follow_the_arrows(arrow: Arrow) -> None:
    """No module imports what its directory must not know."""
    found = [
        f"{path.relative_to(source.ROOT)}:{line}: {module}"
        for path in source.files(".py", ".pyi", under=arrow.where)
        for package in [".".join(path.relative_to(source.ROOT).parent.parts).removeprefix("src.")]
        for line, module in imports(path.read_text(encoding="utf-8"), package)
        if arrow.broken_by(module)
    ]
    assert not found


@pytest.mark.parametrize(
    "text",
    [
        "import gilscope.probe",
        "from gilscope import probe",
        "from ..probe import x",
        "from .. import probe",
        "import gilscope.probe.x as y",
    ],
)
def test_a_wrong_import_is_recognised(text: str) -> None:
    """The rule above can fail, in every spelling of an import."""
    arrow = Arrow("src/gilscope/spans", ("gilscope.probe",))
    assert any(arrow.broken_by(module) for _, module in imports(text, "gilscope.spans"))
    assert not any(arrow.broken_by(module) for _, module in imports("from . import probes", "gilscope.spans"))
