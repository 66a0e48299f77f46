"""Pictures, drawn without a screen."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fulmen.base import extras
from fulmen.errors import MissingExtra, UsageError
from fulmen.metrics import MetricCollection
from fulmen.metrics.classification import (
    BinaryAUROC,
    BinaryCalibrationError,
    BinaryConfusionMatrix,
    BinaryPrecisionRecallCurve,
    BinaryROC,
    MulticlassAUROC,
    MulticlassConfusionMatrix,
    MulticlassROC,
    MultilabelConfusionMatrix,
    MultilabelPrecisionRecallCurve,
)

GENERATOR = torch.Generator().manual_seed(3)
BINARY = (torch.rand(80, generator=GENERATOR), torch.arange(80) % 2)
MULTICLASS = (torch.rand(80, 4, generator=GENERATOR).softmax(1), torch.arange(80) % 4)
MULTILABEL = (torch.rand(80, 4, generator=GENERATOR), torch.randint(2, (80, 4), generator=GENERATOR))


def updated(metric: Any, batch: Any) -> Any:
    metric.update(*batch)
    return metric


def legend_of(ax: Any) -> list[str]:
    return ax.get_legend_handles_labels()[1]


def render(figure: Any, path: Path) -> None:
    """Draw a picture; what matplotlib would warn of is an error."""
    figure.savefig(path / "picture.png")
    assert (path / "picture.png").stat().st_size > 1000


def check_apart(figure: Any, texts: Any) -> None:
    """Fail if texts that are shown overlap, or stand out of the picture."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in texts if text.get_text()]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(box.x0 >= 0 and box.y0 >= 0 for box in boxes)
    assert all(box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in boxes)


# ----------------------------------------------------------------------------------------------------- values


def test_values_over_steps(tmp_path: Path) -> None:
    metric = BinaryAUROC()
    values = [metric(*(x[part] for x in BINARY)) for part in torch.arange(80).split(20)]
    figure, ax = metric.plot(values)
    (line,) = ax.lines
    assert list(line.get_xdata()) == [0, 1, 2, 3]
    assert list(line.get_ydata()) == [value.item() for value in values]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "BinaryAUROC")
    render(figure, tmp_path)


def test_the_value_of_now(tmp_path: Path) -> None:
    figure, ax = updated(BinaryAUROC(), BINARY).plot()
    assert len(ax.lines[0].get_xdata()) == 1
    render(figure, tmp_path)
    assert [tick for tick in ax.get_xticks() if -0.5 < tick < 0.5] == [0]


def test_a_value_for_each_class_is_a_line_for_each() -> None:
    metric = updated(MulticlassAUROC(4, average=None), MULTICLASS)
    _, ax = metric.plot([metric.compute(), metric.compute()])
    assert legend_of(ax) == ["class 0", "class 1", "class 2", "class 3"]
    assert all(len(line.get_xdata()) == 2 for line in ax.lines)


def test_what_is_no_number_cannot_be_drawn_over_steps() -> None:
    with pytest.raises(UsageError, match=r"(?s)BinaryAUROC.*\(2, 2\)"):
        BinaryAUROC().plot([torch.eye(2)])


def test_given_axes_are_drawn_on() -> None:
    figure = Figure()
    ax = figure.subplots()
    assert updated(BinaryAUROC(), BINARY).plot(ax=ax) == (figure, ax)
    assert ax.lines


def test_no_figure_is_left_open() -> None:
    figure, ax = updated(BinaryROC(), BINARY).plot()
    assert isinstance(figure, Figure)
    assert isinstance(ax, Axes)
    assert figure.canvas.manager is None  # what makes a figure one of pyplot's, with or without a window


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "available", lambda package: False)
    with pytest.raises(MissingExtra, match=r"fulmen\[plot\]"):
        updated(BinaryAUROC(), BINARY).plot()


# ----------------------------------------------------------------------------------------------------- curves


