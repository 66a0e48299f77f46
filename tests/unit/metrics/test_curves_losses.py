"""Calibration error, hinge loss, log loss, beyond what random batches show."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchmetrics.functional.classification as torchmetrics
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from fulmen.errors import ConfigError, UsageError
from fulmen.metrics import MetricCollection
from fulmen.metrics import classification as kinds
from fulmen.metrics.functional import classification as functions

LOSSES = {
    "binary hinge": (kinds.BinaryHingeLoss, functions.binary_hinge_loss, ()),
    "class hinge": (kinds.MulticlassHingeLoss, functions.multiclass_hinge_loss, (3,)),
    "binary log": (kinds.BinaryLogLoss, functions.binary_log_loss, ()),
    "class log": (kinds.MulticlassLogLoss, functions.multiclass_log_loss, (3,)),
    "label log": (kinds.MultilabelLogLoss, functions.multilabel_log_loss, (3,)),
}
every_loss = pytest.mark.parametrize(("kind", "function", "size"), LOSSES.values(), ids=LOSSES)


def drawn(name: str, size: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(size, 3, generator=generator) * 3
    if "Multiclass" in name:
        return logits, torch.randint(3, (size,), generator=generator)
    target = torch.randint(2, (size, 3), generator=generator)
    return (logits, target) if "Multilabel" in name else (logits[:, 0], target[:, 0])


# ------------------------------------------------------------------------------------------------ calibration


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("n_bins", [1, 6, 15])
def test_calibration_errors_are_those_of_torchmetrics(norm: Any, n_bins: int) -> None:
    options: Any = {"n_bins": n_bins, "norm": norm, "ignore_index": 0}
    tasks: Any = {"binary": {}, "multiclass": {"num_classes": 3}}
    for task, more in tasks.items():
        preds, target = drawn(task.title(), 100)
        found = functions.calibration_error(preds, target, task=task, **options, **more)
        wanted = torchmetrics.calibration_error(preds, target, task=task, **options, **more)
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_the_last_bin_holds_certainty() -> None:
    preds, target = torch.tensor([0.9, 1.0, 1.0, 1.0]), torch.tensor([0, 1, 1, 1])
    found = functions.binary_calibration_error(preds, target, n_bins=5, norm="max")
    torch.testing.assert_close(found, torch.tensor(0.975 - 0.75))


def test_a_bin_holds_its_lower_edge() -> None:
    preds, target = torch.tensor([0.5, 0.25, 0.75]), torch.tensor([1, 0, 1])
    metric = kinds.BinaryCalibrationError(n_bins=4)
    metric.update(preds, target)
    assert metric.counts.tolist() == [[0, 1, 0, 0], [0, 0, 1, 1]]


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_calibration_of_all_tied(norm: Any) -> None:
    found = functions.binary_calibration_error(torch.full((4,), 0.3), torch.tensor([0, 0, 0, 1]), norm=norm)
    torch.testing.assert_close(found, torch.tensor(0.05))


def test_norms_share_bins() -> None:
    norms: Any = ("l1", "l2", "max")
    metrics = MetricCollection({norm: kinds.MulticlassCalibrationError(3, norm=norm) for norm in norms})
    assert len(metrics.compute_groups) == 1
    batch = drawn("Multiclass")
    metrics.update(*batch)
    for norm in norms:
        alone = functions.multiclass_calibration_error(*batch, 3, norm=norm)
        torch.testing.assert_close(metrics.compute()[norm], alone)


# ----------------------------------------------------------------------------------------------------- losses


def test_hinge_losses_are_those_of_torchmetrics() -> None:
    for squared in (False, True):
        batch = drawn("Binary")
        found = functions.hinge_loss(*batch, task="binary", squared=squared)
        torch.testing.assert_close(found, torchmetrics.hinge_loss(*batch, task="binary", squared=squared))
        for mode in ("crammer-singer", "one-vs-all"):
            options: Any = {"squared": squared, "multiclass_mode": mode, "num_classes": 3, "ignore_index": 1}
            batch = drawn("Multiclass")
            found = functions.hinge_loss(*batch, task="multiclass", **options)
            torch.testing.assert_close(found, torchmetrics.hinge_loss(*batch, task="multiclass", **options))


@every_loss
def test_losses_of_classes_and_functions(kind: Any, function: Any, size: Any) -> None:
    preds, target = drawn(kind.__name__)
    target = target.clone()
    target[::4] = -1
    metric = kind(*size, ignore_index=-1)
    for part in (slice(0, 7), slice(7, 7), slice(7, None)):
        metric.update(preds[part], target[part])
    torch.testing.assert_close(metric.compute(), function(preds, target, *size, ignore_index=-1))


@every_loss
def test_gradients_flow_through_values_and_not_into_states(kind: Any, function: Any, size: Any) -> None:
    preds, target = drawn(kind.__name__)
    through_function, through_call = (preds.clone().requires_grad_() for _ in range(2))
    function(through_function, target, *size).backward()
    metric = kind(*size)
    metric(through_call, target).backward()
    assert through_call.grad is not None
    assert through_call.grad.abs().sum() > 0
    torch.testing.assert_close(through_call.grad, through_function.grad)
    assert not metric.total.requires_grad


def test_log_loss_of_logits_is_the_cross_entropy() -> None:
    preds, target = drawn("Multiclass")
    preds = preds * 50  # their probabilities would be rounded to 0 and 1
    torch.testing.assert_close(functions.multiclass_log_loss(preds, target, 3), cross_entropy(preds, target))
    preds, target = drawn("Multilabel")
    preds = preds * 50
    wanted = binary_cross_entropy_with_logits(preds, target.float())
    torch.testing.assert_close(functions.multilabel_log_loss(preds, target, 3), wanted)
    each = functions.multilabel_log_loss(preds, target, 3, average="none")
    torch.testing.assert_close(each.mean(), wanted)


def test_log_loss_of_certainty_is_finite() -> None:
    worst = -torch.tensor(torch.finfo(torch.float32).eps).log()
    preds, target = torch.tensor([0.0, 1.0]), torch.tensor([1, 0])
    torch.testing.assert_close(functions.binary_log_loss(preds, target), worst)
    assert functions.binary_log_loss(preds, 1 - target) == 0
    torch.testing.assert_close(functions.multiclass_log_loss(torch.eye(2), 1 - torch.arange(2), 2), worst)


@every_loss
def test_more_dimensions_are_more_samples(kind: Any, function: Any, size: Any) -> None:
    preds, target = drawn(kind.__name__)
    images = [x.view(10, 3, *x.shape[1:]).movedim(1, -1).contiguous() for x in (preds, target)]
    torch.testing.assert_close(function(*images, *size), function(preds, target, *size))


@every_loss
def test_no_samples_have_no_mean(kind: Any, function: Any, size: Any) -> None:
    preds, target = drawn(kind.__name__)
    assert function(preds[:0], target[:0], *size).isnan()


# -------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("kind", "size"),
    [(kind, size) for kind, _, size in LOSSES.values()]
    + [(kinds.BinaryCalibrationError, ()), (kinds.MulticlassCalibrationError, (3,))],
)
def test_input_that_does_not_fit(kind: Any, size: Any) -> None:
    preds, target = drawn(kind.__name__)
    metric = kind(*size)
    with pytest.raises(UsageError, match=r"(?s)received.*\(30,.*expected"):
        metric.update(preds, target[:5])
    with pytest.raises(UsageError, match=r"(?s)labels from 0 to 7"):
        metric.update(preds, torch.cat([torch.zeros_like(target[1:]), torch.full_like(target[:1], 7)]))
    with pytest.raises(UsageError, match=r"[39]0 NaN"):
        metric.update(preds * torch.nan, target)
    with pytest.raises(UsageError, match=r"(?s)received.*float32"):
        metric.update(preds, target.float())
    with pytest.raises(UsageError, match=r"(?s)received.*int64"):
        metric.update(preds.long(), target)
    assert not metric.update_called


@pytest.mark.parametrize(
    "make",
    [
        lambda: kinds.BinaryCalibrationError(n_bins=0),
        lambda: kinds.BinaryCalibrationError(norm="l3"),  # pyright: ignore[reportArgumentType]
        lambda: kinds.CalibrationError("multilabel"),  # pyright: ignore[reportArgumentType]
        lambda: kinds.CalibrationError("multiclass"),
        lambda: kinds.MulticlassHingeLoss(3, multiclass_mode="mean"),  # pyright: ignore[reportArgumentType]
        lambda: kinds.HingeLoss("multiclass"),
        lambda: kinds.LogLoss("multilabel"),
        lambda: kinds.LogLoss("any"),  # pyright: ignore[reportArgumentType]
        lambda: kinds.MultilabelLogLoss(3, average="weighted"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_options_that_cannot_be_used(make: Any) -> None:
    with pytest.raises(ConfigError, match=r"(?s)received.*expected"):
        make()
