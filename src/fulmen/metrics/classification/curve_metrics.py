"""What curves over all thresholds, and the areas under them, have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from fulmen.metrics.arguments import check_among
from fulmen.metrics.classification.curves import Points, in_dtype, with_probabilities
from fulmen.metrics.classification.scoring import (
    BinaryScores,
    ClassAverage,
    CurveAverage,
    LabelAverage,
    MulticlassScores,
    MultilabelScores,
    ScoresMetric,
    Thresholds,
)
from fulmen.metrics.plot import Drawn

CURVE_AVERAGES = ("micro", "macro", None)
CLASS_AVERAGES = ("macro", "weighted", "none", None)
LABEL_AVERAGES = ("micro", *CLASS_AVERAGES)


class CurveMetric(ScoresMetric):
    """Base of curves, whose points have two coordinates and a threshold."""

    _points: Callable[..., Any]
    """The points of curves, or of their average: `points(curves, average)`."""
    _area: Callable[[Tensor, Tensor], Tensor]
    """The area under the curve through such points."""
    _draw: Callable[..., Drawn]

    def plot(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, curve: Any = None, score: Any = None, ax: Any = None
    ) -> Drawn:
        """Draw a curve, or what `compute` gives; `score` is the area of each class, or True to measure it."""
        first, second, _ = self.compute() if curve is None else curve
        if score is True:
            single = isinstance(first, Tensor) and first.ndim == 1
            score = self._area(first, second) if single else list(map(self._area, first, second))
        scores = None if score is False else score
        return self._draw(first, second, ax, scores=scores, name=type(self).__name__)


class BinaryCurve(CurveMetric):
    """Base of curves of two classes."""

    def __init__(
        self,
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        normalization: str | None = "sigmoid",
        **kwargs: Any,
    ) -> None:
        super().__init__(BinaryScores(thresholds, ignore_index, validate_args, normalization), **kwargs)

    def compute(self) -> Points:
        """The coordinates, one and the other, and the thresholds."""
        curves = self._curves()
        points = self._points(with_probabilities(curves) if self.normalization else curves)
        return in_dtype(points, self.dtype)


class MulticlassCurve(CurveMetric):
    """Base of curves of each class against the rest, or of their average."""

    def __init__(
        self,
        num_classes: int,
        thresholds: Thresholds = None,
        average: CurveAverage = None,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(MulticlassScores(thresholds, ignore_index, validate_args, num_classes), **kwargs)
        check_among("average", average, CURVE_AVERAGES)
        self.average: CurveAverage = average

    def compute(self) -> Any:
        """The coordinates, one and the other, and the thresholds."""
        points = self._points(self._curves(micro=self.average == "micro"), self.average)
        return in_dtype(points, self.dtype)


class MultilabelCurve(CurveMetric):
    """Base of curves of each label."""

    def __init__(
        self,
        num_labels: int,
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(MultilabelScores(thresholds, ignore_index, validate_args, num_labels), **kwargs)

    def compute(self) -> Any:
        """The coordinates, one and the other, and the thresholds."""
        return in_dtype(self._points(with_probabilities(self._curves())), self.dtype)


class AreaMetric(ScoresMetric):
    """Base of areas under the curves of each class or label, or of their average."""

    higher_is_better = True
    average: LabelAverage
    _area: Callable[..., Tensor]
    """Of curves, or of their average: `area(curves, average)`."""

    def compute(self) -> Tensor:
        """The area under each curve, or their average."""
        return self._area(self._curves(micro=self.average == "micro"), self.average).to(self.dtype)


class MulticlassArea(AreaMetric):
    """Base of areas under the curves of each class against the rest."""

    def __init__(
        self,
        num_classes: int,
        average: ClassAverage = "macro",
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(MulticlassScores(thresholds, ignore_index, validate_args, num_classes), **kwargs)
        check_among("average", average, CLASS_AVERAGES)
        self.average = average


class MultilabelArea(AreaMetric):
    """Base of areas under the curves of each label."""

    def __init__(
        self,
        num_labels: int,
        average: LabelAverage = "macro",
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(MultilabelScores(thresholds, ignore_index, validate_args, num_labels), **kwargs)
        check_among("average", average, LABEL_AVERAGES)
        self.average = average
