"""What the agent talks to, simulated in this process: waits of a known length, no network, no CPU."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from loadtests.apps.agent.settings import Settings
    from loadtests.apps.agent.work import Work

_DATABASE_WAIT_S = 0.001
_EMBEDDING_WAIT_S = 0.002
_SEARCH_WAIT_S = 0.002
_TOOL_WAIT_S = 0.002


class ToolError(Exception):
    """A tool's service answered with an error; calling again may help."""


class ModelEndpoint:
    """A language model behind timers: its first token after a set time, the others at the request's own pace."""

    def __init__(self, settings: Settings) -> None:
        self._time_to_first_token_s = settings.time_to_first_token_ms / 1000

    async def complete(self) -> None:
        """A short reply, such as a query or the choice of a tool, has come in one piece."""
        await asyncio.sleep(self._time_to_first_token_s)

    async def stream(self, work: Work) -> AsyncIterator[str]:
        """Yield the answer piece by piece."""
        await asyncio.sleep(self._time_to_first_token_s)
        yield work.chunks[0]
        for chunk, wait_s in zip(work.chunks[1:], work.chunk_waits_s[1:], strict=True):
            await asyncio.sleep(wait_s)
            yield chunk


async def query_database() -> None:
    """The database has answered."""
    await asyncio.sleep(_DATABASE_WAIT_S)


async def embed() -> None:
    """The embedding has come."""
    await asyncio.sleep(_EMBEDDING_WAIT_S)


async def search() -> None:
    """The store has found what it has."""
    await asyncio.sleep(_SEARCH_WAIT_S)


async def find_order(*, fails: bool) -> None:
    """The order service has answered.

    Raises:
        ToolError: It is one of the calls that fail.
    """
    await asyncio.sleep(_TOOL_WAIT_S)
    if fails:
        raise ToolError("order service: expected status 200, got 503 from GET /orders (it is called once more)")


def check_warranty() -> None:
    """The warranty register has answered; its client blocks, so it is to be called in a thread of its own."""
    time.sleep(_TOOL_WAIT_S)
