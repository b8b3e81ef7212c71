"""`python -m loadtests.apps.agent`: serves the reference app."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import uvicorn

from loadtests.apps.agent.settings import Settings, SettingsError
from loadtests.apps.agent.steps import spans_per_request

if TYPE_CHECKING:
    from collections.abc import Sequence

_DESCRIPTION = """\
A chat service as people trace them: FastAPI, an agent that works in sixteen steps, GenAI spans of each.
The models, stores and tools behind it are simulated; nothing leaves this machine but, if asked for, spans."""

_EPILOG = """\
try it:
  curl -s localhost:8000/chat -H 'content-type: application/json' -d '{"conversation": "c1", "text": "Where is it?"}'
  curl -sN localhost:8000/chat/stream -H 'content-type: application/json' -d '{"conversation": "c1", "text": "Hi"}'
  locust -f loadtests/users/agent_user.py --headless -u 100 -t 30s -H http://127.0.0.1:8000

with tracing, to a collector on this machine:
  python -m gilscope.bench.sink --http-port 4318
  AGENT_TRACING=on python -m loadtests.apps.agent

The AGENT_* variables, such as AGENT_STEPS and AGENT_PAYLOAD_BYTES, are in loadtests/apps/agent/README.md.
exit code: 0 ended by Ctrl-C; 2 usage, or a bad variable; 3 it could not serve, such as when the port is taken."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal comes, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.apps.agent",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="(default: %(default)s)")
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop", help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    print(
        f"serving on http://{options.host}:{options.port}, {spans_per_request(settings)} spans a request, "
        f"tracing of its own {'on' if settings.tracing else 'off'}; Ctrl-C ends it",
        file=sys.stderr,
    )
    uvicorn.run(
        "loadtests.apps.agent.main:app",
        host=options.host,
        port=options.port,
        loop=options.loop,
        access_log=False,
        log_level="warning",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
