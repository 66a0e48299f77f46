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
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.distributed import RANKS

ROOT = Path(__file__).parents[1]
ROWS_AND_COLUMNS = (24, 120)


class Worker:
    """A worker process that has a terminal, where its bars are drawn, to itself."""

    def __init__(self, python: str, core: int, *place: str) -> None:
        screen, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *ROWS_AND_COLUMNS, 0, 0))
        results, results_end = os.pipe()
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", str(core), str(results_end), *place],
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
        self.ask(request)
        return self.answer()

    def ask(self, request: dict[str, Any]) -> None:
        """Have `worker.measure` called; `answer` has to follow."""
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)

    def answer(self) -> float:
        """Wait for what it gives."""
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


class WorkerGroup:
    """Workers that train together, each on a core of its own; started when they are first asked."""

    def __init__(self, python: str, core: int) -> None:
        self._python, self._core = python, core
        self._folder = TemporaryDirectory()
        self._workers: list[Worker] = []

    def measure(self, **request: Any) -> float:
        """Have all of them measure, and give what the first finds: at each step, it waits for the others."""
        if not self._workers:
            store = os.path.join(self._folder.name, "store")
            cores = [(self._core - rank) % (os.cpu_count() or 1) for rank in range(RANKS)]
            self._workers = [Worker(self._python, core, str(i), store) for i, core in enumerate(cores)]
        for each in self._workers:
            each.ask(request)
        readings = [each.answer() for each in self._workers]
        return readings[0]

    def close(self) -> None:
        """Let the processes end."""
        for each in self._workers:
            each.close()
        self._folder.cleanup()


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


def measure_start(python: str, framework: str, *, by_torchrun: bool = False) -> float:
    """Seconds from a command until both of the processes that it comes to have trained a step."""
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(RANKS)] if by_torchrun else []
    with TemporaryDirectory() as folder:
        command = [python, *torchrun, "-m", "benchmarks.first_step", framework, folder]
        start_s = time.monotonic()
        subprocess.run(command, cwd=ROOT, env=_environment(), check=True, capture_output=True)
        moments = [float(Path(folder, str(rank)).read_text()) for rank in range(RANKS)]
    return max(moments) - start_s


def _environment() -> dict[str, str]:
    """What workers find: this checkout, a colourful terminal, one thread, and bytecode that is kept."""
    search_path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    settings = {"PYTHONPATH": search_path, "OMP_NUM_THREADS": "1", "TERM": "xterm-256color"}
    return {**os.environ, **settings, "PYTHONDONTWRITEBYTECODE": ""}
