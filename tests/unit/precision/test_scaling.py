"""16-mixed: the loss is scaled, the gradients that anybody sees are true, infinite ones change nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import LBFGS, SGD

from fulmen.errors import UsageError
from fulmen.precision import MixedPrecision

SCALE = 1024.0


def make(**options: Any) -> MixedPrecision:
    options = {"init_scale": SCALE, "growth_interval": 3, **options}
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", **options))


def parameter(value: float = 0.0) -> nn.Parameter:
    return nn.Parameter(torch.tensor([value]))


def backward(precision: MixedPrecision, weight: Tensor, gradient: float = 1.0) -> None:
    """Make the true gradient of `weight` what is asked for."""
    precision.scale((weight * gradient).sum()).backward()


def scale_of(precision: MixedPrecision) -> float:
    return precision.state_dict()["scale"]


def test_gradients_are_scaled_until_they_are_unscaled_once() -> None:
    precision, weight = make(), parameter()
    optimizer = SGD([weight], lr=1.0)
    backward(precision, weight, 3.0)
    assert weight.grad == 3 * SCALE
    for _ in range(3):
        precision.unscale(optimizer)
        assert weight.grad == 3
    precision.step(optimizer)
    assert weight.item() == -3


def test_a_step_unscales_by_itself() -> None:
    precision, weight = make(), parameter()
    backward(precision, weight, 3.0)
    precision.step(SGD([weight], lr=1.0))
    assert weight.item() == -3


def test_a_step_with_a_closure() -> None:
    precision, weight = make(), parameter()
    optimizer = SGD([weight], lr=1.0)

    def closure() -> str:
        backward(precision, weight, 2.0)
        precision.unscale(optimizer)
        weight.grad = weight.grad.clamp(max=0.5)  # pyright: ignore[reportOptionalMemberAccess]
        return "what the closure returned"

    assert precision.step(optimizer, closure) == "what the closure returned"
    assert weight.item() == -0.5


@pytest.mark.parametrize("gradient", [float("inf"), float("nan"), 1e38])
def test_a_step_with_infinite_gradients_is_left_out(gradient: float) -> None:
    """The last one is infinite only because it is scaled."""
    precision, weight = make(), parameter(5.0)
    optimizer = SGD([weight], lr=1.0, momentum=0.9)
    backward(precision, weight, gradient)
    precision.unscale(optimizer)
    precision.step(optimizer)
    assert weight.item() == 5
    assert not optimizer.state
    assert scale_of(precision) == SCALE / 2

    optimizer.zero_grad()
    backward(precision, weight, 1.0)
    precision.step(optimizer)
    assert weight.item() == 4


def test_the_scale_grows_after_good_steps() -> None:
    precision, weight = make(), parameter()
    optimizer = SGD([weight], lr=1.0)
    scales = []
    for _ in range(7):
        optimizer.zero_grad()
        backward(precision, weight)
        precision.step(optimizer)
        scales.append(scale_of(precision))
    assert scales == [SCALE] * 2 + [2 * SCALE] * 3 + [4 * SCALE] * 2
    assert weight.item() == -7


def test_without_gradients_nothing_happens() -> None:
    """Before anything was scaled, and between steps."""
    precision, weight = make(), parameter()
    optimizer = SGD([weight], lr=1.0)
    for _ in range(2):
        precision.unscale(optimizer)
        assert precision.step(optimizer) is None
        assert precision.step(optimizer, lambda: None) is None
        assert weight.item() == 0
        backward(precision, weight)
        optimizer.zero_grad()
    assert scale_of(precision) == SCALE


# ----------------------------------------------------------------------------------- several steps, one scale


def test_several_optimizers_share_the_scale_of_their_backward() -> None:
    """The second one steps with the scale of its own gradients, though the first one overflowed."""
    precision, one, other = make(), parameter(), parameter()
    optimizers = SGD([one], lr=1.0), SGD([other], lr=1.0)
    backward(precision, one, float("inf"))
    backward(precision, other, 3.0)
    for optimizer in optimizers:
        precision.unscale(optimizer)
        precision.step(optimizer)
    assert (one.item(), other.item()) == (0, -3)
    assert scale_of(precision) == SCALE / 2


def test_optimizers_that_take_turns() -> None:
    precision, one, other = make(), parameter(), parameter()
    optimizers = SGD([one], lr=1.0), SGD([other], lr=1.0)
    for _ in range(2):
        for optimizer, weight in zip(optimizers, (one, other), strict=True):
            optimizer.zero_grad()
            backward(precision, weight, 2.0)
            precision.unscale(optimizer)
            precision.step(optimizer)
    assert (one.item(), other.item()) == (-4, -4)


def test_an_optimizer_that_waits_keeps_its_gradients() -> None:
    """One is stepped each time, the other one every second time: sums of gradients need one scale."""
    precision, one, other = make(growth_interval=1000), parameter(), parameter()
    often, seldom = SGD([one], lr=1.0), SGD([other], lr=1.0)
    for turn in range(4):
        often.zero_grad()
        backward(precision, one)
        backward(precision, other)
        precision.step(often)
        if turn % 2:
            precision.unscale(seldom)
            precision.step(seldom)
            seldom.zero_grad()
    assert (one.item(), other.item()) == (-4, -4)


def test_a_second_step_with_the_same_gradients_is_an_error() -> None:
    """They are true already, and would be divided by the scale again."""
    precision, weight = make(), parameter()
    optimizer = SGD([weight], lr=1.0)
    backward(precision, weight, 3.0)
    precision.step(optimizer)
    with pytest.raises(UsageError, match="stepped twice"):
        precision.step(optimizer)
    assert weight.item() == -3


def test_gradients_of_several_backwards_add_up() -> None:
    precision, weight = make(), parameter()
    optimizer = SGD([weight], lr=1.0)
    for _ in range(3):
        backward(precision, weight, 2.0)
    precision.step(optimizer)
    assert weight.item() == -6


# ------------------------------------------------------------------------------------------------------ state


def steps(precision: MixedPrecision, gradients: list[float]) -> list[float]:
    """The scale after each of some steps."""
    weight = parameter()
    optimizer = SGD([weight], lr=1.0)
    scales = []
    for gradient in gradients:
        optimizer.zero_grad()
        backward(precision, weight, gradient)
        precision.step(optimizer)
        scales.append(scale_of(precision))
    return scales


INF = float("inf")
GRADIENTS = [1, 1, INF, 1, 1, 1, 1, INF, 1, 1]


@pytest.mark.parametrize("after", range(len(GRADIENTS)))
def test_a_state_goes_on_where_it_was_taken(after: int) -> None:
    whole = steps(make(), GRADIENTS)
    first, second = make(), make(init_scale=2.0)
    assert steps(first, GRADIENTS[:after]) == whole[:after]
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.state_dict() == first.state_dict()
    assert steps(second, GRADIENTS[after:]) == whole[after:]


def test_looking_at_the_state_changes_nothing() -> None:
    precision = make()
    assert steps(precision, GRADIENTS) == steps(make(), GRADIENTS)
    assert precision.state_dict() == precision.state_dict()


def test_the_state_is_plain_numbers() -> None:
    precision = make()
    steps(precision, [1.0])
    assert {type(value) for value in precision.state_dict().values()} == {float, int}


# ----------------------------------------------------------------------------------------------------- errors


def test_lbfgs_cannot_be_scaled() -> None:
    precision, weight = make(), parameter()
    with pytest.raises(UsageError, match=r"LBFGS(.|\n)*bf16-mixed"):
        precision.step(LBFGS([weight]), lambda: backward(precision, weight))


def test_lbfgs_needs_no_scaling_in_bf16() -> None:
    weight = parameter()
    optimizer = LBFGS([weight], lr=1.0, max_iter=1)

    def closure() -> Tensor:
        loss = (weight - 2).square().sum()
        optimizer.zero_grad()
        loss.backward()
        return loss

    MixedPrecision("bf16-mixed").step(optimizer, closure)
    assert weight.item() > 0
