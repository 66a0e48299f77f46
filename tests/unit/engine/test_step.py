"""How batches become updates, to the number: accumulation, skipped batches, clipping, closures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fulmen as pl
from fulmen.errors import UsageError

from .small import LEARNING_RATE, Small, TrainsOnly, batches, fit, small


class Watches(TrainsOnly):
    """Notes the gradient before each update, and the weight before each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.gradients: list[float | None] = []
        self.weights: list[float] = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.weights.append(self.w.item())

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.gradients.append(None if self.w.grad is None else self.w.grad.item())


def test_an_update_for_each_batch(tmp_path: Path) -> None:
    module = Watches()
    trainer = fit(tmp_path, module, train=3, max_epochs=2)
    assert module.gradients == [1, 2, 3] * 2
    assert module.weights == [0, -0.5, -1.5, -3, -3.5, -4.5]
    assert (trainer.global_step, trainer.current_epoch) == (6, 2)


@pytest.mark.parametrize(
    ("window", "gradients"),
    [(1, [1, 2, 3, 4, 5]), (2, [1.5, 3.5, 5]), (3, [2, 4.5]), (5, [3]), (100, [3])],
)
def test_accumulated_gradients_are_means(tmp_path: Path, window: int, gradients: list[float]) -> None:
    """Also over the batches of a last, shorter window; a window does not reach into the next epoch."""
    module = Watches()
    trainer = fit(tmp_path, module, train=5, max_epochs=2, accumulate_grad_batches=window)
    assert module.gradients == gradients * 2
    assert trainer.global_step == 2 * len(gradients)
    assert module.w.item() == pytest.approx(-LEARNING_RATE * 2 * sum(gradients))


def test_window_ends_with_the_limit(tmp_path: Path) -> None:
    module = Watches()
    fit(tmp_path, module, train=9, limit_train_batches=3, accumulate_grad_batches=2)
    assert module.gradients == [1.5, 3]


def test_accumulation_equals_one_large_batch(tmp_path: Path) -> None:
    """Of equal batches, with momentum."""

    class Momentum(TrainsOnly):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    small_batches, large_batches = Momentum(), Momentum()
    fit(tmp_path, small_batches, train=batches(12), accumulate_grad_batches=3)
    fit(tmp_path, large_batches, train=batches(4, batch_size=3))
    assert small_batches.w.item() == pytest.approx(large_batches.w.item())


def test_accumulation_may_be_changed_on_the_way(tmp_path: Path) -> None:
    class Changes(Watches):
        def on_train_epoch_start(self) -> None:
            self.trainer.accumulate_grad_batches = self.current_epoch + 1

    module = Changes()
    fit(tmp_path, module, train=4, max_epochs=2)
    assert module.gradients == [1, 2, 3, 4, 1.5, 3.5]


def test_loss_of_the_outputs_is_not_divided(tmp_path: Path) -> None:
    """And it is detached, in a dict whatever was returned; what else was returned stays as it is."""
    outputs: list[Any] = []

    def on_train_batch_end(self: Small, output: Any, batch: Any, batch_idx: int) -> None:
        outputs.append(output)

    def training_step(self: Small, batch: Tensor, batch_idx: int) -> Any:
        loss = self(batch).mean() + 1
        return (loss, {"loss": loss, "extra": loss * 2}, None)[batch_idx]

    module = small(training_step=training_step, on_train_batch_end=on_train_batch_end)
    fit(tmp_path, module, train=3, accumulate_grad_batches=3)
    bare, with_extra, skipped = outputs
    assert bare == {"loss": 1.0}
    assert bare["loss"].requires_grad is False
    assert (set(with_extra), with_extra["loss"].item(), with_extra["extra"].item()) == (
        {"loss", "extra"},
        1,
        2,
    )
    assert (with_extra["loss"].requires_grad, with_extra["extra"].requires_grad) == (False, True)
    assert skipped == {}


@pytest.mark.parametrize(
    "returned",
    [
        "loss",
        1.0,
        [1.0],
        {},
        {"los": torch.ones(())},
        {"loss": None},
        {"loss": 1.0},
        (torch.ones(()),),
        object(),
    ],
    ids=repr,
)
def test_what_is_no_loss(tmp_path: Path, returned: Any) -> None:
    with pytest.raises(UsageError, match=r"(?s)training_step.*'loss'"):
        fit(tmp_path, small(training_step=lambda self, batch, batch_idx: returned))


def test_loss_of_more_than_one_element(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"(?s)training_step.*shape \(2,\)"):
        fit(tmp_path, small(training_step=lambda self, b, i: self(b)), train=batches(1, batch_size=2))


def test_loss_without_a_gradient(tmp_path: Path) -> None:
    """Nothing that it was computed from requires gradients: say so, in place of torch's words."""
    with pytest.raises(UsageError, match="training_step"):
        fit(tmp_path, small(training_step=lambda self, batch, batch_idx: self(batch).mean().detach()))