@pytest.mark.parametrize("thresholds", [None, 20])
def test_roc_with_the_line_of_chance(tmp_path: Path, thresholds: int | None) -> None:
    metric = updated(BinaryROC(thresholds), BINARY)
    figure, ax = metric.plot()
    curve, chance = ax.lines
    fpr, tpr, _ = metric.compute()
    assert list(curve.get_xdata()) == fpr.tolist()
    assert list(curve.get_ydata()) == tpr.tolist()
    assert (list(chance.get_xdata()), list(chance.get_ydata())) == ([0, 1], [0, 1])
    assert legend_of(ax) == ["chance"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("false positive rate", "true positive rate")
    render(figure, tmp_path)


@pytest.mark.parametrize("thresholds", [None, 20])
def test_roc_of_classes_with_their_areas(thresholds: int | None) -> None:
    metric = updated(MulticlassROC(4, thresholds), MULTICLASS)
    areas = updated(MulticlassAUROC(4, None, thresholds), MULTICLASS).compute()
    _, measured = metric.plot(score=True)
    _, given = metric.plot(metric.compute(), areas)
    for ax in (measured, given):
        assert legend_of(ax) == [*(f"class {c}, area {areas[c]:.3f}" for c in range(4)), "chance"]


def test_precision_over_recall(tmp_path: Path) -> None:
    metric = updated(BinaryPrecisionRecallCurve(), BINARY)
    figure, ax = metric.plot(score=True)
    precision, recall, _ = metric.compute()
    assert list(ax.lines[0].get_xdata()) == recall.tolist()
    assert list(ax.lines[0].get_ydata()) == precision.tolist()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("recall", "precision")
    assert len(legend_of(ax)) == 1
    render(figure, tmp_path)
    _, several = updated(MultilabelPrecisionRecallCurve(4), MULTILABEL).plot()
    assert legend_of(several) == [f"class {c}" for c in range(4)]


def test_calibration_is_a_reliability_diagram(tmp_path: Path) -> None:
    preds, target = torch.tensor([0.1, 0.15, 0.8, 0.9]), torch.tensor([0, 1, 1, 1])
    metric = updated(BinaryCalibrationError(n_bins=5), (preds, target))
    figure, ax = metric.plot()
    by_name = dict(zip(legend_of(ax), ax.get_legend_handles_labels()[0], strict=True))
    assert list(by_name["found"].get_xdata()) == pytest.approx([0.125, 0.85])
    assert list(by_name["found"].get_ydata()) == [0.5, 1]
    assert [bar.get_height() for bar in by_name["share of samples"]] == [0.5, 0, 0, 0, 0.5]
    assert list(by_name["perfect"].get_xdata()) == [0, 1]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("confidence", "accuracy")
    render(figure, tmp_path)
    _, over_steps = metric.plot([metric.compute(), metric.compute()])
    assert over_steps.get_xlabel() == "step"


# --------------------------------------------------------------------------------------------------- matrices


def test_a_matrix_has_its_numbers(tmp_path: Path) -> None:
    metric = updated(MulticlassConfusionMatrix(4), MULTICLASS)
    figure, ax = metric.plot()
    written = {text.get_position(): text.get_text() for text in ax.texts}
    matrix = metric.compute()
    assert written == {(j, i): str(matrix[i, j].item()) for i in range(4) for j in range(4)}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")
    render(figure, tmp_path)


def test_numbers_stand_out_from_their_cells() -> None:
    _, ax = BinaryConfusionMatrix().plot(torch.tensor([[0, 100], [0, 0]]))
    colors = {text.get_text(): text.get_color() for text in ax.texts}
    assert colors == {"0": "black", "100": "white"}


@pytest.mark.parametrize("size", [3, 12, 30])
def test_what_is_written_does_not_overlap(tmp_path: Path, size: int) -> None:
    matrix = torch.full((size, size), 12345)
    figure, ax = MulticlassConfusionMatrix(size).plot(matrix, labels=[f"a class {i}" for i in range(size)])
    render(figure, tmp_path)
    check_apart(figure, [*ax.texts, ax.xaxis.label, ax.yaxis.label, *ax.get_yticklabels()])
    assert [label.get_text() for label in ax.get_xticklabels()] == [f"a class {i}" for i in range(size)]


def test_parts_are_written_with_two_digits() -> None:
    _, ax = updated(BinaryConfusionMatrix(normalize="true"), BINARY).plot()
    assert all(len(text.get_text()) == 4 for text in ax.texts)


def test_many_classes_have_a_scale_instead_of_numbers(tmp_path: Path) -> None:
    figure, ax = MulticlassConfusionMatrix(150).plot(torch.eye(150))
    assert not ax.texts
    assert len(figure.axes) == 2
    render(figure, tmp_path)
    shown = [label for label in ax.get_yticklabels() if label.get_text()]
    assert all(int(b.get_text()) - int(a.get_text()) == 3 for a, b in pairwise(shown))
    check_apart(figure, [*shown, ax.yaxis.label])


def test_several_labels_have_a_matrix_each(tmp_path: Path) -> None:
    metric = updated(MultilabelConfusionMatrix(4), MULTILABEL)
    figure, axes = metric.plot(labels=["cat", "dog", "bird", "fish"])
    assert [ax.get_title() for ax in axes] == ["cat", "dog", "bird", "fish"]
    assert all(len(ax.texts) == 4 for ax in axes)
    render(figure, tmp_path)
    given = Figure().subplots(1, 4)
    assert metric.plot(ax=given)[1] is given


# ------------------------------------------------------------------------------------------------ collections


def collection() -> Any:
    return MetricCollection([BinaryAUROC(), BinaryROC(), BinaryConfusionMatrix()], prefix="val_")


def test_a_collection_draws_each_of_its_metrics() -> None:
    metrics = updated(collection(), BINARY)
    for drawn in (metrics.plot(), metrics.plot(metrics.compute())):
        assert [ax.get_xlabel() for _, ax in drawn] == ["step", "false positive rate", "predicted"]
    axes = Figure().subplots(1, 3)
    assert [ax for _, ax in metrics.plot(ax=axes)] == list(axes)


def test_a_collection_draws_values_over_steps_together() -> None:
    metrics = MetricCollection({"one": BinaryAUROC(), "other": BinaryAUROC(max_fpr=0.5)}, postfix="_now")
    steps = [metrics(*(x[part] for x in BINARY)) for part in torch.arange(80).split(40)]
    _, ax = metrics.plot(steps, together=True)
    assert legend_of(ax) == ["one_now", "other_now"]
    drawn = metrics.plot(steps)
    assert [list(ax.lines[0].get_ydata()) for _, ax in drawn] == [
        [step[name].item() for step in steps] for name in ("one_now", "other_now")
    ]
