"""What becomes of logged values: their types, their reduction, and the moment at which they are read."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import torchmetrics
from torch import Tensor

from .small import Given, Rows, Small, fit, make_trainer, numbers, small

REFERENCES = {
    "mean": torchmetrics.MeanMetric,
    "sum": torchmetrics.SumMetric,
    "min": torchmetrics.MinMetric,
    "max": torchmetrics.MaxMetric,
}
EXACT = torch.float64


def validated(
    root: Path, values: Sequence[Any], sizes: Sequence[int] | None = None, **arguments: Any
) -> Tensor:
    """What readers see after a validation in which these values were logged, one per batch."""
    sizes = sizes or [1] * len(values)

    def validation_step(self: Small, batch: Tensor, batch_idx: int) -> None:
        self.log("x", values[batch_idx], **arguments)

    loader = Given([torch.zeros(size, 1) for size in sizes])
    trainer = make_trainer(root)
    trainer.validate(small(validation_step=validation_step), loader, verbose=False)
    return trainer.callback_metrics["x"]


def random_numbers(count: int) -> list[float]:
    generator = torch.Generator().manual_seed(count)
    return (10 * torch.randn(count, dtype=EXACT, generator=generator)).tolist()


def random_sizes(count: int) -> list[int]:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(1, 9, (count,), generator=generator).tolist()


def expected(reduction: str, values: Sequence[float], sizes: Sequence[int]) -> float:
    """By torchmetrics, in double precision."""
    metric = REFERENCES[reduction]().set_dtype(EXACT)
    for value, size in zip(values, sizes, strict=True):
        if reduction == "mean":
            metric.update(torch.tensor(value, dtype=EXACT), weight=size)
        else:
            metric.update(torch.tensor(value, dtype=EXACT))
    return metric.compute().item()


KINDS: dict[str, Callable[[float, int], Any]] = {
    "numbers": lambda value, index: value,
    "tensors": lambda value, index: torch.tensor(value),
    "doubles": lambda value, index: torch.tensor(value, dtype=EXACT),
    "one-element": lambda value, index: torch.tensor([value]),
    "alternating": lambda value, index: (torch.tensor(value), value, torch.tensor(value, dtype=EXACT))[
        index % 3
    ],
}
LENGTHS = (1, 2, 63, 64, 65, 130)  # values are folded now and then, on the way


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reduction", REFERENCES)
@pytest.mark.parametrize("count", LENGTHS)
def test_reduction_over_batches_of_unequal_size(
    tmp_path: Path, kind: str, reduction: str, count: int
) -> None:
    values, sizes = random_numbers(count), random_sizes(count)
    logged = [KINDS[kind](value, index) for index, value in enumerate(values)]
    found = validated(tmp_path, logged, sizes, reduce_fx=reduction)
    assert found.shape == ()
    assert found.item() == pytest.approx(expected(reduction, values, sizes), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("count", LENGTHS)
def test_mean_of_doubles_has_their_precision(tmp_path: Path, count: int) -> None:
    values, sizes = random_numbers(count), random_sizes(count)
    found = validated(tmp_path, [torch.tensor(value, dtype=EXACT) for value in values], sizes)
    assert found.item() == pytest.approx(expected("mean", values, sizes), rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_half_precision_values_are_not_summed_in_half_precision(
    tmp_path: Path, dtype: torch.dtype, reduction: str
) -> None:
    """1000 times 300.0: at 16 bits the sum of a few would stop growing, or overflow."""
    found = validated(tmp_path, [torch.tensor(300.0, dtype=dtype)] * 1000, reduce_fx=reduction)
    assert found.item() == (300.0 if reduction == "mean" else 300_000.0)


@pytest.mark.parametrize("count", LENGTHS)
def test_callable_sees_all_values_of_the_epoch(tmp_path: Path, count: int) -> None:
    values = random_numbers(count)
    found = validated(tmp_path, values, reduce_fx=lambda all_values: all_values.quantile(0.5))
    assert found.item() == pytest.approx(statistics.median(values), rel=1e-5)


@pytest.mark.parametrize("count", [1, 65])
def test_a_callable_may_be_made_anew_for_each_value(tmp_path: Path, count: int) -> None:
    """As `self.log(..., reduce_fx=lambda values: ...)` does."""
    values = random_numbers(count)

    def validation_step(self: Small, batch: Tensor, batch_idx: int) -> None:
        self.log("x", values[batch_idx], reduce_fx=lambda all_values: all_values.quantile(0.5))

    trainer = make_trainer(tmp_path)
    trainer.validate(
        small(validation_step=validation_step), Given([torch.zeros(1, 1)] * count), verbose=False
    )
    assert trainer.callback_metrics["x"].item() == pytest.approx(statistics.median(values), rel=1e-5)


@pytest.mark.parametrize(
    ("reduce_fx", "reduced"),
    [
        (torch.mean, 2.0),
        (torch.sum, 6.0),
        (torch.min, 1.0),
        (torch.max, 3.0),
        (sum, 6.0),
        (min, 1.0),
        (max, 3.0),
    ],
)
def test_functions_that_have_a_name(tmp_path: Path, reduce_fx: Any, reduced: float) -> None:
    assert validated(tmp_path, [1.0, 2.0, 3.0], reduce_fx=reduce_fx).item() == reduced


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("reduction", REFERENCES)
@pytest.mark.parametrize("kind", ["numbers", "tensors"])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_what_is_not_finite_is_not_hidden(
    tmp_path: Path, bad: str, reduction: str, kind: str, position: int
) -> None:
    values = [1.0, 2.0, 3.0]
    values[position] = float(bad)
    found = validated(tmp_path, [KINDS[kind](value, 0) for value in values], reduce_fx=reduction).item()
    reference = getattr(torch, reduction)(torch.tensor(values)).item()
    assert found == reference or (math.isnan(found) and math.isnan(reference))


@pytest.mark.parametrize("position", [3, 70, 129])
@pytest.mark.parametrize("reduction", ["min", "max"])
def test_nan_is_not_hidden_by_folding(tmp_path: Path, position: int, reduction: str) -> None:
    values = [1.0] * 130
    values[position] = math.nan
    assert math.isnan(validated(tmp_path, values, reduce_fx=reduction))


def test_mean_of_no_weight_is_not_a_number(tmp_path: Path) -> None:
    """Batches that count for nothing: an empty mean must not look like a measured zero."""
    assert math.isnan(validated(tmp_path, [0.0, 0.0], batch_size=0))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (3, 3.0),
        (True, 1.0),
        (2.5, 2.5),
        (0.1, 0.1),
        (numpy.float32(1.5), 1.5),
        (numpy.int64(7), 7.0),
        (numpy.float64(0.1), 0.1),
        (torch.tensor(4), 4.0),
        (torch.tensor(True), 1.0),
        (torch.tensor([5.0]), 5.0),
        (torch.tensor([[6.0]]), 6.0),
        (torch.tensor(1.5, dtype=torch.bfloat16), 1.5),
        (torch.tensor(0.1, dtype=EXACT), 0.1),
        (torch.tensor(2.0, requires_grad=True), 2.0),
    ],
    ids=repr,
)
def test_kinds_of_values(tmp_path: Path, value: Any, shown: float) -> None:
    """What a logger gets is a plain float, and what readers get a tensor without dimensions."""

    def training_step(self: Small, batch: Tensor, batch_idx: int) -> None:
        self.log("x", value, prog_bar=True, on_step=True, on_epoch=True)

    logger = Rows()
    trainer = fit(tmp_path, small(training_step=training_step), logger=logger)
    assert [row["x_step"] for _, row in logger.rows if "x_step" in row] == [shown] * 2
    assert [row["x_epoch"] for _, row in logger.rows if "x_epoch" in row] == [shown]
    assert {type(number) for _, row in logger.rows for name, number in row.items() if name != "epoch"} == {
        float
    }
    assert trainer.callback_metrics["x"].shape == ()
    assert trainer.callback_metrics["x"].item() == pytest.approx(shown)
    assert trainer.progress_bar_metrics["x_epoch"] == pytest.approx(shown)


@pytest.mark.parametrize("make", [int, torch.tensor, numpy.int64])
def test_large_counts_keep_their_digits(tmp_path: Path, make: Callable[[int], Any]) -> None:
    """2**24 + 1 tokens: what a float32 cannot hold."""
    tokens, logger = 2**24 + 1, Rows()

    def training_step(self: Small, batch: Tensor, batch_idx: int) -> None:
        self.log("tokens", make(tokens))
        self.log("sum", make(tokens), on_step=False, on_epoch=True, reduce_fx="sum")

    fit(tmp_path, small(training_step=training_step), logger=logger)
    assert logger.named("tokens") == [(0, tokens), (1, tokens)]
    assert logger.named("sum") == [(1, 2 * tokens)]


def test_a_tensor_may_be_changed_after_it_was_logged(tmp_path: Path) -> None:
    def training_step(self: Small, batch: Tensor, batch_idx: int) -> None:
        value = torch.tensor(1.0 + batch_idx)
        self.log("step", value)
        self.log("epoch", value, on_step=False, on_epoch=True)
        self.log("largest", value, on_step=False, on_epoch=True, reduce_fx="max")
        value.fill_(100.0)

    trainer = fit(tmp_path, small(training_step=training_step), train=3)
    assert numbers(trainer.callback_metrics) == {"step": 3.0, "epoch": 2.0, "largest": 3.0}


def test_a_parameter_is_logged_as_it_was_before_the_update(tmp_path: Path) -> None:
    """The weight changes in place in each step, after `training_step`."""
    logger = Rows()

    def training_step(self: Small, batch: Tensor, batch_idx: int) -> Tensor:
        self.log("w", self.w, on_step=True, on_epoch=True)
        return self(batch).mean()

    fit(tmp_path, small(training_step=training_step), train=3, logger=logger)
    assert logger.named("w_step") == [(0, 0.0), (1, -0.5), (2, -1.5)]
    assert logger.named("w_epoch") == [(2, pytest.approx(-2 / 3))]


def test_what_readers_got_does_not_change_later(tmp_path: Path) -> None:
    """And what they do to it does not come back."""
    kept: list[Tensor] = []

    def on_train_batch_end(self: Small, *args: Any) -> None:
        kept.append(self.trainer.callback_metrics["x"])
        self.trainer.callback_metrics["x"] = torch.tensor(100.0)

    module = small(
        training_step=lambda self, batch, batch_idx: self.log("x", torch.tensor(float(batch_idx))),
        on_train_batch_end=on_train_batch_end,
    )
    trainer = fit(tmp_path, module, train=3)
    assert [value.item() for value in kept] == [0.0, 1.0, 2.0]
    assert trainer.callback_metrics["x"].item() == 2.0


@pytest.mark.parametrize("enable_graph", [False, True])
def test_graph_is_cut_unless_it_is_asked_for(tmp_path: Path, enable_graph: bool) -> None:
    seen: list[bool] = []

    def training_step(self: Small, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self(batch).mean()
        self.log("x", loss, enable_graph=enable_graph)
        seen.append(self.trainer.callback_metrics["x"].requires_grad)
        return loss

    fit(tmp_path, small(training_step=training_step))
    assert seen == [enable_graph] * 2


def test_last_of_several_values_in_one_step(tmp_path: Path) -> None:
    """The step shows the last one, the epoch the mean of all."""

    def training_step(self: Small, batch: Tensor, batch_idx: int) -> None:
        self.log("x", 1.0, on_step=True, on_epoch=True)
        self.log("x", 5.0, on_step=True, on_epoch=True)

    trainer = fit(tmp_path, small(training_step=training_step))
    assert numbers(trainer.callback_metrics) == {"x": 3.0, "x_step": 5.0, "x_epoch": 3.0}


@pytest.mark.parametrize("reduction", ["min", "max", "sum"])
def test_step_value_is_not_reduced(tmp_path: Path, reduction: str) -> None:
    def training_step(self: Small, batch: Tensor, batch_idx: int) -> None:
        self.log("x", [3.0, 1.0, 2.0][batch_idx], on_step=True, on_epoch=True, reduce_fx=reduction)

    trainer = fit(tmp_path, small(training_step=training_step), train=3)
    whole = {"min": 1.0, "max": 3.0, "sum": 6.0}[reduction]
    assert numbers(trainer.callback_metrics) == {"x": whole, "x_step": 2.0, "x_epoch": whole}


def test_each_epoch_is_reduced_by_itself(tmp_path: Path) -> None:
    logger, values = Rows(), iter(range(200))

    def training_step(self: Small, batch: Tensor, batch_idx: int) -> None:
        self.log("x", float(next(values)), on_step=False, on_epoch=True)

    fit(tmp_path, small(training_step=training_step), train=100, max_epochs=2, logger=logger)
    assert logger.named("x") == [(99, 49.5), (199, 149.5)]


@dataclass
class Sample:
    name: str
    pixels: Tensor


@pytest.mark.parametrize(
    ("batch", "samples"),
    [
        (torch.zeros(5, 2), 5),
        ([torch.zeros(4, 2), torch.zeros(4)], 4),
        ((torch.zeros(3),), 3),
        ({"image": torch.zeros(6, 1), "label": torch.zeros(6)}, 6),
        ({"meta": {"ids": [1, 2]}, "image": torch.zeros(7)}, 7),
        ([3, torch.zeros(2)], 2),
        (["a", "b", "c"], 3),
        (torch.tensor(1.0), 1),
        ([torch.tensor(1.0), torch.tensor(2.0)], 1),
        (Sample("cat", torch.zeros(8, 2)), 8),
        (12, 1),
        ([], 1),
    ],
    ids=repr,
)
def test_number_of_samples_is_read_off_the_batch(tmp_path: Path, batch: Any, samples: int) -> None:
    """The first batch weighs as many as it has samples, against two in the second one."""

    def validation_step(self: Small, batch: Any, batch_idx: int) -> None:
        self.log("x", float(batch_idx))

    trainer = make_trainer(tmp_path)
    trainer.validate(small(validation_step=validation_step), Given([batch, torch.zeros(2)]), verbose=False)
    assert trainer.callback_metrics["x"].item() == pytest.approx(2 / (2 + samples))


def test_given_batch_size_goes_before_the_one_of_the_batch(tmp_path: Path) -> None:
    found = validated(tmp_path, [0.0, 1.0], [1, 100], batch_size=3)
    assert found.item() == 0.5


def test_batch_hooks_weigh_by_their_batch_too(tmp_path: Path) -> None:
    def on_validation_batch_end(self: Small, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.log("x", float(batch_idx))

    trainer = make_trainer(tmp_path)
    module = small(on_validation_batch_end=on_validation_batch_end)
    trainer.validate(module, Given([torch.zeros(1), torch.zeros(3)]), verbose=False)
    assert trainer.callback_metrics["x"].item() == 0.75


def test_training_mean_weighs_a_short_last_batch(tmp_path: Path) -> None:
    loader = Given([torch.zeros(4), torch.zeros(4), torch.zeros(2)])

    def training_step(self: Small, batch: Tensor, batch_idx: int) -> None:
        self.log("x", float(batch_idx), on_step=False, on_epoch=True)

    trainer = fit(tmp_path, small(training_step=training_step), train=loader)
    assert trainer.callback_metrics["x"].item() == pytest.approx((0 * 4 + 1 * 4 + 2 * 2) / 10)
