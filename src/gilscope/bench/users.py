"""Users, by locust, whose every request is written down in nanoseconds: those of one process.

Locust makes the users and their requests (`FastHttpUser`). Its statistics are not used: they round to two digits, and
count from when a request was sent, so that a slow server slows the load down and hides it.
"""

from __future__ import annotations

import itertools
import random
import time
from typing import TYPE_CHECKING, Any

import gevent
from locust import FastHttpUser, User, task
from locust.env import Environment
from locust.exception import StopUser
from locust.util.load_locustfile import load_locustfile

from gilscope.bench.requests_file import Request

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from locust.runners import Runner

_NS_PER_S = 1_000_000_000
PATIENCE_S = 60.0


class Ledger:
    """Every request so far, and whether users may start more."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.unanswered = 0
        self.until_ns = 0  # 0: go on

    def wait(self, due_ns: int) -> None:
        """It is the moment at which a request is due.

        Raises:
            StopUser: the load has ended, or ends before.
        """
        while (left_ns := due_ns - time.monotonic_ns()) > 0:
            self._stop_if_over(due_ns)
            gevent.sleep(min(left_ns / _NS_PER_S, 0.25))
        self._stop_if_over(due_ns)

    def _stop_if_over(self, due_ns: int) -> None:
        if self.until_ns and due_ns >= self.until_ns:
            raise StopUser


def user_of(options: argparse.Namespace, ledger: Ledger) -> type[FastHttpUser]:
    """Return the class of users that ask one thing, again and again."""
    arrivals = _arrivals(options)
    # Each worker has its own part of the users, of the numbers and of the arrivals.
    starts = itertools.count(options.worker, max(options.workers, 1))
    generator = random.Random(options.seed + options.worker)
    numbers = itertools.count(options.worker, max(options.workers, 1))
    headers = dict(header.split(":", 1) for header in options.header)
    headers = {name.strip(): value.strip() for name, value in headers.items()}

    class Asking(FastHttpUser):
        host = options.host
        due_ns: int | None = None
        # A server that answers late is what is looked for.
        connection_timeout = network_timeout = PATIENCE_S

        @task
        def ask(self) -> None:
            if arrivals is not None:
                due_ns = next(arrivals)
            elif self.due_ns is None:
                # Spread over one time of thinking: users that start together make bursts of their own.
                due_ns = time.monotonic_ns() + round(next(starts) / options.users * options.think_time * _NS_PER_S)
            else:
                due_ns = self.due_ns
            ledger.wait(due_ns)
            body = options.body.replace("{number}", str(next(numbers))) or None
            sent_ns = time.monotonic_ns()
            ledger.unanswered += 1
            with self.client.request(
                options.method, options.path, data=body, headers=headers, catch_response=True
            ) as response:
                done_ns = time.monotonic_ns()
                ledger.unanswered -= 1
                ledger.requests.append(Request(due_ns, sent_ns, done_ns, response.status_code))
                response.success()
            thinking_s = options.think_time * generator.uniform(0.5, 1.5)
            self.due_ns = done_ns + round(thinking_s * _NS_PER_S)

    return Asking


def _arrivals(options: argparse.Namespace) -> Iterator[int] | None:
    """Return when requests of an open loop are due: one at a random moment in each of equal slots; None if closed."""
    if options.rate is None:
        return None
    generator = random.Random(options.seed + options.worker)
    start_ns = time.monotonic_ns()
    slot_ns = _NS_PER_S / options.rate * max(options.workers, 1)
    return (start_ns + int((number + generator.random()) * slot_ns) for number in itertools.count())


def classes_of(locustfile: str, environment: Environment, ledger: Ledger) -> list[type[User]]:
    """Return the users of a locustfile, whose requests will be in the ledger: these count from when they were sent."""

    def on_request(response_time: float, response: Any, exception: Any, **_: object) -> None:  # noqa: ANN401
        done_ns = time.monotonic_ns()
        sent_ns = done_ns - round(response_time * 1e6)
        status = getattr(response, "status_code", 0) or 0
        ledger.requests.append(Request(sent_ns, sent_ns, done_ns, 0 if exception is not None else status))

    environment.events.request.add_listener(on_request)  # type: ignore[no-untyped-call]
    return list(load_locustfile(locustfile)[0].values())


class Users:
    """The users of this process, and what they have asked.

    Attributes:
        environment: locust's; its runner is made by whoever starts the users.
        begun_ns: when measuring began.
        runner: whoever starts the users sets it.
    """

    runner: Runner

    def __init__(self, options: argparse.Namespace, environment: Environment | None = None) -> None:
        """None has started.

        Args:
            options: as `python -m gilscope.bench.load` takes them.
            environment: of a runner that is there already.
        """
        self._ledger = Ledger()
        self._ends = bool(options.locustfile)
        self.environment = environment or Environment()
        self.environment.host, self.environment.stop_timeout = options.host, PATIENCE_S
        if options.locustfile:
            self.environment.user_classes = classes_of(options.locustfile, self.environment, self._ledger)
        else:
            self.environment.user_classes = [user_of(options, self._ledger)]
        self.begin()

    def connected(self) -> int:
        """Return how many workers can start: these users need none."""
        return 0

    def leave(self) -> None:
        """Nobody else need be told that this cell has ended."""

    def begin(self) -> None:
        """Measuring has begun."""
        self.begun_ns, self._begun_cpu_ns = time.monotonic_ns(), time.process_time_ns()

    def stop(self, from_ns: int, until_ns: int) -> dict[str, Any]:
        """Every request that was due in this window has been answered, or given up; return what there is to tell."""
        cpu_share = (time.process_time_ns() - self._begun_cpu_ns) / (time.monotonic_ns() - self.begun_ns)
        ledger = self._ledger
        ledger.until_ns = until_ns
        deadline_ns = time.monotonic_ns() + round(PATIENCE_S * _NS_PER_S)
        while ledger.unanswered and time.monotonic_ns() < deadline_ns:
            gevent.sleep(0.05)
        if self._ends:
            self.runner.stop()
        inside = [tuple(each) for each in ledger.requests if from_ns <= each.intended_ns < until_ns]
        return {"cpu_shares": [cpu_share], "unanswered": ledger.unanswered, "requests": inside}
