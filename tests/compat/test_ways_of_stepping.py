"""Truncated backpropagation, manual optimization and `optimizer_step` of old versions, against bare loops."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.compat import OldSpelling
from fulmen.errors import ConfigError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.OldSpelling")

X = torch.randn(12, 6, 3, generator=torch.Generator().manual_seed(1))
Y = X.cumsum(1).sum(2, keepdim=True)
BATCHES = [(X[i : i + 4], Y[i : i + 4]) for i in range(0, 12, 4)]


def quiet(**arguments: Any) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **arguments,
    )  # fmt: skip


def data() -> DataLoader:
    return DataLoader(TensorDataset(X, Y), batch_size=4)


def same(model: nn.Module, reference: nn.Module) -> None:
    for parameter, expected in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected)


# ---------------------------------------------------------------------------------- truncated backpropagation


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.GRU(3, 5, batch_first=True)
        self.out = nn.Linear(5, 1)


def bare_truncated(length: int) -> Net:
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(2):
        for x, y in BATCHES:
            hiddens = None
            for start in range(0, 6, length):
                states, hiddens = net.rnn(x[:, start : start + length], hiddens)
                loss = F.mse_loss(net.out(states), y[:, start : start + length])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                hiddens = hiddens.detach()
    return net


class Recurrent(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = Net()
        self.ends: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int, hiddens: Any) -> Any:
        x, y = batch
        states, hiddens = self.net.rnn(x, hiddens)
        return {"loss": F.mse_loss(self.net.out(states), y), "hiddens": hiddens}

    def training_epoch_end(self, outputs: Any) -> None:
        self.ends.append(outputs)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)


@pytest.mark.parametrize("length", [2, 4])
def test_truncated_by_the_trainer(length: int) -> None:
    model = Recurrent()
    trainer = quiet(truncated_bptt_steps=length)
    trainer.fit(model, data())
    same(model.net, bare_truncated(length))
    assert [len(outputs) for outputs in model.ends] == [3, 3]
    assert trainer.global_step == 6  # batches, as in the versions that had the argument


def test_truncated_by_the_module_that_cuts_itself() -> None:
    class Cutting(Recurrent):
        truncated_bptt_steps = 2

        def tbptt_split_batch(self, batch: Any, split_size: int) -> Iterator[Any]:
            return [[part[:, i : i + split_size] for part in batch] for i in range(0, 6, split_size)]

    model = Cutting()
    trainer = quiet(compat="1.9")
    trainer.fit(model, data())
    same(model.net, bare_truncated(2))
    assert trainer.global_step == 18


def test_parts_that_differ_in_time_are_an_error() -> None:
    loader = DataLoader(TensorDataset(X, Y[:, :3]), batch_size=4)
    with pytest.raises(ConfigError, match=r"(?s)cut in time.*tbptt_split_batch"):
        quiet(truncated_bptt_steps=2).fit(Recurrent(), loader)


# ---------------------------------------------------------------------------------------- manual optimization


def bare_manual(*, clip: float | None = None, accumulate: int = 1) -> nn.Linear:
    net = linear()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(2):
        for index, (x, y) in enumerate(BATCHES):
            F.mse_loss(net(x), y).backward()
            if (index + 1) % accumulate == 0 or index == 2:
                if clip:
                    nn.utils.clip_grad_norm_(net.parameters(), clip)
                optimizer.step()
                optimizer.zero_grad()
    return net


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


class ManualBase(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = linear()

    def loss(self, batch: Any) -> Tensor:
        return F.mse_loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)


@pytest.mark.parametrize("clip", [None, 0.1])
def test_manual_of_1_0_clips_in_backward(clip: float | None) -> None:
    class Manual(ManualBase):
        def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> None:
            optimizer: Any = self.optimizers()
            self.manual_backward(self.loss(batch), optimizer)
            optimizer.step()
            optimizer.zero_grad()

    model = Manual()
    quiet(automatic_optimization=False, gradient_clip_val=clip, compat="1.0").fit(model, data())
    same(model.net, bare_manual(clip=clip))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_manual_of_1_1_clears_and_accumulates_by_itself(accumulate: int) -> None:
    """Nothing but the code of the step tells that it is of 1.1: it never clears gradients."""

    class Manual(ManualBase):
        @property
        def automatic_optimization(self) -> bool:
            return False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer: Any = self.optimizers()
            self.manual_backward(self.loss(batch), optimizer)
            optimizer.step()

    model = Manual()
    quiet(accumulate_grad_batches=accumulate).fit(model, data())
    same(model.net, bare_manual(accumulate=accumulate))


@pytest.mark.parametrize(
    ("version", "by_batch"), [("1.0", True), ("1.1", True), ("1.5", True), ("1.6", False)]
)
@pytest.mark.parametrize("max_steps", [-1, 4])
def test_what_is_counted_in_manual_optimization(version: str, by_batch: bool, max_steps: int) -> None:
    """Up to 1.5 batches, once they are done and however often which optimizer has stepped in them."""

    class Manual(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.nets = nn.ModuleList([linear(), linear()])
            self.automatic_optimization = False
            self.counted: list[int] = []

        def training_step(self, batch: Any, batch_idx: int) -> None:
            for index, optimizer in enumerate(self.optimizers()):
                if index <= batch_idx % 2:
                    optimizer.zero_grad()
                    self.manual_backward(F.mse_loss(self.nets[index](batch[0]), batch[1]))
                    optimizer.step()
            self.counted.append(self.global_step)

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(net.parameters(), lr=0.05) for net in self.nets]

    model = Manual()
    trainer = quiet(compat=version, max_steps=max_steps)
    trainer.fit(model, data())
    if by_batch:
        batches = 6 if max_steps == -1 else 4
        assert (model.counted, trainer.global_step) == (list(range(batches)), batches)
    else:
        counted = [1, 3, 4, 5, 7, 8]
        assert (model.counted, trainer.global_step) == ((counted, 8) if max_steps == -1 else (counted[:3], 4))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_windows_are_counted_in_manual_optimization(version: str) -> None:
    class Manual(ManualBase):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer: Any = self.optimizers()
            self.manual_backward(self.loss(batch), optimizer)
            optimizer.step()
            optimizer.zero_grad()

    trainer = quiet(compat=version, accumulate_grad_batches=2, automatic_optimization=False)
    trainer.fit(Manual(), data())
    assert trainer.global_step == 4  # of three batches, in each of two epochs


def test_manual_of_1_3_is_that_of_today_with_an_optimizer_too_many() -> None:
    class Manual(ManualBase):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch), optimizer)
            optimizer.step()

    model = Manual()
    quiet().fit(model, data())
    same(model.net, bare_manual())


# ------------------------------------------------------------------------------------ the hook optimizer_step


class StepBase(ManualBase):
    def __init__(self) -> None:
        super().__init__()
        self.forwards = 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.forwards += 1
        return self.loss(batch)


class StepOf10(StepBase):
    """Steps with gradients that are in place."""

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int,
        second_order_closure: Any = None, on_tpu: bool = False, using_native_amp: bool = False,
        using_lbfgs: bool = False,
    ) -> None:  # fmt: skip
        optimizer.step()


class StepOf10WithRest(StepBase):
    def optimizer_step(
        self, current_epoch: int, batch_nb: int, optimizer: Any, optimizer_i: int, *args: Any
    ) -> None:
        optimizer.step()
        optimizer.zero_grad()


class StepOf11(StepBase):
    def optimizer_step(
        self, epoch: Any = None, batch_idx: Any = None, optimizer: Any = None, optimizer_idx: Any = None,
        optimizer_closure: Any = None, on_tpu: Any = None, using_native_amp: Any = None,
        using_lbfgs: Any = None,
    ) -> None:  # fmt: skip
        optimizer.step(closure=optimizer_closure)


class StepOf15(StepBase):
    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_idx: int,
        optimizer_closure: Any,
        **kwargs: Any,
    ) -> None:
        optimizer.step(closure=optimizer_closure)


class StepOf26(StepBase):
    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        optimizer.step(closure=optimizer_closure)


class CallsSuper(StepBase):
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)


@pytest.mark.parametrize("kind", [StepOf10, StepOf10WithRest, StepOf11, StepOf15, StepOf26, CallsSuper])
def test_each_eras_optimizer_step(kind: Callable[[], StepBase]) -> None:
    model = kind()
    trainer = quiet()
    trainer.fit(model, data())
    same(model.net, bare_manual())
    assert model.forwards == trainer.global_step == 6


def test_gradients_in_place_may_be_computed_once_more() -> None:
    """1.0 handed LBFGS a closure that computes them anew."""

    class Second(StepOf10):
        def optimizer_step(
            self, epoch: Any, batch_idx: Any, optimizer: Any, optimizer_idx: Any,
            second_order_closure: Any = None, **rest: Any,
        ) -> None:  # fmt: skip
            optimizer.step(second_order_closure)

        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=4)

    model, net = Second(), linear()
    quiet().fit(model, data())
    optimizer = torch.optim.LBFGS(net.parameters(), lr=0.1, max_iter=4)
    for _ in range(2):
        for x, y in BATCHES:

            def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
                optimizer.zero_grad()
                loss = F.mse_loss(net(x), y)
                loss.backward()
                return loss

            optimizer.step(closure)
    same(model.net, net)


class EveryOther(StepBase):
    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int, optimizer_closure: Any,
        *rest: Any,
    ) -> None:  # fmt: skip
        if batch_idx % 2 == 0:
            optimizer.step(closure=optimizer_closure)


def test_a_step_that_is_left_out() -> None:
    """Up to 1.4 that skipped the batch; since then it is an error."""
    model = EveryOther()
    quiet(compat="1.3").fit(model, data())
    assert model.forwards == 4
    with pytest.raises(UsageError, match="did not execute the closure"):
        quiet(compat="1.6").fit(EveryOther(), data())


def test_a_run_of_today_has_no_adapter() -> None:
    model = StepOf26()
    trainer = quiet()
    with warnings.catch_warnings():
        warnings.simplefilter("error", OldSpelling)
        trainer.fit(model, data())
    assert trainer._run is not None
    assert trainer._run.adapter is None
