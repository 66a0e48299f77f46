"""The metrics of scores: curves over all thresholds, and areas. All scores are kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fulmen.compat.lightning.metrics.functional import curves
from fulmen.compat.lightning.metrics.metric import Metric


class _Scores(Metric):
    """Base of metrics of all scores."""

    preds: list[Tensor]
    target: list[Tensor]

    def __init__(
        self, num_classes: int | None = None, pos_label: int | None = None, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.num_classes = num_classes
        self.pos_label = pos_label
        self.add_state("preds", [], "cat")
        self.add_state("target", [], "cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        self.preds.append(preds)
        self.target.append(target)

    def _given(self) -> dict[str, Any]:
        scores = {"preds": torch.cat(self.preds), "target": torch.cat(self.target)}
        return {**scores, "num_classes": self.num_classes, "pos_label": self.pos_label}


class ROC(_Scores):
    """False and true positive rates, and thresholds: tensors, or of several classes, lists."""

    def compute(self) -> Any:
        """The curve of all batches."""
        return curves.roc_of(**self._given())


class PrecisionRecallCurve(_Scores):
    """Precision, recall, and thresholds: tensors, or of several classes, lists."""

    def compute(self) -> Any:
        """The curve of all batches."""
        return curves.precision_recall_curve_of(**self._given())


class AveragePrecision(_Scores):
    """The mean precision over all gains in recall; of several classes, a list."""

    def compute(self) -> Any:
        """The score of all batches."""
        return curves.average_precision_of(**self._given())


class AUROC(_Scores):
    """The area under the ROC curve, of two classes, or averaged over classes or labels."""

    def __init__(
        self,
        num_classes: int | None = None,
        pos_label: int | None = None,
        average: str | None = "macro",
        max_fpr: float | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, pos_label, *args, **kwargs)
        self.average = average
        self.max_fpr = max_fpr

    def compute(self) -> Tensor:
        """The area of all batches."""
        return curves.auroc_of(**self._given(), average=self.average, max_fpr=self.max_fpr)


class AUC(Metric):
    """The area under points, by trapezoids."""

    x: list[Tensor]
    y: list[Tensor]

    def __init__(self, reorder: bool = False, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reorder = reorder
        self.add_state("x", [], "cat")
        self.add_state("y", [], "cat")

    def update(self, x: Tensor, y: Tensor) -> None:
        """Add points."""
        self.x.append(x)
        self.y.append(y)

    def compute(self) -> Tensor:
        """The area under all points."""
        return curves.auc(torch.cat(self.x), torch.cat(self.y), self.reorder)
