"""Runs a plan: the sink, and for each block a fresh server, a warm-up, the load, and the collecting."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from gilscope.bench.child import Child, ChildError
from gilscope.bench.sink.client import Sink, SinkError
from loadtests.demo.load import Load, arrivals_ns
from loadtests.demo.plan import BLOCKS
from loadtests.demo.results import Block

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtests.demo.arms import Arm
    from loadtests.demo.load import LoadResult
    from loadtests.demo.plan import Plan

_START_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 60.0


class DemoError(Exception):
    """The demo could not be run; the message says what to do."""


def run(plan: Plan, progress: Callable[[str], None]) -> list[Block]:
    """Return what each block found.

    Args:
        plan: How much, and where.
        progress: Called about once a second with a line that says what is going on.

    Raises:
        DemoError: The server or the sink did not start, or was lost; or requests were never answered.
    """
    if plan.cores.load is not None and plan.cores.sink is not None:
        os.sched_setaffinity(0, {plan.cores.sink})  # before the sink starts, so that all its threads inherit it
    progress("starting the receiver")
    with ExitStack() as stack:
        try:
            sink = stack.enter_context(Sink(track_ids=True, keep_requests=0))
        except SinkError as error:
            raise DemoError(f"the OTLP receiver did not start: {error}") from error
        if plan.cores.load is not None:
            os.sched_setaffinity(0, {plan.cores.load})
        blocks: list[Block] = []
        for number, arm in enumerate(BLOCKS, start=1):
            turn = [block.arm for block in blocks].count(arm)

            def show(text: str, where: str = f"block {number} of {len(BLOCKS)}, {arm.label}") -> None:
                progress(f"{where}: {text}")

            try:
                blocks.append(_run_block(plan, arm, turn, sink, show))
            except ChildError as error:
                raise DemoError(f"the server with {arm.label} was lost: {error}") from error
            except SinkError as error:
                raise DemoError(f"the OTLP receiver was lost: {error}") from error
            except (OSError, TimeoutError) as error:
                raise DemoError(f"the server with {arm.label} does not answer: {error}") from error
        return blocks


def _run_block(plan: Plan, arm: Arm, turn: int, sink: Sink, progress: Callable[[str], None]) -> Block:
    sink.reset()
    progress("starting the server")
    options = ["--arm", arm.value, "--endpoint", sink.http_endpoint, "--port", str(plan.port), "--loop", plan.loop]
    if plan.cores.server is not None:
        options += ["--core", str(plan.cores.server)]
    try:
        server = Child("loadtests.demo.server", options, timeout_s=_START_TIMEOUT_S)
    except ChildError as error:
        raise DemoError(f"the server with {arm.label} did not start: {error}") from error
    try:
        port = server.ready["port"]
        # The same seed for the same turn: every arm gets the same arrivals.
        warm_up_load = _drive(
            plan, port, plan.warm_up_requests, 1000 + turn, lambda text: progress(f"warming up, {text}")
        )
        begun = _tell(server, "begin")
        warm_up = sink.stats()
        load = _drive(plan, port, plan.requests_of_block(turn), turn, progress)
        load.failures += warm_up_load.failures
        progress("sending the last spans")
        ended = _tell(server, "end")
        stats = sink.stats()
    finally:
        server.stop()
    return Block(
        arm=arm,
        requests=plan.requests_of_block(turn),
        load=load,
        server=ended,
        warm_up_spans=begun["spans"],
        warm_up_arrived=warm_up.distinct_spans_accepted,
        arrived=stats.distinct_spans_accepted - warm_up.distinct_spans_accepted,
        duplicates=stats.duplicate_spans_accepted,
    )


def _tell(server: Child, command: str) -> dict[str, Any]:
    server.write({"do": command})
    return server.read(_END_TIMEOUT_S)


def _drive(plan: Plan, port: int, requests: int, seed: int, progress: Callable[[str], None]) -> LoadResult:
    return asyncio.run(_drive_and_tell(plan, port, requests, seed, progress))


async def _drive_and_tell(
    plan: Plan, port: int, requests: int, seed: int, progress: Callable[[str], None]
) -> LoadResult:
    load = Load(port, arrivals_ns(requests, plan.requests_per_second, seed))

    async def tell() -> None:
        while True:
            progress(f"{load.result.finished} of {requests} requests")
            await asyncio.sleep(1)

    telling = asyncio.ensure_future(tell())
    try:
        # As many as are in flight at once when all is well; more are opened if it is not.
        return await load.run(min(plan.users, 20))
    finally:
        telling.cancel()
