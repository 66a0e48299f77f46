"""What is measured, and what it should be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.process import Worker, WorkerGroup, measure_first, measure_import
from benchmarks.rounds import Contestant, Measure
from benchmarks.saves import BETWEEN

OURS = "fulmen"
LIGHTNING = "lightning.pytorch"
FLUSH_EVERY = 50


@dataclass(frozen=True)
class Bench:
    """Where and how long to measure."""

    core: int
    rounds: int
    steps: int
    pythons: dict[str, str]
    """By framework: the interpreter that has it."""
    workers: dict[str, Worker]
    """By framework: the process that has it; where the peers are missing, ours alone."""
    groups: dict[str, WorkerGroup]
    """The same for processes that train together."""

    def turns(self, share: float) -> int:
        """A share of the rounds, and at least one."""
        return max(1, round(self.rounds * share))

    def per_step(self, run: str, framework: str, *, steps: int) -> Callable[[], float]:
        """Microseconds for each of so many steps, once the loop is warm."""
        warmup = max(10, steps // 4)
        request = {
            "run": run,
            "framework": framework,
            "first": warmup,
            "last": warmup + steps,
            "probe": "clock",
        }
        return lambda: self.workers[framework].measure(**request) / steps

    def first_batch(self, run: str, framework: str) -> Callable[[], float]:
        """Milliseconds until a run asks for its first batch."""
        request = {"run": run, "framework": framework, "first": -1, "last": 0, "probe": "clock"}
        return lambda: self.workers[framework].measure(**request) / 1000

    def first_batch_of_a_process(self, run: str, framework: str) -> Callable[[], float]:
        """The same in a process of its own, where nothing is imported yet but torch."""
        request = {"run": run, "framework": framework, "first": -1, "last": 0, "probe": "clock"}
        return lambda: measure_first(self.pythons[framework], self.core, **request) / 1000

    def save(
        self, framework: str, *, state_mb: int, in_background: bool, is_first: bool = False
    ) -> Callable[[], float]:
        """Milliseconds that the steps wait for a save."""
        options = {"state_mb": state_mb, "in_background": in_background, "is_first": is_first}
        first, last = BETWEEN
        request = {"run": "saves", "framework": framework, "first": first, "last": last, "probe": "clock"}
        return lambda: self.workers[framework].measure(**request, **options) / 1000

    def change(self, run: str, framework: str, probe: str, first: int, last: int) -> Callable[[], float]:
        """What changes between two batches."""
        request = {"run": run, "framework": framework, "first": first, "last": last, "probe": probe}
        return lambda: self.workers[framework].measure(**request)


def measures(bench: Bench) -> list[Measure]:
    """Everything, in the order in which it is reported."""
    return [
        Measure(
            "a training step, every extra off (µs)",
            _against_bare(bench, "training", steps=bench.steps, ignite=True),
            rounds=bench.rounds,
            target=10,
        ),
        Measure(
            "a call of `self.log`, ten in a step (µs; over the step without, a tenth)",
            _logging(bench),
            rounds=bench.rounds,
            share=0.1,
            target=2.5,
        ),
        Measure(
            "a validation batch with one value logged (µs)",
            _against_bare(bench, "validation", steps=bench.steps),
            rounds=bench.rounds,
            target=15,
        ),
        Measure(
            "a seed for each batch of a data set (µs; a step over one without, `exact_data=False`)",
            _seeding(bench),
            rounds=bench.rounds,
            target=20,
        ),
        Measure(
            "a training step, with progress bar, CSV logger, checkpoints (µs)",
            _against_bare(bench, "training", "training, defaults", steps=40 * bench.steps),
            rounds=bench.turns(1 / 4),
            target=25,
        ),
        Measure(
            "the same with one value logged, to bar and logger (µs)",
            _against_bare(bench, "training", "training, defaults, 1 value", steps=40 * bench.steps),
            rounds=bench.turns(1 / 4),
            target=25,
        ),
        Measure(
            "the import, where torch is imported already (ms)",
            [
                Contestant(name, partial(measure_import, bench.pythons[name], bench.core, name))
                for name in bench.workers
            ],
            rounds=bench.turns(1 / 20),
            target=50,
        ),
        Measure(
            "from `Trainer()` to the first batch, every extra off (ms)",
            _starts(bench, bench.first_batch),
            rounds=bench.turns(1 / 4),
            target=20,
        ),
        Measure(
            "from the import to the first batch in a new process (ms)",
            _starts(bench, bench.first_batch_of_a_process),
            rounds=bench.turns(1 / 30),
            warm=False,
        ),
        Measure(
            f"a save of {8 * bench.steps} MB while training (ms that the steps wait)",
            _saves(bench, state_mb=8 * bench.steps),
            rounds=bench.turns(1 / 20),
            warm=False,
            target_times=0.25,
        ),
        Measure(
            f"growth of resident memory over {400 * bench.steps} steps with one value logged (kB)",
            _growth(bench, "resident memory", steps=400 * bench.steps),
            warm=False,
            target=256,
        ),
        Measure(
            f"growth of Python's memory over {100 * bench.steps} steps with one value logged (kB)",
            _growth(bench, "traced memory", steps=100 * bench.steps),
            warm=False,
            target=64,
        ),
        Measure(
            "host reads in 40 steps between two flushes, ten values logged in each",
            [
                Contestant(name, bench.change("training, 10 values", name, "host reads", 1, 41))
                for name in bench.workers
            ],
            warm=False,
            target=0,
        ),
    ]


def _against_bare(
    bench: Bench, bare: str, run: str | None = None, *, steps: int, ignite: bool = False
) -> list[Contestant]:
    """Each framework, and in the same process a bare loop."""
    contestants = []
    for framework in bench.workers:
        baseline = f"bare loop beside {framework}"
        contestants += [
            Contestant(baseline, bench.per_step(f"bare {bare}", framework, steps=steps)),
            Contestant(framework, bench.per_step(run or bare, framework, steps=steps), over=baseline),
        ]
    if ignite and LIGHTNING in bench.workers:
        read = bench.per_step("ignite training", LIGHTNING, steps=steps)
        contestants.append(Contestant("ignite", read, over=f"bare loop beside {LIGHTNING}"))
    return contestants


def _logging(bench: Bench) -> list[Contestant]:
    """Each framework with and without calls of `self.log`."""
    contestants = []
    for framework in bench.workers:
        silent = f"{framework}, nothing logged"
        contestants += [
            Contestant(silent, bench.per_step("training", framework, steps=bench.steps)),
            Contestant(
                framework, bench.per_step("training, 10 values", framework, steps=bench.steps), over=silent
            ),
        ]
    return contestants


def _seeding(bench: Bench) -> list[Contestant]:
    """A loader in this process, with and without random numbers that depend on the batch alone."""
    plain = f"{OURS}, exact_data=False"
    return [
        Contestant(plain, bench.per_step("training on a data set", OURS, steps=bench.steps)),
        Contestant(
            OURS, bench.per_step("training on a data set, exactly", OURS, steps=bench.steps), over=plain
        ),
    ]


def _starts(bench: Bench, time_to_first_batch: Callable[[str, str], Callable[[], float]]) -> list[Contestant]:
    """Each framework, and a bare loop, which has an optimizer to make as well."""
    contestants = []
    for framework in bench.workers:
        baseline = f"bare loop beside {framework}"
        contestants += [
            Contestant(baseline, time_to_first_batch("bare training", framework)),
            Contestant(framework, time_to_first_batch("training", framework), over=baseline),
        ]
    return contestants


def _saves(bench: Bench, *, state_mb: int) -> list[Contestant]:
    """Each framework, with saves that are written at once and in the background."""
    contestants = []
    for framework in bench.workers:
        at_once = f"{framework}, at once"
        contestants += [
            Contestant(at_once, bench.save(framework, state_mb=state_mb, in_background=False)),
            Contestant(
                f"{framework}, the first",
                bench.save(framework, state_mb=state_mb, in_background=True, is_first=True),
                over=at_once,
            ),
            Contestant(framework, bench.save(framework, state_mb=state_mb, in_background=True), over=at_once),
        ]
    return contestants


def _growth(bench: Bench, probe: str, *, steps: int) -> list[Contestant]:
    first = steps // 10
    return [
        Contestant(name, bench.change("training, 1 value", name, probe, first, first + steps))
        for name in bench.workers
    ]
