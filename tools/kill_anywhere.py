"""Kill trainings with SIGKILL, start them again, and see that each ends as if nothing had happened.

    python tools/kill_anywhere.py [--kills 200] [--seed 0] [--configs workers half ...] [--spawn] [--keep DIR]

Each configuration of `killed_training.py` is trained once in peace. Then it is trained again and again, with
up to three kills: at a random moment, while a checkpoint is written, in a validation, at the end of an epoch.
What counts is what the last process came to (weights, optimizers, schedulers, loss scale, callbacks, metrics,
random numbers), what the loggers' files hold, and a journal of every batch of every process: each has to be a
stretch of the undisturbed training, bit for bit, and begin no later than where the one before it was killed.

A process is forked from this one, which has imported torch and fulmen and done nothing with them: it has one
thread, and builds data, model and Trainer itself. So it knows no more of the process that was killed than a
new interpreter would, and comes up in milliseconds instead of seconds. Every tenth run is done with new
interpreters all the same; with `--spawn`, all of them are.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _library in ("OMP", "OPENBLAS", "MKL"):  # before NumPy starts threads, which do not survive a fork
    os.environ[f"{_library}_NUM_THREADS"] = "1"

import argparse
import json
import multiprocessing
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, zip_longest
from pathlib import Path

import killed_training
from killed_training import CHECKPOINTS, CONFIGURATIONS, JOURNAL, LOGS, RESULT

LOOK_EVERY_S = 0.0005
MOST_KILLS_PER_RUN = 3
SPAWN_EVERY = 10
PATIENCE_S = 300.0
OUTPUT = "output.txt"


class Failure(Exception):
    """A training that did not end as it should."""


# -------------------------------------------------------------------------------------------------- processes


class Process:
    """One life of a training: a process group of its own."""

    def __init__(self, configuration: str, folder: Path, *, spawn: bool) -> None:
        self.folder = folder
        self._process = multiprocessing.get_context("fork").Process(
            target=live, args=(configuration, folder), kwargs={"spawn": spawn}
        )
        self._process.start()

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> bool:
        """SIGKILL to the process and its loader workers; False where it had ended before."""
        assert self._process.pid is not None
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:  # it ended, or has not made its group yet
            self._process.kill()
        self._process.join()
        return self._process.exitcode == -signal.SIGKILL

    def wait(self) -> None:
        """Until it ends; raises `Failure` where that is not in good order."""
        self._process.join(PATIENCE_S)
        if self.is_alive:
            self.kill()
            raise Failure(f"it hangs\n{tail(self.folder / OUTPUT)}")
        self.check_status()

    def check_status(self) -> None:
        if self._process.exitcode:
            raise Failure(f"it ended with status {self._process.exitcode}\n{tail(self.folder / OUTPUT)}")


def live(configuration: str, folder: Path, *, spawn: bool) -> None:
    os.setsid()
    output = os.open(folder / OUTPUT, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if spawn:
        script = killed_training.__file__
        os.execv(sys.executable, [sys.executable, script, configuration, str(folder)])
    killed_training.main(configuration, folder)


def tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


# ----------------------------------------------------------------------------------------------- when to kill

Sign = Callable[[], bool]


def after_a_delay(folder: Path, chance: random.Random, whole_s: float) -> Sign:
    due_s = time.monotonic() + chance.uniform(0, 0.8 * whole_s)
    return lambda: time.monotonic() >= due_s


def while_saving(folder: Path, chance: random.Random, whole_s: float) -> Sign:
    """When a temporary file is there that was not there before; not always the first one."""
    folders = [folder / CHECKPOINTS, folder / "best"]
    seen = set(temporary_files(folders))
    saves_left = chance.randint(1, 12)

    def sign() -> bool:
        nonlocal saves_left
        new = set(temporary_files(folders)) - seen
        seen.update(new)
        saves_left -= len(new)
        return saves_left <= 0 and bool(new)

    return sign


def temporary_files(folders: list[Path]) -> Iterator[str]:
    for folder in folders:
        if folder.exists():
            yield from (entry.path for entry in os.scandir(folder) if entry.name.endswith(".tmp"))


def in_a_validation(folder: Path, chance: random.Random, whole_s: float) -> Sign:
    return at_a_line(folder, "validate", chance.randint(1, 12))


def at_the_end_of_an_epoch(folder: Path, chance: random.Random, whole_s: float) -> Sign:
    return at_a_line(folder, "epoch", chance.randint(1, 3))


def at_a_line(folder: Path, kind: str, count: int) -> Sign:
    """When the journal has so many more lines of a kind."""
    journal = folder / JOURNAL
    position = journal.stat().st_size if journal.exists() else 0
    found = 0

    def sign() -> bool:
        nonlocal position, found
        if not journal.exists():
            return False
        with journal.open() as file:
            file.seek(position)
            text = file.read()
        whole_lines = text[: text.rfind("\n") + 1]
        position += len(whole_lines)
        found += sum(line.startswith(kind) for line in whole_lines.splitlines())
        return found >= count

    return sign


MOMENTS = (
    after_a_delay,
    after_a_delay,
    after_a_delay,
    while_saving,
    while_saving,
    in_a_validation,
    at_the_end_of_an_epoch,
)


# ------------------------------------------------------------------------------------------------ what it did


@dataclass
class Training:
    """What one training left behind, however many processes it took."""

    result: dict[str, str]
    logs: dict[str, str]
    lives: list[list[str]]
    """The lines of each process in the journal."""
    checkpoints: set[str]

    @classmethod
    def read(cls, folder: Path) -> Training:
        lives: list[list[str]] = []
        for line in (folder / JOURNAL).read_text().splitlines():
            if line == "start":
                lives.append([])
            else:
                lives[-1].append(line)
        logs = {
            str(path.relative_to(folder)): path.read_text()
            for path in sorted((folder / LOGS).rglob("*"))
            if path.is_file()
        }
        saved = {path.name for path in folder.glob("*/*.ckpt")}
        return cls(json.loads((folder / RESULT).read_text()), logs, lives, saved)


def compare(found: Training, whole: Training) -> None:
    """Raise `Failure` where two trainings differ."""
    lines = whole.lives[0]
    places = {line: index for index, line in enumerate(lines)}
    assert len(places) == len(lines), "two lines of the journal are the same"
    end = 0  # of what was done so far
    for number, life in enumerate(found.lives):
        start = places.get(life[0]) if life else end
        if start is None or lines[start : start + len(life)] != life:
            first = next((i for i, line in enumerate(life) if line not in places), 0)
            raise Failure(f"process {number} left the way at its line {first}: {life[first]}")
        if start > end:
            raise Failure(f"process {number} skipped {start - end} lines, from {lines[end]}")
        end = max(end, start + len(life)) if number == len(found.lives) - 1 else start + len(life)
    if end != len(lines):
        raise Failure(f"it ended after {end} of {len(lines)} lines")
    differing = [name for name in whole.result if found.result.get(name) != whole.result[name]]
    if differing:
        raise Failure(f"what it came to differs in {', '.join(differing)}")
    for name in whole.logs.keys() | found.logs.keys():
        if difference := first_difference(found.logs.get(name, ""), whole.logs.get(name, "")):
            raise Failure(f"{name}, {difference}")
    if not whole.checkpoints <= found.checkpoints:
        raise Failure(
            f"the checkpoints are {sorted(found.checkpoints)} instead of {sorted(whole.checkpoints)}"
        )


def first_difference(found: str, whole: str) -> str | None:
    for number, (one, other) in enumerate(zip_longest(found.splitlines(), whole.splitlines()), start=1):
        if one != other:
            return f"line {number}: {one!r} instead of {other!r}"
    return None


# ------------------------------------------------------------------------------------------------------- main


@dataclass
class Tally:
    """What happened in all runs together."""

    kills: int = 0
    runs: int = 0
    failures: list[str] = field(default_factory=list)
    by_moment: dict[str, int] = field(default_factory=dict)
    repeated: int = 0
    """Lines of the journals that were written more than once."""
    left_over: int = 0
    """Checkpoints that are there only because of kills."""


def train_in_peace(configuration: str, folder: Path) -> tuple[Training, float]:
    folder.mkdir()
    started_s = time.monotonic()
    Process(configuration, folder, spawn=False).wait()
    return Training.read(folder), time.monotonic() - started_s


def train_with_kills(
    configuration: str,
    folder: Path,
    chance: random.Random,
    whole_s: float,
    most: int,
    tally: Tally,
    *,
    spawn: bool,
) -> None:
    """Kill at most so many processes, and let the last one come to its end."""
    folder.mkdir()
    for _ in range(most):
        moment = chance.choice(MOMENTS)
        sign = moment(folder, chance, whole_s)
        process = Process(configuration, folder, spawn=spawn)
        while process.is_alive and not sign():
            time.sleep(LOOK_EVERY_S)
        if not (process.is_alive and process.kill()):
            process.check_status()
            return
        tally.kills += 1
        tally.by_moment[moment.__name__] = tally.by_moment.get(moment.__name__, 0) + 1
    Process(configuration, folder, spawn=spawn).wait()


def count_threads() -> int:
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else 1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200, help="at least so many, over all runs")
    parser.add_argument("--seed", type=int, default=0, help="decides on the moments, as far as clocks allow")
    parser.add_argument("--configs", nargs="+", choices=CONFIGURATIONS, default=list(CONFIGURATIONS))
    parser.add_argument("--spawn", action="store_true", help="a new interpreter for each process")
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave there what failed")
    options = parser.parse_args(arguments)
    assert count_threads() == 1, "a process with threads cannot be forked honestly"

    # Files in memory survive a kill just as well, and fsync does not wait for a disk.
    memory = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    folder = options.keep or Path(tempfile.mkdtemp(prefix="kill_anywhere_", dir=memory))
    folder.mkdir(parents=True, exist_ok=True)
    tally = Tally()
    try:
        run_all(options, folder, tally)
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(", ".join(f"{count} {name}" for name, count in sorted(tally.by_moment.items())))
    print(f"{tally.repeated} lines of journals were repeated, {tally.left_over} checkpoints are left over")
    ended = (
        f"{len(tally.failures)} did not end as they should" if tally.failures else "all ended bit-identical"
    )
    print(f"{tally.kills} kills, {tally.runs} runs, {len(options.configs)} configurations: {ended}")
    return bool(tally.failures)


def run_all(options: argparse.Namespace, folder: Path, tally: Tally) -> None:
    chance = random.Random(options.seed)
    whole = {name: train_in_peace(name, folder / f"whole_{name}") for name in options.configs}
    for name, (training, seconds) in whole.items():
        print(f"{name}: {len(training.lives[0])} lines in {seconds:.1f} s", flush=True)
    for configuration in cycle(options.configs):
        left = options.kills - tally.kills
        if left <= 0:
            break
        training, seconds = whole[configuration]
        spawn = options.spawn or tally.runs % SPAWN_EVERY == SPAWN_EVERY - 1
        place = folder / f"run_{tally.runs}"
        tally.runs += 1
        most = min(left, MOST_KILLS_PER_RUN)
        try:
            train_with_kills(configuration, place, chance, seconds, most, tally, spawn=spawn)
            found = Training.read(place)
            compare(found, training)
        except Failure as failure:
            tally.failures.append(f"run {tally.runs - 1}")
            print(
                f"run {tally.runs - 1} ({configuration}{', spawned' if spawn else ''}): {failure}", flush=True
            )
            continue
        tally.repeated += sum(map(len, found.lives)) - len(training.lives[0])
        tally.left_over += len(found.checkpoints - training.checkpoints)
        shutil.rmtree(place)


if __name__ == "__main__":
    sys.exit(main())
