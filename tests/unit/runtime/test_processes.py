"""Processes of this host, looked at and waited for; and an end that nothing holds up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from fulmen.runtime import processes
from fulmen.runtime.processes import Glance, wait_for_those_at_work

WAIT_S = 60.0


def wait_until(is_so: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < give_up_s
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
def test_glances_tell_work_from_rest() -> None:
    program = "import sys; print(flush=True)\nfor line in sys.stdin:\n while True: pass"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        wait_until(lambda: not Glance.at(process.pid).would_go_on)
        before = Glance.at(process.pid)
        process.stdin.write(b"\n")
        process.stdin.flush()
        wait_until(lambda: Glance.at(process.pid).processor_s > before.processor_s + 0.1)
        assert Glance.at(process.pid).would_go_on
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: not Glance.at(process.pid).would_go_on)
        process.kill()
    assert Glance.at(2**30) == Glance()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
def test_who_computes_is_waited_for_and_who_does_not_is_given() -> None:
    works = "import time\nwhile time.process_time() < 1.5: pass"
    sleeps = "import time; time.sleep(60)"
    jobs = [subprocess.Popen([sys.executable, "-S", "-c", program]) for program in (works, sleeps)]

    def wait(limit_s: float) -> list[int]:
        deadline_s = time.monotonic() + limit_s
        while time.monotonic() < deadline_s and any(job.poll() is None for job in jobs):
            time.sleep(0.01)
        return [job.pid for job in jobs if job.poll() is None]

    try:
        assert wait_for_those_at_work(wait, 0.5) == [jobs[1].pid]
        assert jobs[0].returncode == 0
        jobs[1].kill()
        assert wait_for_those_at_work(wait, 0.5) == []
    finally:
        for job in jobs:
            job.kill()
            job.wait()


END = """
import os, runpy, sys
exit_at_once = runpy.run_path({file!r})["exit_at_once"]
os.set_blocking(1, False)
try:
    while {fills}:
        os.write(1, b"x" * 4096)
except BlockingIOError:
    pass
os.set_blocking(1, True)
sys.stdout.write("the last word")
{end}
"""


@pytest.mark.parametrize(
    "end",
    ["exit_at_once(70)", "import atexit; atexit.register(exit_at_once, 70)"],
    ids=["at_work", "when_the_script_ends"],
)
@pytest.mark.parametrize("fills", [False, True], ids=["who_reads", "who_does_not_read"])
def test_end_does_not_wait_for_who_does_not_read(fills: bool, end: str) -> None:
    program = [sys.executable, "-S", "-c", END.format(file=processes.__file__, fills=fills, end=end)]
    buffered = os.environ | {"PYTHONUNBUFFERED": ""}
    with subprocess.Popen(program, env=buffered, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.wait(WAIT_S) == (1 if fills else 70)
        finally:
            process.kill()
        assert process.stdout is not None
        assert process.stdout.read().endswith("x" if fills else "the last word")
