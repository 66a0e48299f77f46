"""Perplexity: exact for unlikely tokens and in half precision; bad input."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torchmetrics.functional.text import perplexity as torchmetrics_perplexity

from fulmen.errors import UsageError
from fulmen.metrics.functional.text import perplexity
from fulmen.metrics.text import Perplexity


def test_a_model_that_knows_nothing_hesitates_between_all() -> None:
    assert perplexity(torch.zeros(2, 3, 11), torch.zeros(2, 3, dtype=torch.int64)) == pytest.approx(11)


def test_a_token_that_is_next_to_impossible() -> None:
    preds = torch.tensor([[[0.0, -120.0], [0.0, 0.0]]])
    target = torch.tensor([[1, 0]])
    assert torchmetrics_perplexity(preds, target).isinf()
    assert float(perplexity(preds, target).log()) == pytest.approx((120 + math.log(2)) / 2)


def test_the_number_that_pytorch_ignores_is_an_error_unless_it_is_asked_for() -> None:
    preds, target = torch.randn(1, 3, 5), torch.tensor([[1, -100, 2]])
    with pytest.raises(UsageError, match=r"received: target from -100 to 2, preds 5 wide"):
        perplexity(preds, target)
    expected = perplexity(preds[:, [0, 2]], target[:, [0, 2]])
    assert perplexity(preds, target, ignore_index=-100) == expected
    assert perplexity(preds, torch.tensor([[1, 4, 2]]), ignore_index=4) == expected


def test_without_a_token_it_is_nan() -> None:
    assert perplexity(torch.randn(1, 2, 3), torch.full((1, 2), 7), ignore_index=7).isnan()
    assert perplexity(torch.randn(0, 2, 3), torch.zeros(0, 2, dtype=torch.int64)).isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_result_is_at_least_in_single_precision(dtype: torch.dtype) -> None:
    preds = torch.randn(3, 50, 40, generator=torch.Generator().manual_seed(1)).to(dtype)
    target = torch.arange(150).view(3, 50) % 40
    expected = -preds.double().log_softmax(-1).gather(-1, target[..., None]).mean()
    value = perplexity(preds, target)
    assert value.dtype is (torch.float64 if dtype is torch.float64 else torch.float32)
    torch.testing.assert_close(value.double().log(), expected, rtol=1e-6, atol=0)


def test_many_logits_are_taken_in_parts() -> None:
    preds = torch.randn(2, 5, 70_000, generator=torch.Generator().manual_seed(1))
    target = torch.randint(0, 70_000, (2, 5), generator=torch.Generator().manual_seed(2))
    target[1, 2] = -1
    losses = -preds.double().log_softmax(-1).gather(-1, target.clamp(min=0)[..., None])[target >= 0]
    value = Perplexity(ignore_index=-1)(preds, target)
    torch.testing.assert_close(value.double().log(), losses.mean(), rtol=1e-6, atol=0)


def test_gradients_are_those_of_the_mean_loss() -> None:
    preds = torch.randn(1, 4, 3, requires_grad=True)
    target = torch.tensor([[0, 1, 2, 0]])
    Perplexity()(preds, target).log().backward()
    actual, preds.grad = preds.grad, None
    torch.nn.functional.cross_entropy(preds[0], target[0]).backward()
    torch.testing.assert_close(actual, preds.grad)


@pytest.mark.parametrize(
    ("preds", "target", "message"),
    [
        (torch.randn(2, 3), torch.zeros(2, 3).long(), r"received: preds \(2, 3\), target \(2, 3\)"),
        (torch.randn(2, 3, 4), torch.zeros(2, 4).long(), r"(?s)target \(2, 4\).*\[batch, time, vocabulary\]"),
        (torch.randn(2, 3, 4), torch.zeros(2, 3), "target torch.float32"),
        (torch.ones(2, 3, 4).long(), torch.zeros(2, 3).long(), "preds torch.int64"),
        (torch.randn(2, 3, 4), torch.full((2, 3), 4), "received: target from 4 to 4, preds 4 wide"),
    ],
)
def test_what_does_not_fit_is_an_error(preds: Any, target: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Perplexity().update(preds, target)
