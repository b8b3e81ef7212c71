"""The native module's stand-in, and spans to give it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from gilscope.spans import lifetime, settings, swap, takeover
from tests.unit import fake_pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def pipelines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[fake_pipeline.Pipeline]]:
    """Replace the native module; what is made of it during the test is in the list."""
    module = fake_pipeline.as_module()
    monkeypatch.setitem(sys.modules, "gilscope._spans", module)
    monkeypatch.setattr(takeover, "_said", set())
    monkeypatch.setattr(settings, "_warned_of_milliseconds", set())
    running = dict(lifetime._running)
    yield fake_pipeline.Pipeline.made
    swap.uninstall()
    lifetime._running.clear()
    lifetime._running.update(running)


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    """Return a provider without processors, which nothing else knows."""
    made = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    yield made
    made.shutdown()
