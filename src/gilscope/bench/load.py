"""`python -m gilscope.bench.load`: users, by locust, whose every request is written down in nanoseconds.

A child of the bench (see `gilscope.bench.child`). It says when all users have started, then answers `stop`, with the
window that is measured, when every request of the window is done and written.

With `--workers N` the users are in N processes of locust's, of which this one is the master.

Locust makes the users and their requests (`FastHttpUser`). Its statistics are not used: they round to two digits, and
count from when a request was sent, so that a slow server slows the load down and hides it.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()  # before anything opens a socket, as locust does it

import argparse  # noqa: E402
import itertools  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

import gevent  # noqa: E402
from gevent import threadpool  # noqa: E402
from locust import FastHttpUser, User, task  # noqa: E402
from locust.env import Environment  # noqa: E402
from locust.exception import StopUser  # noqa: E402
from locust.util.load_locustfile import load_locustfile  # noqa: E402

from gilscope.bench import requests_file  # noqa: E402
from gilscope.bench.requests_file import Request  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from locust.runners import Runner

_NS_PER_S = 1_000_000_000
_PATIENCE_S = 60.0
# Between locust's master and its workers; locust has messages of its own beside them.
_BEGIN, _STOP, _DONE = "gilscope_begin", "gilscope_stop", "gilscope_done"


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
        connection_timeout = network_timeout = _PATIENCE_S

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
        environment: locust's, without a runner.
        runner: whoever starts the users sets it.
    """

    runner: Runner

    def __init__(self, options: argparse.Namespace) -> None:
        self._ledger = Ledger()
        self._ends = bool(options.locustfile)
        self.environment = Environment(host=options.host, stop_timeout=_PATIENCE_S)
        if options.locustfile:
            self.environment.user_classes = classes_of(options.locustfile, self.environment, self._ledger)
        else:
            self.environment.user_classes = [user_of(options, self._ledger)]
        self.begin()

    def begin(self) -> None:
        """Measuring has begun."""
        self._begun_ns, self._begun_cpu_ns = time.monotonic_ns(), time.process_time_ns()

    def stop(self, from_ns: int, until_ns: int) -> dict[str, Any]:
        """Every request that was due in this window has been answered, or given up; return what there is to tell."""
        cpu_share = (time.process_time_ns() - self._begun_cpu_ns) / (time.monotonic_ns() - self._begun_ns)
        ledger = self._ledger
        ledger.until_ns = until_ns
        deadline_ns = time.monotonic_ns() + round(_PATIENCE_S * _NS_PER_S)
        while ledger.unanswered and time.monotonic_ns() < deadline_ns:
            gevent.sleep(0.05)
        if self._ends:
            self.runner.stop()
        inside = [tuple(each) for each in ledger.requests if from_ns <= each.intended_ns < until_ns]
        return {"cpu_shares": [cpu_share], "unanswered": ledger.unanswered, "requests": inside}


