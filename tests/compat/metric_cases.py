"""What was computed with `pytorch_lightning.metrics`, as expressions, and the data that they are of.

`fixtures/record_metrics.py` evaluates them with the real thing of a version, the tests with ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def numbers(*shape: int, start: int = 0) -> Tensor:
    """Numbers in [0, 1) without order, the same everywhere."""
    count = torch.Size(shape).numel()
    return (((torch.arange(start, start + count) * 7919) % 1009).float() / 1009).reshape(shape)


def labels(*shape: int, classes: int, start: int = 0) -> Tensor:
    """Labels without order, the same everywhere."""
    return (numbers(*shape, start=start) * classes).long()


def run(metric: Any, *batches: Any) -> list[Any]:
    """The value of each batch, and that of all."""
    return [*(metric(*batch) for batch in batches), metric.compute()]


def probabilities(*shape: int, start: int = 0) -> Tensor:
    """The probabilities of classes, along dimension 1."""
    return (numbers(*shape, start=start) * 3).softmax(1)


def words(text: str) -> list[str]:
    return text.split()


DATA = {
    "run": run,
    "torch": torch,
    # classes 0 to 3; in the second batch, none is 3
    "P": probabilities(12, 4),
    "P2": (numbers(8, 4, start=300) * 3 - torch.tensor([0, 0, 0, 4])).softmax(1),
    "T": labels(12, classes=4, start=100),
    "T2": labels(8, classes=3, start=500),
    "L": labels(12, classes=4, start=40),
    "L2": labels(8, classes=3, start=60),
    # yes or no; some are just at a threshold
    "B": torch.cat([numbers(10, start=7), torch.tensor([0.5, 0.5, 0.3])]),
    "Y": labels(13, classes=2, start=70),
    "B2": numbers(9, start=900),
    "Y2": labels(9, classes=2, start=77),
    "BL": labels(13, classes=2, start=33),
    # several labels for each
    "M": numbers(6, 3, start=11),
    "N": labels(6, 3, classes=2, start=200),
    "M2": numbers(5, 3, start=111),
    "N2": labels(5, 3, classes=2, start=222),
    # classes 0 to 3 of each of five positions
    "D": probabilities(3, 4, 5),
    "E": labels(3, 5, classes=4, start=17),
    "EL": labels(3, 5, classes=4, start=19),
    # numbers
    "x": numbers(8) * 4,
    "y": numbers(8, start=50) * 4,
    "x2": numbers(5, start=400) * 4,
    "y2": numbers(5, start=450) * 4,
    "X": numbers(6, 2) * 4,
    "Z": numbers(6, 2, start=60) * 4,
    "I": numbers(2, 3, 16, 16),
    "J": (numbers(2, 3, 16, 16) * 0.7 + 0.3 * numbers(2, 3, 16, 16, start=3000)),
    "V": numbers(5, 3) - 0.4,
    "W": torch.tensor([0.5, 1.0, 2.0, 0.25, 1.0, 1.0, 3.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0]),
    "UP": torch.arange(3.0),
    # masks of classes 0 to 2, the last of which is nowhere
    "S": labels(2, 4, 4, classes=2, start=5),
    "U": labels(2, 4, 4, classes=2, start=9),
    "texts": [words("the cat is on the mat now"), words("he read the book because he was interested")],
    "references": [
        [words("there is a cat on the mat"), words("the cat is on the mat")],
        [words("he was interested in world history because he read the book")],
    ],
}


FUNCTIONS, CLASSES = (
    (Path(__file__).parent / "fixtures" / f"metric_{kind}.txt").read_text().splitlines()
    for kind in ("functions", "classes")
)
CASES = [*FUNCTIONS, *CLASSES]
