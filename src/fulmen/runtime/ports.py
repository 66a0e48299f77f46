"""Ports at which processes meet."""

from __future__ import annotations

import socket
import zlib

LOOPBACK = "127.0.0.1"

GUESSED = range(15_000, 20_000)
"""Of what processes have to guess alike; below the ports that systems hand out by themselves."""

_reserved: socket.socket | None = None
_port: int | None = None


def listen() -> socket.socket:
    """A socket on a port of this host that nobody else has or can get."""
    listener = socket.socket()
    listener.bind((LOOPBACK, 0))
    listener.listen(socket.SOMAXCONN)
    return listener


def reserve() -> int:
    """This process's port: held by a socket from now on, the same at each call."""
    if _port is None:
        adopt(listen())
    assert _port is not None
    return _port


def adopt(listener: socket.socket) -> None:
    """Make the port of a socket, which another process may have opened for this one, this process's port."""
    global _reserved, _port
    _reserved, _port = listener, listener.getsockname()[1]


def take(port: int) -> socket.socket | None:
    """Hand out the socket that holds this port, once; None where this process holds none."""
    global _reserved
    taken = _reserved if port == _port else None
    if taken is not None:
        _reserved = None
    return taken


def guessed(job: str) -> int:
    """The port that all processes of a job come to on their own."""
    return GUESSED[zlib.crc32(job.encode()) % len(GUESSED)]
