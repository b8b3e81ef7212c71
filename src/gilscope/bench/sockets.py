"""Two things that Python's sockets do not say in one call. Standard library only."""

from __future__ import annotations

import socket
import struct


def bound_socket(host: str, port: int) -> socket.socket:
    """Returns a non-blocking TCP socket that is bound, but does not listen: connections to its port are refused.

    A listening socket cannot stop listening and keep its port. So to refuse connections for a while, close it, bind
    the port again at once with this, and call `listen` on the new socket when the time has come.

    Raises:
        OSError: The port is in use or not allowed.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.settimeout(0)
    except OSError as error:
        sock.close()
        msg = f"cannot listen on {host}:{port}: {error.strerror}"
        raise OSError(error.errno, msg) from error
    return sock


def reset_on_close(sock: socket.socket) -> None:
    """Makes the next close of the socket send RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
