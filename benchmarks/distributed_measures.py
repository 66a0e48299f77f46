"""What is measured of training in two processes, and what it should be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.distributed import BARE, FLUSH_EVERY_STEPS
from benchmarks.measures import Bench
from benchmarks.process import measure_start
from benchmarks.rounds import Contestant, Measure

VALUES = 5


def distributed_measures(bench: Bench) -> list[Measure]:
    """Everything, in the order in which it is reported."""
    values = f"{VALUES} values averaged over the processes each {FLUSH_EVERY_STEPS} steps"
    return [
        Measure(
            "distributed: a training step in two processes, every extra off (µs)",
            _against_bare(bench),
            rounds=bench.rounds,
            target=15,
        ),
        Measure(
            f"distributed: the same with {values}, logged then (µs)",
            _against_bare(bench, logged_values=VALUES),
            rounds=bench.rounds,
            target=15,
        ),
        Measure(
            f"distributed: the same with {values}, logged in every step (µs)",
            _against_bare(bench, logged_values=VALUES, in_every_step=True),
            rounds=bench.rounds,
        ),
        Measure(
            "distributed: from the command to a step done by both processes (s)",
            _starts(bench),
            rounds=bench.turns(1 / 10),
            warm=False,
            target_times=1.3,
        ),
    ]


def _against_bare(bench: Bench, **options: Any) -> list[Contestant]:
    """Each framework, and in the same processes a bare loop that logs nothing."""
    contestants = []
    for framework in bench.workers:
        baseline = f"bare loop beside {framework}"
        contestants += [
            Contestant(baseline, _per_step(bench, "bare ddp", framework)),
            Contestant(framework, _per_step(bench, "ddp", framework, **options), over=baseline),
        ]
    return contestants


def _per_step(bench: Bench, run: str, framework: str, **options: Any) -> Callable[[], float]:
    """Microseconds for each of many steps, when as many were done."""
    steps = 10 * bench.steps
    request = {"run": run, "framework": framework, "first": steps, "last": 2 * steps, "probe": "clock"}
    return lambda: bench.groups[framework].measure(**request, **options) / steps


def _starts(bench: Bench) -> list[Contestant]:
    """Each framework, which starts the second process itself, and a bare script that torchrun starts."""
    contestants = []
    for framework, python in bench.pythons.items():
        baseline = f"torchrun and a bare loop beside {framework}"
        contestants += [
            Contestant(baseline, partial(measure_start, python, BARE, by_torchrun=True)),
            Contestant(framework, partial(measure_start, python, framework), over=baseline),
        ]
    return contestants
