"""What metrics keep of a batch is their own: it may be written over, and what it is a part of may go."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import fulmen.metrics as ours
from fulmen.metrics import Metric

SCORES = torch.tensor([0.1, 0.7, 0.35, 0.8, 0.6, 0.2])
LABELS = torch.tensor([0, 1, 1, 1, 0, 0])
CASES: list[tuple[Metric, tuple[Tensor, ...]]] = [
    (ours.BinaryAUROC(), (SCORES, LABELS)),
    (ours.BinaryPrecisionRecallCurve(), (SCORES, LABELS)),
    (ours.MulticlassROC(2), (torch.stack((1 - SCORES, SCORES), 1), LABELS)),
    (
        ours.MultilabelAveragePrecision(2),
        (torch.stack((SCORES, SCORES), 1), torch.stack((LABELS, LABELS), 1)),
    ),
    (ours.SpearmanCorrCoef(), (SCORES, LABELS.float())),
    (ours.KendallRankCorrCoef(), (SCORES, LABELS.float())),
    (ours.RetrievalMAP(), (SCORES, LABELS, torch.tensor([0, 0, 0, 1, 1, 1]))),
    (ours.CatMetric(), (SCORES,)),
    (ours.MedianMetric(), (SCORES,)),
    (ours.MaxMetric(), (SCORES[:1],)),
    (ours.SumMetric(), (SCORES,)),
    (ours.MeanMetric(), (SCORES,)),
    (ours.MeanAbsoluteError(), (SCORES, LABELS.float())),
    (ours.R2Score(), (SCORES, LABELS.float())),
]
NAMES = [type(metric).__name__ for metric, _ in CASES]


def flat(value: Any) -> list[float]:
    if isinstance(value, Tensor):
        return value.flatten().tolist()
    return [number for part in value for number in flat(part)]


@pytest.mark.parametrize(("metric", "batch"), CASES, ids=NAMES)
def test_a_batch_may_be_written_over(metric: Metric, batch: tuple[Tensor, ...]) -> None:
    expected = flat(metric.clone()(*batch))
    given = [tensor.clone() for tensor in batch]
    metric = metric.clone()
    metric.update(*given)
    for tensor in given:
        tensor.zero_()
    assert flat(metric.compute()) == expected


@pytest.mark.parametrize(("metric", "batch"), CASES, ids=NAMES)
def test_of_a_part_no_whole_is_kept(metric: Metric, batch: tuple[Tensor, ...]) -> None:
    metric = metric.clone()
    metric.update(*(torch.stack([tensor] * 50, 1)[:, 0] for tensor in batch))
    for state in metric.metric_state.values():
        for tensor in state if isinstance(state, list) else [state]:
            assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.itemsize


def test_thresholds_that_are_given_away_are_copies() -> None:
    metric = ours.BinaryPrecisionRecallCurve(thresholds=4)
    metric.update(SCORES, LABELS)
    metric.compute()[2].mul_(0)
    metric.update(SCORES, LABELS)
    assert metric.compute()[2].tolist() == torch.linspace(0, 1, 4).tolist()
