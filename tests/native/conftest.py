"""Makes pytest items of the C tests: `test_ring.c::plain`, `::asan`, `::tsan`, and one for each mutant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from tests.native import runner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from _pytest._code.code import TerminalRepr


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> NativeFile | None:
    """Collect `test_*.c` and nothing else; Python files are pytest's own."""
    if file_path.suffix == ".c" and file_path.name.startswith("test_"):
        return NativeFile.from_parent(parent, path=file_path)
    return None


class NativeFile(pytest.File):
    """One C test."""

    def collect(self) -> Iterator[NativeItem]:
        """Yield an item for each variant and each mutant."""
        try:
            test = runner.parse(self.path)
        except runner.NativeTestError as error:
            raise self.CollectError(str(error)) from error
        for variant in test.variants:
            yield NativeItem.from_parent(self, name=variant, test=test, variant=variant, mutant=None)
        for mutant in test.mutants:
            name = f"mutant[{mutant.variant} {' '.join(mutant.flags)}]"
            yield NativeItem.from_parent(self, name=name, test=test, variant=mutant.variant, mutant=mutant)


class NativeItem(pytest.Item):
    """One C test in one variant."""

    def __init__(
        self,
        name: str,
        parent: pytest.Collector,
        test: runner.NativeTest,
        variant: str,
        mutant: runner.Mutant | None,
    ) -> None:
        super().__init__(name, parent)
        self.test = test
        self.variant = variant
        self.mutant = mutant
        self.add_marker(pytest.mark.native)
        self.add_marker(pytest.mark.timeout(test.item_timeout_s))

    def runtest(self) -> None:
        """Compile and run; what the test printed is shown when it failed, and with `-s` or `-rP`."""
        if self.mutant is None:
            run = runner.run_test(self.test, self.variant)
        else:
            run = runner.run_mutant(self.test, self.mutant)
        self.add_report_section("call", "native", run.output)

    def repr_failure(
        self,
        excinfo: pytest.ExceptionInfo[BaseException],
        style: Literal["long", "short", "line", "no", "native", "value", "auto"] | None = None,
    ) -> str | TerminalRepr:
        """Show the test's own output instead of a traceback through this harness."""
        if isinstance(excinfo.value, runner.NativeTestError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return where the test is and what it is called."""
        return self.path, None, f"{self.path.name}::{self.name}"
