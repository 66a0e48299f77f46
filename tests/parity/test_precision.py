"""Each precision computes what a bare loop with torch's own means computes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Adam

from . import science
from .bare import Case, train_bare
from .ours import Science, train
from .outcome import assert_same_outcome

PRECISIONS = ("32-true", "64-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "case",
    [
        partial(Case, "plain"),
        partial(Case, "windows, clipped", accumulate=2, clip=0.05),
        partial(Case, "clipped values", clip=0.01, clip_by="value"),
        partial(Case, "validation", validates_every=2),
        partial(Case, "some losses unused", skips=(1, 3)),
    ],
    ids=lambda case: case.args[0].replace(" ", "_"),
)
def test_each_precision(case: Any, precision: str) -> None:
    case = case(precision=precision)
    found = train(case)
    assert_same_outcome(found, train_bare(case))
    assert all(torch.isfinite(loss) for loss in found.losses)


@pytest.mark.parametrize("precision", ["64-true", "16-mixed", "bf16-mixed"])
def test_adam(precision: str) -> None:
    case = Case("", optimizer=partial(Adam, lr=0.05), precision=precision)
    assert_same_outcome(train(case), train_bare(case))


@pytest.mark.parametrize(
    "case",
    [
        Case("at once", skips=(0,), precision="16-mixed"),
        Case("a whole window", skips=(0, 1), accumulate=2, precision="16-mixed"),
        Case("always", skips=(0, 1, 2, 3, 4), precision="16-mixed"),
        Case("clipped", skips=(0, 2), clip=0.05, precision="16-mixed"),
    ],
    ids=str,
)
def test_scaling_where_the_first_losses_are_not_used(case: Case) -> None:
    assert_same_outcome(train(case), train_bare(case))


class StepsOptimizer(Science):
    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        optimizer.step(closure=optimizer_closure)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("skips", [(0,), (1, 3), (0, 1, 2, 3, 4)], ids=str)
def test_losses_that_are_not_used_and_an_own_optimizer_step(skips: tuple[int, ...], precision: str) -> None:
    """Without gradients an optimizer without momentum does nothing, whether it is called or not."""
    case = Case("", optimizer=partial(SGD, lr=0.1), skips=skips, precision=precision)
    assert_same_outcome(train(case, StepsOptimizer), train_bare(case))


@pytest.mark.parametrize("module", [Science, StepsOptimizer])
@pytest.mark.parametrize(
    "case",
    [
        Case("steps", explodes=(1, 3), precision="16-mixed"),
        Case("Adam", explodes=(1,), precision="16-mixed", optimizer=partial(Adam, lr=0.05)),
        Case("windows", explodes=(2,), accumulate=2, precision="16-mixed"),
        Case("clipped", explodes=(1,), clip=0.05, precision="16-mixed"),
    ],
    ids=str,
)
def test_steps_with_infinite_gradients_are_left_out(case: Case, module: type[Science]) -> None:
    found = train(case, module)
    assert_same_outcome(found, train_bare(case))
    assert all(weight.isfinite().all() for weight in found.weights.values())
    assert found.scaler["scale"] < train_bare(replace(case, explodes=())).scaler["scale"]


class SeesGradients(Science):
    """Compares what the step does to the weights with the gradients that are seen before it."""

    steps = 0

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.seen = [(weight.clone(), weight.grad) for weight in self.net.parameters()]

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        gradients = [gradient.clone() for _, gradient in self.seen if gradient is not None]
        is_left_out = not all(gradient.isfinite().all() for gradient in gradients)
        for weight, (before, _), gradient in zip(self.net.parameters(), self.seen, gradients, strict=True):
            assert weight.equal(before if is_left_out else before.add(gradient, alpha=-0.1))
        self.steps += not is_left_out

    def on_train_end(self) -> None:
        assert self.steps > science.BATCHES


class SeesGradientsOfOwnStep(SeesGradients, StepsOptimizer):
    pass


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("module", [SeesGradients, SeesGradientsOfOwnStep])
def test_hooks_see_the_gradients_that_the_step_applies(module: type[Science], precision: str) -> None:
    train(
        Case(
            "", precision=precision, optimizer=partial(SGD, lr=0.1), explodes=(1,) * (precision == "16-mixed")
        ),
        module,
    )


def test_what_is_computed_in_which_type() -> None:
    """What autocast chooses, or what was asked for, in training and in validation."""
    seen: dict[str, list[Any]] = {}

    class Looks(Science):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            made = self.net(batch[0])
            seen["train"] = [self.net[0].weight.dtype, batch[0].dtype, made.dtype, torch.ones(1).dtype]
            return made.float().mean()

        def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
            made = self.net(batch[0])
            seen["validation"] = [self.net[0].weight.dtype, batch[0].dtype, made.dtype, torch.ones(1).dtype]

    single, half, brain, double = torch.float32, torch.float16, torch.bfloat16, torch.float64
    for precision, expected in {
        "32-true": [single] * 4,
        "64-true": [double] * 4,
        "16-true": [half] * 4,
        "bf16-true": [brain] * 4,
        "16-mixed": [single, single, half, single],
        "bf16-mixed": [single, single, brain, single],
    }.items():
        train(Case("", precision=precision, validates_every=5, loader=science.in_order), Looks)
        assert seen == {"train": expected, "validation": expected}, precision
        assert torch.get_default_dtype() is torch.float32
