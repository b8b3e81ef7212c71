"""Unit tests of what makes requests for a bench elsewhere: a process a cell, and how it ends."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from gilscope.bench import worker

if TYPE_CHECKING:
    from typing_extensions import Self


class Cells:
    """In place of the processes: the next one ends with the next status."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = list(statuses)

    def __call__(self, *_: object, **__: object) -> Self:
        """A process has been started."""
        return self

    def __enter__(self) -> Self:
        """It runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """It has ended."""

    def wait(self) -> Any:
        """Return with what it has ended."""
        return self._statuses.pop(0)


@pytest.mark.parametrize(
    ("statuses", "status"),
    [((0, 0, 1), 0), ((1,), 1)],
    ids=["after two cells there is no bench any more", "there never was a bench"],
)
def test_worker_goes_on_until_there_is_no_bench(
    statuses: tuple[int, ...], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has made its requests has not failed."""
    monkeypatch.setattr(sys, "argv", ["worker", "10.0.0.5:5557"])
    monkeypatch.setattr("gilscope.bench.worker.subprocess.Popen", Cells(*statuses))
    assert worker.main() == status


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nonsense", "expected HOST:PORT, got 'nonsense'"),
        (":5557", "expected HOST:PORT, got ':5557'"),
        ("10.0.0.5:99999", "expected HOST:PORT, got '10.0.0.5:99999'"),
        ("not a host:5557", "not a host cannot be found: "),
    ],
)
def test_worker_with_a_wrong_address_says_so_at_once(
    address: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Locust's own worker would go on asking for a host that there is not."""
    monkeypatch.setattr(sys, "argv", ["worker", address])
    with pytest.raises(SystemExit, match="2"):
        worker.main()
    assert said in capsys.readouterr().err
