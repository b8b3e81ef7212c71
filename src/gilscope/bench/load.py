"""`python -m gilscope.bench.load`: users who load a server, steered over standard input.

A child of the bench (see `gilscope.bench.child`). It says when it is there, and answers each of these with a line:
`connected`, with how many workers can start; `start`, when all users have started; `begin`, when measuring begins; and
`stop`, with the window that was measured, when every request of the window is done and written.

With `--workers N` the users are in N processes of locust's, of which this one is the master; with `--master` they are
in as many as `--expect-workers` says, which somebody starts elsewhere.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()  # before anything opens a socket, as locust does it

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
from gevent import threadpool  # noqa: E402

from gilscope.bench import requests_file  # noqa: E402
from gilscope.bench.requests_file import Request  # noqa: E402
from gilscope.bench.users import Users  # noqa: E402
from gilscope.bench.workers import Workers  # noqa: E402


def main() -> None:
    """Load a server until told to stop."""
    options = _parser().parse_args()
    options.worker = 0  # which of the workers this one is
    if options.cores:
        os.sched_setaffinity(0, {int(core) for core in options.cores.split(",")})
    users: Users | Workers
    if options.workers or options.expect_workers:
        users = Workers(options)
    else:
        users = Users(options)
        users.runner = users.environment.create_local_runner()
    gevent.signal_handler(signal.SIGTERM, _leave, users)  # how a cell ends, whatever has become of it
    _say({})
    listening = threadpool.ThreadPool(1)
    while line := listening.spawn(sys.stdin.readline).get():
        command = json.loads(line)
        if command["do"] == "connected":
            _say({"connected": users.connected()})
        elif command["do"] == "start":
            # Our own users spread themselves; those of a locustfile start over ten seconds at most.
            rate = max(options.users / 10, 1.0) if options.locustfile else options.users
            users.runner.start(options.users, spawn_rate=rate)
            _say({"users": options.users})
        elif command["do"] == "begin":
            users.begin()
            _say({})
        else:
            told = users.stop(command["from_ns"], command["until_ns"])
            requests_file.write(options.requests, [Request(*request) for request in told["requests"]])
            _say({"unanswered": told["unanswered"], "cpu_shares": told["cpu_shares"]})
    _leave(users)


def _leave(users: Users | Workers) -> None:
    users.leave()
    os._exit(0)  # nobody waits for what greenlets are still doing


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
    parser.add_argument("--master", metavar="HOST:PORT", help="where workers from elsewhere are waited for")
    parser.add_argument("--expect-workers", type=int, default=0, metavar="N", help="how many of those")
    parser.add_argument("--requests", type=Path, required=True, help="the file to write")
    return parser


if __name__ == "__main__":
    main()
