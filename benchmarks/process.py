"""A worker as the parent sees it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import termios
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ROWS_AND_COLUMNS = (24, 120)


class Worker:
    """A worker process that has a terminal, where its bars are drawn, to itself."""

    def __init__(self, python: str, core: int) -> None:
        screen, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *ROWS_AND_COLUMNS, 0, 0))
        results, results_end = os.pipe()
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", str(core), str(results_end)],
            cwd=ROOT,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=terminal,
            stderr=terminal,
            pass_fds=[results_end],
            text=True,
        )
        os.close(terminal)
        os.close(results_end)
        self._results = os.fdopen(results)
        self._last_shown: deque[bytes] = deque(maxlen=16)
        self._watcher = threading.Thread(target=self._watch, args=(screen,))
        self._watcher.start()
        self.installed: dict[str, str] = self._receive()

    def measure(self, **request: Any) -> float:
        """Have `worker.measure` called, and wait for what it gives."""
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._receive()

    def _receive(self) -> Any:
        line = self._results.readline()
        if not line:
            self._watcher.join()
            raise RuntimeError("A worker has failed:\n" + b"".join(self._last_shown).decode(errors="replace"))
        return json.loads(line)

    def _watch(self, screen: int) -> None:
        """Take what is drawn off the terminal, so that there is always room for more."""
        with open(screen, "rb", buffering=0) as drawn:
            try:
                while shown := drawn.read(4096):
                    self._last_shown.append(shown)
            except OSError:  # how Linux says that nobody has the terminal open any more
                pass

    def close(self) -> None:
        """Let the process end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._watcher.join()
        self._results.close()


@contextmanager
def worker(python: str, core: int) -> Iterator[Worker]:
    """A worker that ends with the block."""
    process = Worker(python, core)
    try:
        yield process
    finally:
        process.close()


def measure_first(python: str, core: int, **request: Any) -> float:
    """A measurement in a process that has done nothing before."""
    with worker(python, core) as process:
        return process.measure(**request)


def measure_import(python: str, core: int, module: str) -> float:
    """Milliseconds that the import takes where torch is imported already."""
    pin = f"os.sched_setaffinity(0, {{{core}}})" if hasattr(os, "sched_setaffinity") else "pass"
    script = f"""
import os, time, torch
{pin}
start_s = time.perf_counter()
import {module}
print(1000 * (time.perf_counter() - start_s))
"""
    command = [python, "-c", script]
    return float(subprocess.run(command, env=_environment(), check=True, capture_output=True).stdout)


def _environment() -> dict[str, str]:
    """What workers find: this checkout, a colourful terminal, one thread, and bytecode that is kept."""
    search_path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    settings = {"PYTHONPATH": search_path, "OMP_NUM_THREADS": "1", "TERM": "xterm-256color"}
    return {**os.environ, **settings, "PYTHONDONTWRITEBYTECODE": ""}
