"""Probe and exporter meet, whichever comes first."""

from __future__ import annotations

import importlib.util

import pytest

from gilscope import exports


@pytest.mark.parametrize("exporter_first", [False, True])
def test_observer_reaches_the_exporter_in_either_order(exporter_first: bool) -> None:
    """Nothing is handed over before both are there, and then it is."""
    spec = exports.__spec__
    assert spec is not None
    assert spec.loader is not None
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    given: list[object] = []
    first, second = fresh.offer, fresh.accept
    arguments = ["observer", given.append]
    if exporter_first:
        first, second = second, first
        arguments.reverse()
    first(arguments[0])
    assert given == []
    second(arguments[1])
    assert given == ["observer"]
