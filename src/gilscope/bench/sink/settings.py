"""How a sink is set up: the one place that knows every option, its default and its help."""

from __future__ import annotations

import argparse
import dataclasses
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST = "127.0.0.1"
"""The sink is for tests: it listens on the loopback only."""

_DESCRIPTION = """\
A real OTLP receiver for traces that counts exactly, and that delays, rejects, resets or stops answering on request.

It serves OTLP/HTTP (protobuf), OTLP/gRPC and a control interface, on 127.0.0.1 only. When all three are ready it prints
one line of JSON with their ports:

    {"http_port": 40001, "grpc_port": 40002, "control_port": 40003, "pid": 1234, "tls": false}
"""

_EPILOG = """\
the control interface (plain HTTP and JSON, also with --tls-cert):
  GET  /stats        all counts
  GET  /requests     the last requests: headers, connection, outcome, times
  GET  /bodies       their bodies, if kept; ?last=N for the newest N
  GET  /faults       the faults in force
  POST /faults       {"seed": 1, "faults": [{"kind": "status", "status": 503, "retry_after_s": 1, "times": 2}]}
  POST /wait         {"spans": 512, "timeout_ms": 5000} answers once so many were accepted; instead of "spans" also
                     "requests", "spans_received", "spans_accepted", "spans_rejected", "spans_unanswered"
  POST /connections  {"how": "close"} or "reset": ends every open connection to the HTTP port
  POST /reset        clears counts, records, bodies and faults, and resets the connections to the HTTP port

examples:
  python -m gilscope.bench.sink --http-port 4318 --grpc-port 4317
  curl -s 127.0.0.1:CONTROL_PORT/stats
  curl -s 127.0.0.1:CONTROL_PORT/faults -d '{"faults": [{"kind": "delay"}]}'      (its error lists the kinds)

gilscope/bench/sink/faults.py documents every kind of fault with its fields. From Python use gilscope.bench.sink.Sink.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The command line's options; see their help below."""

    http_port: int = 0
    grpc_port: int = 0
    control_port: int = 0
    http_path: tuple[str, ...] = ("/v1/traces",)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    keep_bodies: int = 0
    keep_requests: int = 1000
    track_ids: int = 0
    validate: bool = False
    max_body_bytes: int = 64 << 20
    max_connections: int = 1000
    exit_with_parent: bool = False

    def tls_context(self) -> ssl.SSLContext | None:
        """Returns how the HTTP port is encrypted, or None for plain TCP.

        Raises:
            OSError: A file cannot be read or holds no usable certificate or key.
        """
        if self.tls_cert is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.tls_cert, self.tls_key)
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except OSError as error:  # which does not say for which file
            files = ", ".join(str(file) for file in (self.tls_cert, self.tls_key, self.client_ca) if file is not None)
            raise OSError(f"cannot use {files}: {error}") from error
        return context


def parse_arguments(arguments: Sequence[str] | None = None) -> Settings:
    """Returns the settings that a command line asks for; prints help or an error and exits where argparse does."""
    parser = argparse.ArgumentParser(
        prog="python -m gilscope.bench.sink",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = Settings()
    ports = parser.add_argument_group("ports (0 takes any that is free)")
    for name, what in (("http", "OTLP/HTTP"), ("grpc", "OTLP/gRPC"), ("control", "the control interface")):
        ports.add_argument(f"--{name}-port", type=_port, default=0, metavar="PORT", help=f"{what}; default 0")
    ports.add_argument(
        "--http-path", action="append", metavar="PATH", help="path of OTLP/HTTP, may be repeated; default /v1/traces"
    )
    tls = parser.add_argument_group("TLS, for OTLP/HTTP and OTLP/gRPC alike (PEM files)")
    tls.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain of the server")
    tls.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key")
    tls.add_argument("--client-ca", type=Path, metavar="FILE", help="demand a client certificate signed by this (mTLS)")
    keep = parser.add_argument_group("what is kept and checked")
    keep.add_argument("--keep-bodies", type=_count, default=0, metavar="N", help="keep the last N bodies; default none")
    keep.add_argument(
        "--keep-requests", type=_count, default=defaults.keep_requests, metavar="N",
        help="keep headers and outcome of the last N requests; default %(default)s",
    )  # fmt: skip
    keep.add_argument(
        "--track-ids", type=_count, nargs="?", const=1_000_000, default=0, metavar="MAX",
        help="count spans by (trace id, span id) to find duplicates and losses, up to MAX ids; default MAX %(const)s",
    )  # fmt: skip
    keep.add_argument("--validate", action="store_true", help="parse every body in full, and answer 400 if that fails")
    bounds = parser.add_argument_group("bounds")
    bounds.add_argument(
        "--max-body-bytes", type=_count, default=defaults.max_body_bytes, metavar="N",
        help="larger bodies, compressed or not, get 413 or RESOURCE_EXHAUSTED; default %(default)s",
    )  # fmt: skip
    bounds.add_argument(
        "--max-connections", type=_count, default=defaults.max_connections, metavar="N",
        help="further connections to the HTTP port are closed at once; default %(default)s",
    )  # fmt: skip
    bounds.add_argument(
        "--exit-with-parent", action="store_true", help="exit when standard input, a pipe from the parent, is closed"
    )
    options = vars(parser.parse_args(arguments))
    options["http_path"] = tuple(options["http_path"] or defaults.http_path)
    settings = Settings(**options)
    if (settings.tls_cert is None) != (settings.tls_key is None):
        parser.error("--tls-cert and --tls-key must be given together")
    if settings.client_ca is not None and settings.tls_cert is None:
        parser.error("--client-ca needs --tls-cert and --tls-key")
    return settings


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:  # noqa: PLR2004  # the range of TCP ports
        msg = f"a port must be within 0..65535, got {port}"
        raise argparse.ArgumentTypeError(msg)
    return port


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        msg = f"must be >= 0, got {count}"
        raise argparse.ArgumentTypeError(msg)
    return count