def test_skipped_batches_change_nothing_and_count(tmp_path: Path) -> None:
    """With momentum, so that an update with old or zero gradients would show."""

    class Skips(Watches):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=1.0, momentum=0.5)

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return None if batch_idx in (1, 2) else super().training_step(batch, batch_idx)

    module = Skips()
    trainer = fit(tmp_path, module, train=4)
    assert module.weights == [0, -1, -1, -1]
    assert module.w.item() == -1 - (4 + 0.5 * 1)
    assert trainer.global_step == 4


@pytest.mark.parametrize(("skipped", "gradients"), [(0, [1.0, 3.5]), (1, [0.5, 3.5])])
def test_skipped_batch_in_a_window(tmp_path: Path, skipped: int, gradients: list[float]) -> None:
    """The rest of the window counts as usual, with the usual divisor."""

    class Skips(Watches):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return None if batch_idx == skipped else super().training_step(batch, batch_idx)

    module = Skips()
    trainer = fit(tmp_path, module, train=4, accumulate_grad_batches=2)
    assert module.gradients == gradients
    assert trainer.global_step == 2


class TwoWeights(pl.LightningModule):
    """Gradients 3 and 4, of norm 5."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(2))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.w * torch.tensor([3.0, 4.0])).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1.0)


@pytest.mark.parametrize(
    ("options", "update"),
    [
        ({}, [3, 4]),
        ({"gradient_clip_val": 0}, [3, 4]),
        ({"gradient_clip_val": 10}, [3, 4]),
        ({"gradient_clip_val": 1}, [0.6, 0.8]),
        ({"gradient_clip_val": 1.0, "gradient_clip_algorithm": "norm"}, [0.6, 0.8]),
        ({"gradient_clip_val": 3.5, "gradient_clip_algorithm": "value"}, [3, 3.5]),
        ({"gradient_clip_val": 1.0, "accumulate_grad_batches": 2}, [0.6, 0.8]),
    ],
    ids=str,
)
def test_clipping(tmp_path: Path, options: dict[str, Any], update: list[float]) -> None:
    module = TwoWeights()
    fit(tmp_path, module, train=options.get("accumulate_grad_batches", 1), **options)
    assert (-module.w).tolist() == pytest.approx(update, rel=1e-5)


def test_clipping_of_ones_own(tmp_path: Path) -> None:
    """Told what the Trainer was told, by keyword, also where it was told nothing."""
    calls: list[Any] = []

    class Clips(TwoWeights):
        def configure_gradient_clipping(self, optimizer: Any, **arguments: Any) -> None:
            calls.append((type(optimizer).__name__, arguments))
            self.clip_gradients(optimizer, gradient_clip_val=2.5, gradient_clip_algorithm="norm")

    module = Clips()
    fit(tmp_path, module, train=1)
    assert (-module.w).tolist() == pytest.approx([1.5, 2], rel=1e-5)
    assert calls == [("SGD", {"gradient_clip_val": None, "gradient_clip_algorithm": None})]
    fit(tmp_path, Clips(), train=1, gradient_clip_val=7, gradient_clip_algorithm="value")
    assert calls[1] == ("SGD", {"gradient_clip_val": 7, "gradient_clip_algorithm": "value"})


def test_unknown_clipping(tmp_path: Path) -> None:
    class Clips(TwoWeights):
        def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
            self.clip_gradients(optimizer, 1.0, "nrom")

    with pytest.raises(UsageError, match=r"(?s)nrom.*'norm' or 'value'"):
        fit(tmp_path, Clips())


def test_lbfgs_finds_the_minimum(tmp_path: Path) -> None:
    """(w - 3)² in one update, whose closure runs several times."""

    class Quadratic(TrainsOnly):
        evaluations = 0

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            self.evaluations += 1
            return (self.w - 3).square()

        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters(), lr=0.5, max_iter=20)

    module = Quadratic()
    trainer = fit(tmp_path, module, train=1)
    assert module.w.item() == pytest.approx(3, abs=1e-4)
    assert module.evaluations > 2
    assert trainer.global_step == 1


class OwnStep(Watches):
    """Updates in a way of its own; subclasses say which."""


def test_optimizer_step_of_ones_own(tmp_path: Path) -> None:
    """The epoch, the batch's index, the optimizer as user code sees it, the closure: by position."""
    calls: list[Any] = []

    class Steps(OwnStep):
        def optimizer_step(self, *arguments: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            epoch, batch_idx, optimizer, closure = arguments
            calls.append((epoch, batch_idx, isinstance(optimizer, torch.optim.SGD)))
            super().optimizer_step(epoch, batch_idx, optimizer, closure)

    module, plain = Steps(), Watches()
    trainer = fit(tmp_path, module, train=2, max_epochs=2, accumulate_grad_batches=2)
    fit(tmp_path, plain, train=2, max_epochs=2, accumulate_grad_batches=2)
    assert calls == [(0, 1, True), (1, 1, True)]
    assert (module.w.item(), module.gradients) == (plain.w.item(), plain.gradients)
    assert trainer.global_step == 2


def test_closure_first_and_the_update_by_hand(tmp_path: Path) -> None:
    """The closure returns the loss; warm-up by hand is done so."""
    losses: list[float] = []

    class Steps(OwnStep):
        def optimizer_step(
            self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
        ) -> None:
            loss = optimizer_closure()
            losses.append(loss.item())
            for group in optimizer.param_groups:
                group["lr"] = 0.25
            optimizer.step()

    module = Steps()
    fit(tmp_path, module, train=2)
    assert module.w.item() == -0.25 * 3
    assert losses == [0, -0.5]
    assert module.gradients == [1, 2]


def test_update_every_second_time(tmp_path: Path) -> None:
    class Steps(OwnStep):
        def optimizer_step(
            self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
        ) -> None:
            optimizer_closure()
            if batch_idx % 2:
                optimizer.step()

    module = Steps()
    fit(tmp_path, module, train=4)
    assert module.weights == [0, 0, -1, -1]
    assert module.w.item() == -1 - 2


def test_closure_that_nobody_executed(tmp_path: Path) -> None:
    class Forgets(OwnStep):
        def optimizer_step(
            self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
        ) -> None:
            optimizer.step()

    with pytest.raises(UsageError, match=r"(?s)Forgets\.optimizer_step.*closure"):
        fit(tmp_path, Forgets())


def test_optimizer_of_ones_own_gets_the_closure(tmp_path: Path) -> None:
    """Nobody knows whether it needs one."""
    closures: list[bool] = []

    class Own(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            closures.append(closure is not None)
            return super().step(closure)

    class Uses(Watches):
        def configure_optimizers(self) -> Any:
            return Own(self.parameters(), lr=LEARNING_RATE)

    module = Uses()
    fit(tmp_path, module, train=2)
    assert (module.w.item(), module.gradients) == (-1.5, [1, 2])
    assert closures == [True, True]


def test_backward_of_ones_own(tmp_path: Path) -> None:
    class Doubles(Watches):
        def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
            (2 * loss).backward(*args, **kwargs)

    module = Doubles()
    fit(tmp_path, module, train=2)
    assert module.gradients == [2, 4]


def test_zero_grad_of_ones_own(tmp_path: Path) -> None:
    """One that keeps the gradients accumulates for ever."""
    calls: list[Any] = []

    class Keeps(Watches):
        def optimizer_zero_grad(self, *arguments: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            calls.append((*arguments[:2], type(arguments[2]).__name__))

    module = Keeps()
    fit(tmp_path, module, train=3)
    assert module.gradients == [1, 3, 6]
    assert calls == [(0, 0, "SGD"), (0, 1, "SGD"), (0, 2, "SGD")]


class KeepsGradients(torch.optim.SGD):
    def zero_grad(self, set_to_none: bool = True) -> None:
        pass


def with_zero_grad_replaced(*arguments: Any, **options: Any) -> torch.optim.SGD:
    optimizer = torch.optim.SGD(*arguments, **options)
    optimizer.zero_grad = lambda set_to_none=True: None
    return optimizer


@pytest.mark.parametrize("make", [KeepsGradients, with_zero_grad_replaced])
def test_optimizer_with_a_zero_grad_of_its_own(tmp_path: Path, make: Any) -> None:
    class Keeps(Watches):
        def configure_optimizers(self) -> Any:
            return make(self.parameters(), lr=LEARNING_RATE)

    module = Keeps()
    fit(tmp_path, module, train=3)
    assert module.gradients == [1, 3, 6]


def test_gradients_of_all_groups_are_cleared(tmp_path: Path) -> None:
    """Those of a group that joins in the middle as well; one that has none keeps none."""

    class Joins(Watches):
        def __init__(self) -> None:
            super().__init__()
            self.late = torch.nn.Parameter(torch.zeros(()))
            self.late_gradients: list[Any] = []

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return (self.w + self.late if batch_idx in (1, 2) else self.w) * batch.mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD([self.w], lr=LEARNING_RATE)

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if batch_idx == 1:
                self.optimizers().add_param_group({"params": [self.late]})

        def on_after_backward(self) -> None:
            self.late_gradients.append(None if self.late.grad is None else self.late.grad.item())

    module = Joins()
    fit(tmp_path, module, train=4)
    assert module.gradients == [1, 2, 3, 4]
    assert module.late_gradients == [None, 2, 3, None]


def test_no_optimizer(tmp_path: Path) -> None:
    """Gradients are computed, nothing is updated; the steps count."""

    class Computes(Watches):
        def configure_optimizers(self) -> Any:
            return None

    module = Computes()
    with pytest.warns(UserWarning, match="None"):
        trainer = fit(tmp_path, module, train=2)
    assert (module.w.item(), trainer.global_step) == (0, 2)
