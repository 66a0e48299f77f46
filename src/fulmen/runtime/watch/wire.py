"""Messages between two processes: one line of JSON each, over a connection."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

SEND_S = 2.0
"""How long a message may take to leave: the other end is stopped, or the network is gone."""

CHUNK_BYTES = 1 << 16
LONGEST_MESSAGE_BYTES = 1 << 22


class Wire:
    """One end of a connection. Any thread may send; one of them receives."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(SEND_S)
        self.connection = connection
        self._lock = threading.Lock()
        self._received = b""
        self._broken = False

    def send(self, message: dict[str, Any]) -> None:
        """Send, if there is still somebody at the other end."""
        data = json.dumps(message).encode() + b"\n"
        with self._lock:
            if self._broken:
                return
            try:
                self.connection.sendall(data)
            except OSError:  # half of it may have left: nothing more would be understood
                self._broken = True

    def receive(self) -> list[dict[str, Any]] | None:
        """What has come, after the connection was said to be readable; None once it was closed.

        None as well where a stranger talks, of whom nothing is understood.
        """
        try:
            data = self.connection.recv(CHUNK_BYTES)
        except OSError:
            return None
        self._received += data
        if not data or len(self._received) > LONGEST_MESSAGE_BYTES:
            return None
        *lines, self._received = self._received.split(b"\n")
        try:
            said = [json.loads(line) for line in lines]
        except (ValueError, RecursionError):
            return None
        return said if all(isinstance(message, dict) for message in said) else None

    def close(self) -> None:
        """Hang up."""
        self.connection.close()
