"""Readings that take turns, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Contestant:
    """Who is measured, and who in the same process it is compared with."""

    name: str
    read: Callable[[], float]
    over: str | None = None


@dataclass(frozen=True)
class Measure:
    """One question to several contestants."""

    what: str
    contestants: list[Contestant]
    rounds: int = 1
    warm: bool = True
    """Whether a first round is not counted, in which caches are filled and modules imported."""
    share: float = 1.0
    """What part of a difference is the cost of one: a tenth, where something is done ten times."""
    target: float | None = None
    """The most that it should be for us."""
    target_times: float | None = None
    """The most that it should be for us, as a multiple of what we are compared with."""


@dataclass(frozen=True)
class Row:
    """What the readings of one contestant come to."""

    contestant: Contestant
    least: float
    median: float
    comparison: Comparison | None = None


@dataclass(frozen=True)
class Comparison:
    """How a contestant differs from the one that it is compared with."""

    least_over: float
    """Difference of the least readings."""
    over: float
    """Median of the differences within rounds: what slows the machine down for a while is in both."""
    quartiles: tuple[float, float]
    """Of the differences within rounds."""
    times: float
    """Ratio of the medians."""


def take(measure: Measure) -> list[Row]:
    """Let the contestants take turns, in reverse order in every other round, and sum up."""
    readings: dict[str, list[float]] = {contestant.name: [] for contestant in measure.contestants}
    for index in range(-int(measure.warm), measure.rounds):
        for contestant in measure.contestants if index % 2 else reversed(measure.contestants):
            reading = contestant.read()
            if index >= 0:
                readings[contestant.name].append(reading)
    return [_sum_up(contestant, readings, measure.share) for contestant in measure.contestants]


def _sum_up(contestant: Contestant, readings: dict[str, list[float]], share: float) -> Row:
    own = readings[contestant.name]
    if contestant.over is None:
        return Row(contestant, min(own), median(own))
    baseline = readings[contestant.over]
    differences = [(reading - bare) * share for reading, bare in zip(own, baseline, strict=True)]
    low, _, high = quantiles(differences, n=4) if len(differences) > 1 else differences * 3
    comparison = Comparison(
        least_over=(min(own) - min(baseline)) * share,
        over=median(differences),
        quartiles=(low, high),
        times=median(own) / median(baseline),
    )
    return Row(contestant, min(own), median(own), comparison)
