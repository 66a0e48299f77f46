"""What is measured of metrics, side by side with torchmetrics, and what it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.measures import LIGHTNING, OURS, Bench
from benchmarks.metrics import CLASSES, COMMON, RANKED, SUBJECTS
from benchmarks.rounds import Contestant, Measure

NAMES = {OURS: OURS, LIGHTNING: "torchmetrics"}
"""By framework: whose its metrics are."""
BATCH = 8


def metric_measures(bench: Bench) -> list[Measure]:
    """Everything, in the order in which it is reported."""
    elements = 20_000 * bench.steps
    return [
        Measure(
            f"metrics: an update, {BATCH} samples, {CLASSES} classes or labels (µs)",
            _side_by_side(bench, COMMON, "metric", steps=bench.steps, elements=None),
            rounds=bench.rounds,
            target_times=0.2,
        ),
        Measure(
            f"metrics: an update, {elements} elements (µs)",
            _side_by_side(bench, COMMON, "metric", steps=2, elements=elements),
            rounds=bench.turns(1 / 4),
            target_times=1,
        ),
        Measure(
            f"metrics: an update and its value, {elements} scores (µs)",
            _side_by_side(bench, RANKED, "metric, with its value", steps=1, elements=elements),
            rounds=bench.turns(1 / 10),
            target_times=1,
        ),
        Measure(
            f"metrics: an update of five of one task, {BATCH} samples (µs; over one of them)",
            _collected(bench),
            rounds=bench.rounds,
            target_times=1.5,
        ),
        Measure(
            f"metrics: accuracy over an epoch, {BATCH} samples a step (µs; a training step over one without)",
            _in_training(bench),
            rounds=bench.rounds,
            target=100,
        ),
    ]


def _side_by_side(
    bench: Bench, metrics: Iterable[str], run: str, *, steps: int, elements: int | None
) -> list[Contestant]:
    """Each metric, that of the peer and ours: with so many elements, or a small batch."""
    contestants = []
    for metric in metrics:
        samples = BATCH if elements is None else elements // SUBJECTS[metric].width
        over = None
        for framework in reversed(bench.workers):
            name = f"{metric}, {NAMES[framework]}"
            read = _read(bench, run, framework, steps=steps, metric=metric, samples=samples)
            contestants.append(Contestant(name, read, over=over))
            over = name
    return contestants


def _collected(bench: Bench) -> list[Contestant]:
    """Metrics that could share what they count, over one of them."""
    contestants = []
    for framework in bench.workers:
        name = NAMES[framework]
        one = _read(bench, "metric", framework, steps=bench.steps, metric="MulticlassAccuracy", samples=BATCH)
        five = _read(bench, "metrics in a collection", framework, steps=bench.steps, samples=BATCH)
        contestants += [Contestant(f"{name}, one", one), Contestant(name, five, over=f"{name}, one")]
    return contestants


def _in_training(bench: Bench) -> list[Contestant]:
    """A fit that updates and logs a metric, over one that does not."""
    contestants = []
    for framework in bench.workers:
        without = f"{framework}, without"
        contestants += [
            Contestant(without, bench.per_step("training", framework, steps=bench.steps)),
            Contestant(
                framework,
                bench.per_step("training with a metric", framework, steps=bench.steps),
                over=without,
            ),
        ]
    return contestants


def _read(bench: Bench, run: str, framework: str, *, steps: int, **options: Any) -> Callable[[], float]:
    """Microseconds for each of so many steps, once as many were done before."""
    request = {"run": run, "framework": framework, "first": steps, "last": 2 * steps, "probe": "clock"}
    return lambda: bench.workers[framework].measure(**request, **options) / steps