class Workers:
    """Users in processes of their own, which locust's master in this one steers."""

    def __init__(self, options: argparse.Namespace) -> None:
        """All workers have connected.

        Raises:
            RuntimeError: one has not, in time.
        """
        # The master knows the classes of the users, of which it runs none.
        runner = self.runner = Users(options).environment.create_master_runner("127.0.0.1", 0)
        self._done: list[dict[str, Any]] = []
        runner.register_message(_DONE, lambda msg, **_: self._done.append(msg.data))
        master = f"127.0.0.1:{runner.server.port}"
        command = [sys.executable, "-m", "gilscope.bench.load", *sys.argv[1:], "--master", master]
        self._processes = [
            # A pipe that closes when this process ends, however it does.
            subprocess.Popen([*command, "--worker", str(number)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            for number in range(options.workers)
        ]
        self._wait_until(lambda: runner.worker_count == options.workers, "connect")

    def begin(self) -> None:
        """Measuring has begun."""
        self.runner.send_message(_BEGIN)

    def stop(self, from_ns: int, until_ns: int) -> dict[str, Any]:
        """As that of `Users`, for all of them."""
        self.runner.send_message(_STOP, {"from_ns": from_ns, "until_ns": until_ns})
        self._wait_until(lambda: len(self._done) == len(self._processes), "tell what they asked")
        return {
            "cpu_shares": [share for told in self._done for share in told["cpu_shares"]],
            "unanswered": sum(told["unanswered"] for told in self._done),
            "requests": sorted(tuple(request) for told in self._done for request in told["requests"]),
        }

    def _wait_until(self, reached: Callable[[], bool], what: str) -> None:
        deadline_ns = time.monotonic_ns() + round((_PATIENCE_S + 10) * _NS_PER_S)
        while not reached():
            ended = [process.returncode for process in self._processes if process.poll() is not None]
            if ended or time.monotonic_ns() > deadline_ns:
                raise RuntimeError(f"{len(self._processes)} workers were to {what}; of them ended: {ended}")
            gevent.sleep(0.02)


def work(options: argparse.Namespace) -> None:
    """Be one of locust's workers, until its master ends."""
    users = Users(options)
    host, _, port = options.master.partition(":")
    runner = users.environment.create_worker_runner(host, int(port))
    runner.register_message(_BEGIN, lambda **_: users.begin())
    users.runner = runner

    def stop(msg: Any, **_: object) -> None:  # noqa: ANN401  # a message of locust's
        runner.send_message(_DONE, users.stop(**msg.data))

    runner.register_message(_STOP, stop, concurrent=True)
    threadpool.ThreadPool(1).spawn(sys.stdin.read).get()
    os._exit(0)  # nobody waits for what greenlets are still doing


def main() -> None:
    """Load a server until told to stop."""
    options = _parser().parse_args()
    if options.cores:
        os.sched_setaffinity(0, {int(core) for core in options.cores.split(",")})
    if options.master:
        work(options)
        return
    users: Users | Workers
    if options.workers:
        users = Workers(options)
    else:
        users = Users(options)
        users.runner = users.environment.create_local_runner()
    # Our own users spread themselves; those of a locustfile start over ten seconds at most.
    rate = max(options.users / 10, 1.0) if options.locustfile else options.users
    users.runner.start(options.users, spawn_rate=rate)
    _say({"users": options.users})
    listening = threadpool.ThreadPool(1)
    while line := listening.spawn(sys.stdin.readline).get():
        command = json.loads(line)
        if command["do"] == "begin":
            users.begin()
            _say({})
            continue
        told = users.stop(command["from_ns"], command["until_ns"])
        requests_file.write(options.requests, [Request(*request) for request in told["requests"]])
        _say({"unanswered": told["unanswered"], "cpu_shares": told["cpu_shares"]})
    users.runner.quit()


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gilscope.bench.load", description=__doc__)
    parser.add_argument("--host", required=True, help="http://127.0.0.1:PORT")
    parser.add_argument("--method", default="GET")
    parser.add_argument("--path", default="/")
    parser.add_argument("--body", default="", help="{number} in it is the request's number")
    parser.add_argument("--header", action="append", default=[], metavar="NAME: VALUE")
    parser.add_argument("--locustfile", help="run its users instead")
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--think-time", type=float, required=True, metavar="S", help="of a user, on average")
    parser.add_argument("--rate", type=float, help="requests a second that arrive whatever happens; users are as many "
                        "as may be in flight")  # fmt: skip
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cores", help="run on these only: 0,2")
    parser.add_argument("--workers", type=int, default=0, help="processes for the users; 0: this one")
    parser.add_argument("--master", metavar="HOST:PORT", help="be a worker of this master")
    parser.add_argument("--worker", type=int, default=0, help="which of the workers this one is")
    parser.add_argument("--requests", type=Path, required=True, help="the file to write")
    return parser


if __name__ == "__main__":
    main()
