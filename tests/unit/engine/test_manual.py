"""Manual optimization: the module updates, the run lends precision, hooks and counting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fulmen as pl
from fulmen.errors import ConfigError, UsageError

from .small import LEARNING_RATE, TrainsOnly, fit


class Manual(TrainsOnly):
    """Updates by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self(batch).mean())
        optimizer.step()


def test_manual_updates_are_those_of_torch(tmp_path: Path) -> None:
    module = Manual()
    trainer = fit(tmp_path, module, train=3)
    assert module.w.item() == -LEARNING_RATE * 6
    assert trainer.global_step == 3


def test_each_manual_update_counts_at_once(tmp_path: Path) -> None:
    seen: list[int] = []

    class Two(Manual):
        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(self.parameters(), lr=0.1) for _ in range(2)]

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            for optimizer in self.optimizers():
                self.manual_backward(self(batch).mean())
                optimizer.step()
                seen.append(self.global_step)

    trainer = fit(tmp_path, Two(), train=2)
    assert seen == [1, 2, 3, 4]
    assert trainer.global_step == 4


def test_manual_closure(tmp_path: Path) -> None:
    class Closes(Manual):
        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            optimizer = self.optimizers()

            def closure() -> Tensor:
                optimizer.zero_grad()
                loss = self(batch).mean()
                self.manual_backward(loss)
                return loss

            optimizer.step(closure=closure)

    module = Closes()
    trainer = fit(tmp_path, module, train=3)
    assert (module.w.item(), trainer.global_step) == (-LEARNING_RATE * 6, 3)


def test_arguments_of_manual_backward_reach_torch(tmp_path: Path) -> None:
    class Twice(Manual):
        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            loss = self(batch).mean()
            self.manual_backward(loss, retain_graph=True)
            self.manual_backward(loss)
            self.optimizers().step()

    module = Twice()
    fit(tmp_path, module, train=1)
    assert module.w.item() == -LEARNING_RATE * 2


def test_optimizers_without_the_wrapper(tmp_path: Path) -> None:
    class Bare(Manual):
        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            optimizer = self.optimizers(use_pl_optimizer=False)
            assert type(optimizer) is torch.optim.SGD
            self.manual_backward(self(batch).mean())
            optimizer.step()

    module = Bare()
    trainer = fit(tmp_path, module, train=1)
    assert module.w.item() == -LEARNING_RATE
    assert trainer.global_step == 0  # nobody saw it


class TwoParts(pl.LightningModule):
    """Two weights with an optimizer each; a third that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.a = torch.nn.Parameter(torch.zeros(()))
        self.b = torch.nn.Parameter(torch.zeros(()))
        self.frozen = torch.nn.Parameter(torch.zeros(()), requires_grad=False)
        self.seen: list[tuple[bool, bool, bool]] = []

    def look(self) -> None:
        self.seen.append((self.a.requires_grad, self.b.requires_grad, self.frozen.requires_grad))

    def configure_optimizers(self) -> Any:
        first = torch.optim.SGD([self.a, self.frozen], lr=1.0)
        return [first, torch.optim.SGD([self.b], lr=1.0)]


@pytest.mark.parametrize("way", ["toggle_model", "toggled_optimizer", "toggle_optimizer"])
def test_toggled_optimizer_alone_trains(tmp_path: Path, way: str) -> None:
    """Its own frozen parameters stay frozen; afterwards everything is as it was."""

    class Toggles(TwoParts):
        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            for optimizer in self.optimizers():
                if way == "toggle_optimizer":
                    self.toggle_optimizer(optimizer)
                    self.look()
                    self.untoggle_optimizer(optimizer)
                elif way == "toggle_model":
                    with optimizer.toggle_model():
                        self.look()
                else:
                    with self.toggled_optimizer(optimizer):
                        self.look()
            self.look()

    module = Toggles()
    fit(tmp_path, module, train=1)
    assert module.seen == [(True, False, False), (False, True, False), (True, True, False)]


def test_toggle_ends_with_an_error_inside(tmp_path: Path) -> None:
    class Fails(TwoParts):
        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            with pytest.raises(ZeroDivisionError), self.optimizers()[0].toggle_model():
                _ = 1 / 0
            self.look()

    module = Fails()
    fit(tmp_path, module, train=1)
    assert module.seen == [(True, True, False)]


def test_clip_gradients_by_hand(tmp_path: Path) -> None:
    class Clips(Manual):
        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            optimizer = self.optimizers()
            self.manual_backward(self(batch).mean() * 100)
            self.clip_gradients(optimizer, gradient_clip_val=1.0, gradient_clip_algorithm="norm")
            optimizer.step()

    module = Clips()
    fit(tmp_path, module, train=1)
    assert module.w.item() == pytest.approx(-LEARNING_RATE, rel=1e-5)


@pytest.mark.parametrize("options", [{"accumulate_grad_batches": 2}, {"gradient_clip_val": 1.0}], ids=str)
def test_what_manual_optimization_has_to_do_itself(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"(?s){next(iter(options))}.*manual optimization"):
        fit(tmp_path, Manual(), **options)


def test_manual_backward_in_automatic_optimization(tmp_path: Path) -> None:
    class Mixes(TrainsOnly):
        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            self.manual_backward(self(batch).mean())

    with pytest.raises(UsageError, match="automatic_optimization = False"):
        fit(tmp_path, Mixes())


@pytest.mark.parametrize("returned", [1.0, "x", [1]], ids=repr)
def test_what_a_manual_step_may_not_return(tmp_path: Path, returned: Any) -> None:
    class Returns(Manual):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return returned

    with pytest.raises(UsageError, match="training_step"):
        fit(tmp_path, Returns())


def test_outputs_of_manual_steps(tmp_path: Path) -> None:
    outputs: list[Any] = []

    class Returns(Manual):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            loss = self(batch).mean()
            return (loss, {"anything": 3}, None)[batch_idx]

        def on_train_batch_end(self, output: Any, batch: Any, batch_idx: int) -> None:
            outputs.append(output)

    fit(tmp_path, Returns(), train=3)
    assert outputs == [{"loss": 0.0}, {"anything": 3}, {}]
    assert outputs[0]["loss"].requires_grad is False
