"""What `rsh` does between the hosts of a test: `serve` runs what other hosts ask for; else, ask a host.

remote_shell.py serve
remote_shell.py HOST COMMAND...
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading

PORT = 514


def serve() -> None:
    """Run commands, each with its connection for output, until this process is ended."""
    with socket.create_server(("", PORT)) as listener:
        print("ready", flush=True)
        while True:
            threading.Thread(target=_run, args=(listener.accept()[0],)).start()


def _run(connection: socket.socket) -> None:
    with connection, connection.makefile("rb") as lines:
        command = lines.readline().decode()
        heard_at = connection.fileno()
        subprocess.run(
            ["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=heard_at, stderr=heard_at, check=False
        )


def ask(host: str, command: str) -> None:
    """Have a host run a command; prints what it says, until it has ended."""
    with socket.create_connection((host, PORT)) as connection, connection.makefile("rb") as said:
        connection.sendall(f"{command}\n".encode())
        shutil.copyfileobj(said, sys.stdout.buffer, 1)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        ask(sys.argv[1], " ".join(sys.argv[2:]))
