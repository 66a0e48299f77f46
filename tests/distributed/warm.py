"""Scripts in new processes that have imported everything already: a process that has done so forks them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fulmen

OURS = ("MASTER_", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "OMP_")
"""Variables by which others tell where a process stands."""


def clean_environment(**more: str) -> dict[str, str]:
    """Variables for a program that can import the package, and whose place nobody has told."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return clean | {"PYTHONPATH": str(Path(fulmen.__file__).parents[1])} | more


class Nursery:
    """Starts scripts; each begins at once, in a session of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], env=clean_environment(OMP_NUM_THREADS="1"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def start(self, script: Path, *arguments: str, folder: Path, output: Path, **variables: str) -> Child:
        """Run a script in a folder; what it says is added to a file."""
        told = {"argv": [str(script), *arguments], "folder": str(folder), "output": str(output)}
        return Child(self._ask({"start": told | {"variables": variables}}), self._ask)

    def end(self) -> None:
        """No more are started."""
        self._process.communicate()

    def _ask(self, question: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


class Child:
    """A process that runs a script."""

    def __init__(self, pid: int, ask: Callable[[dict[str, Any]], Any]) -> None:
        self.pid = pid
        self._ask = ask
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, if it has ended: of a signal, the negative number."""
        if self._code is None:
            self._code = self._ask({"poll": self.pid})
        return self._code

    def kill(self) -> None:
        """End it, with all that it has started in its session."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)


def serve() -> list[str]:
    """Do what is asked for; in a process that is to run a script, its command line."""
    ended: dict[int, int] = {}
    for line in sys.stdin:
        question = json.loads(line)
        if "start" in question:
            answer = os.fork()
            if answer == 0:
                return begin(**question["start"])
        else:
            pid, status = os.waitpid(question["poll"], os.WNOHANG)
            if pid:
                ended[pid] = os.waitstatus_to_exitcode(status)
            answer = ended.get(question["poll"])
        print(json.dumps(answer), flush=True)
    return []


def begin(argv: list[str], folder: str, output: str, variables: dict[str, str]) -> list[str]:
    """Become a process of its own."""
    os.setsid()
    os.chdir(folder)
    os.environ.update(variables)
    with open(os.devnull) as nothing, open(output, "ab") as said:
        os.dup2(nothing.fileno(), 0)
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    return argv


if __name__ == "__main__":
    import runpy

    import torch.distributed
    import torch.nn.parallel.distributed
    import torch.utils.data  # noqa: F401

    import fulmen.callbacks
    import fulmen.strategies

    sys.argv = serve()
    if sys.argv:
        runpy.run_path(sys.argv[0], run_name="__main__")
