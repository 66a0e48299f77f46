"""Averages of weights, against plain loops with torch's own tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, update_bn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.base.report import FulmenWarning
from fulmen.callbacks import (
    EMAWeightAveraging,
    LambdaCallback,
    ModelCheckpoint,
    OnExceptionCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)
from fulmen.errors import ConfigError, UsageError

from .scenarios import make_trainer


class Net(pl.LightningModule):
    """With or without batch norm; notes the weights that are validated, and the learning rates."""

    def __init__(self, *, norm: bool = False, gamma: float | None = None, interval: str = "epoch") -> None:
        super().__init__()
        torch.manual_seed(8)
        middle = nn.BatchNorm1d(4, momentum=0.3) if norm else nn.Tanh()
        self.net = nn.Sequential(nn.Linear(3, 4), middle, nn.Linear(4, 1))
        self.gamma, self.interval = gamma, interval
        self.validated: list[dict[str, Tensor]] = []
        self.rates: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = (self(batch[0]) - 1).square().mean()
        self.log("loss", loss)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        if not self.trainer.sanity_checking:
            self.validated.append(weights(self))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        if self.gamma is None:
            return optimizer
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, self.gamma)
        return [optimizer], [{"scheduler": scheduler, "interval": self.interval}]


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def points() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    return DataLoader(TensorDataset(torch.randn(12, 3, generator=generator)), batch_size=4)


def one_point() -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.randn(1, 3)))


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], *, bits: bool = True) -> None:
    rtol, atol = (0.0, 0.0) if bits else (1e-5, 1e-6)
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=rtol, atol=atol)


def step_bare(module: Net, optimizer: torch.optim.Optimizer, batch: list[Tensor]) -> None:
    optimizer.zero_grad()
    (module(batch[0]) - 1).square().mean().backward()
    optimizer.step()


# ---------------------------------------------------------------------------------------- stochastic averages


def average_bare(rates: list[float], start: int, *, norm: bool) -> dict[str, Tensor]:
    """A plain loop with a learning rate per epoch; the mean of the weights that its epochs begin with."""
    module = Net(norm=norm)
    optimizer = module.configure_optimizers()
    average = AveragedModel(module)
    for epoch, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        if epoch >= start:
            average.update_parameters(module)
        for batch in points():
            step_bare(module, optimizer, batch)
    own: Any = average.module
    if norm:
        update_bn(points(), own)
    return weights(own)


@pytest.mark.parametrize("norm", [False, True])
def test_the_average_is_torchs(norm: bool, tmp_path: Path) -> None:
    module = Net(norm=norm)
    swa = StochasticWeightAveraging(0.02, swa_epoch_start=2, annealing_epochs=2, annealing_strategy="linear")
    trainer = make_trainer(tmp_path, swa, max_epochs=5)
    trainer.fit(module, points())
    expected = [0.1, 0.1, 0.06, 0.02, 0.02]
    assert module.rates[: 5 * 3 : 3] == pytest.approx(expected)
    assert_same(weights(module), average_bare(module.rates[:15:3], 1, norm=norm), bits=False)
    assert (trainer.current_epoch, trainer.global_step, trainer.max_epochs) == (5, 15, 5)
    if norm:
        assert module.net[1].momentum == 0.3


def test_it_replaces_the_scheduler(tmp_path: Path) -> None:
    module = Net(gamma=0.5)
    swa = StochasticWeightAveraging(0.2, swa_epoch_start=3, annealing_epochs=1)
    make_trainer(tmp_path, swa, max_epochs=5).fit(module, points())
    assert module.rates[::3] == pytest.approx([0.1, 0.05, 0.025, 0.2, 0.2])
    assert (swa.swa_start, swa.swa_end) == (2, 4)


@pytest.mark.parametrize(("share", "start"), [(0.8, 7), (0.5, 4), (1.0, 9), (0.0, 0), (0.1, 0)])
def test_a_share_of_all_epochs(share: float, start: int, tmp_path: Path) -> None:
    swa = StochasticWeightAveraging(0.1, swa_epoch_start=share)
    make_trainer(tmp_path, swa, max_epochs=10).fit(Net(), points())
    assert swa.swa_start == start


def test_the_pass_for_batch_norm_leaves_no_trace(tmp_path: Path) -> None:
    module = Net(norm=True)
    calls: list[int] = []
    counting = LambdaCallback(on_train_batch_end=lambda *args: calls.append(1))
    swa = StochasticWeightAveraging(0.1, swa_epoch_start=1)
    trainer = make_trainer(tmp_path, swa, counting, max_epochs=2)
    trainer.fit(module, DataLoader(points().dataset, batch_size=4, shuffle=True))
    assert len(calls) == 6
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert module.net[1].num_batches_tracked == 3


def test_a_function_of_ones_own(tmp_path: Path) -> None:
    seen: list[int] = []

    def newest(average: Tensor, weight: Tensor, count: Tensor) -> Tensor:
        seen.append(int(count))
        return weight

    module, begun = Net(), []
    noting = LambdaCallback(on_train_epoch_start=lambda trainer, net: begun.append(weights(net)))
    swa = StochasticWeightAveraging(0.1, swa_epoch_start=1, avg_fn=newest)
    make_trainer(tmp_path, swa, noting, max_epochs=3).fit(module, points())
    assert_same(weights(module), begun[-1])
    assert seen == [1] * 4 + [2] * 4


def test_training_that_ends_before_keeps_its_weights(tmp_path: Path) -> None:
    module, plain = Net(), Net()
    swa = StochasticWeightAveraging(0.1, swa_epoch_start=2, annealing_epochs=0)
    make_trainer(tmp_path, swa, max_epochs=4, max_steps=6).fit(module, points())
    make_trainer(tmp_path, max_epochs=2).fit(plain, points())
    assert_same(weights(module), weights(plain))
    never = Net()
    make_trainer(tmp_path, StochasticWeightAveraging(0.1, swa_epoch_start=9), max_epochs=2).fit(
        never, points()
    )
    assert_same(weights(never), weights(plain))


def test_a_scheduler_of_steps_is_warned_of(tmp_path: Path) -> None:
    swa = StochasticWeightAveraging(0.1, swa_epoch_start=1)
    with pytest.warns(FulmenWarning, match="once per epoch"):
        make_trainer(tmp_path, swa).fit(Net(gamma=0.5, interval="step"), points())


@pytest.mark.parametrize(
    "arguments",
    [
        {"swa_lrs": 0.0},
        {"swa_lrs": "high"},
        {"swa_lrs": []},
        {"swa_lrs": [0.1, -0.1]},
        {"swa_epoch_start": 0},
        {"swa_epoch_start": 1.5},
        {"annealing_strategy": "cosine"},
        {"annealing_epochs": -1},
        {"avg_fn": 3},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_told_at_once(arguments: dict[str, Any]) -> None:
    given: dict[str, Any] = {"swa_lrs": 0.1, **arguments}
    with pytest.raises(ConfigError):
        StochasticWeightAveraging(**given)


def test_what_it_cannot_work_with(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="last epoch"):
        make_trainer(tmp_path, StochasticWeightAveraging(0.1), max_epochs=-1, max_steps=4).fit(
            Net(), points()
        )
    with pytest.raises(UsageError, match="2 learning rates"):
        make_trainer(tmp_path, StochasticWeightAveraging([0.1, 0.2])).fit(Net(), points())
    several = Net()
    several.automatic_optimization = False
    several.configure_optimizers = lambda: [torch.optim.SGD(several.parameters(), lr=0.1) for _ in "ab"]
    with pytest.raises(UsageError, match="2 and 0"):
        make_trainer(tmp_path, StochasticWeightAveraging(0.1)).fit(several, points())


# ------------------------------------------------------------------------------------------- running averages


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("decay", [None, 0.6])
def test_the_running_average_is_torchs(norm: bool, decay: float | None, tmp_path: Path) -> None:
    module, own = Net(norm=norm), Net(norm=norm)
    callback = WeightAveraging() if decay is None else EMAWeightAveraging(decay=decay)
    make_trainer(tmp_path, callback, max_epochs=3).fit(module, points(), one_point())
    average = AveragedModel(own, use_buffers=True, avg_fn=None if decay is None else get_ema_avg_fn(decay))
    optimizer, validated = own.configure_optimizers(), []
    for _ in range(3):
        for batch in points():
            step_bare(own, optimizer, batch)
            average.update_parameters(own)
        validated.append(weights(average.module))
    assert_same(weights(module), weights(average.module))
    for found, expected in zip(module.validated, validated, strict=True):
        assert_same(found, expected)


def test_buffers_need_not_be_averaged(tmp_path: Path) -> None:
    module, plain = Net(norm=True), Net(norm=True)
    make_trainer(tmp_path, EMAWeightAveraging(decay=0.5, use_buffers=False)).fit(
        module, points(), one_point()
    )
    make_trainer(tmp_path).fit(plain, points(), one_point())
    assert_same(dict(module.named_buffers()), dict(plain.named_buffers()))


def test_training_goes_on_with_its_own_weights(tmp_path: Path) -> None:
    seen: dict[str, list[dict[str, Tensor]]] = {"with": [], "without": []}
    for kind, callbacks in (("with", [EMAWeightAveraging(decay=0.5)]), ("without", [])):
        noting = LambdaCallback(on_train_epoch_end=lambda t, net, kind=kind: seen[kind].append(weights(net)))
        trainer = make_trainer(tmp_path, *callbacks, noting, num_sanity_val_steps=1)
        trainer.fit(Net(), points(), one_point())
    for one, other in zip(seen["with"], seen["without"], strict=True):
        assert_same(one, other)


def test_a_checkpoint_holds_both(tmp_path: Path) -> None:
    noted: list[dict[str, Tensor]] = []
    noting = LambdaCallback(on_train_epoch_end=lambda trainer, net: noted.append(weights(net)))
    saver = ModelCheckpoint(tmp_path, filename="x", save_last=True)
    module = Net()
    make_trainer(tmp_path, noting, saver, EMAWeightAveraging(decay=0.5)).fit(module, points(), one_point())
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert_same(saved["current_model_state"], noted[-1])
    assert_same(saved["state_dict"], weights(module))
    again = Net()
    make_trainer(tmp_path, EMAWeightAveraging()).validate(
        again, one_point(), ckpt_path=tmp_path / "last.ckpt", verbose=False
    )
    assert_same(weights(again), saved["state_dict"])


def test_an_error_in_a_validation_leaves_the_weights_of_training(tmp_path: Path) -> None:
    module, noted = Net(), []

    def fail(*args: Any) -> None:
        raise RuntimeError("in the validation")

    noting = LambdaCallback(
        on_train_batch_end=lambda trainer, net, *args: noted.append(weights(net)),
        on_validation_batch_end=fail,
    )
    trainer = make_trainer(tmp_path, EMAWeightAveraging(decay=0.5), noting)
    with pytest.raises(RuntimeError, match="in the validation"):
        trainer.fit(module, points(), one_point())
    assert_same(weights(module), noted[-1])


@pytest.mark.parametrize(
    ("arguments", "steps", "epochs"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6, 7], []),
        ({"update_every_n_steps": 3}, [0, 3, 6], []),
        ({"update_every_n_steps": 0}, [], []),
        ({"update_starting_at_step": 4, "update_every_n_steps": 3}, [6], []),
        ({"update_starting_at_epoch": 2}, [0, 1, 2, 3, 4, 5, 6, 7], [2, 3]),
        ({"update_starting_at_epoch": 0, "update_starting_at_step": 7}, [7], [0, 1, 2, 3]),
    ],
)
def test_when_the_moving_average_moves(
    arguments: dict[str, Any], steps: list[int], epochs: list[int]
) -> None:
    callback = EMAWeightAveraging(**arguments)
    assert [step for step in range(8) if callback.should_update(step_idx=step)] == steps
    assert [epoch for epoch in range(4) if callback.should_update(epoch_idx=epoch)] == epochs
    assert not callback.should_update()


def test_an_average_that_follows_epochs(tmp_path: Path) -> None:
    class OfEpochs(WeightAveraging):
        def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
            return epoch_idx is not None and epoch_idx >= 1

    ends: list[dict[str, Tensor]] = []
    noting = LambdaCallback(on_train_epoch_end=lambda trainer, net: ends.append(weights(net)))
    module = Net()
    make_trainer(tmp_path, OfEpochs(), noting, max_epochs=4).fit(module, points())
    mean = {name: torch.stack([end[name] for end in ends[1:]]).mean(0) for name in ends[0]}
    assert_same(weights(module), mean, bits=False)


def test_accumulated_batches_count_once(tmp_path: Path) -> None:
    class Counts(WeightAveraging):
        def __init__(self) -> None:
            super().__init__()
            self.steps: list[int] = []

        def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
            if step_idx is not None:
                self.steps.append(step_idx)
                return True
            return False

    callback = Counts()
    make_trainer(tmp_path, callback, max_epochs=2, accumulate_grad_batches=2).fit(Net(), points())
    assert callback.steps == [0, 1, 2, 3]


def test_what_is_saved_after_an_error_in_a_validation_holds_both(tmp_path: Path) -> None:
    """The saver is told of it before the weights are those of training again."""

    def fail(*args: Any) -> None:
        raise RuntimeError("in the validation")

    failing, saver = LambdaCallback(on_validation_batch_end=fail), OnExceptionCheckpoint(tmp_path, "x")
    module = Net()
    with pytest.raises(RuntimeError, match="in the validation"):
        make_trainer(tmp_path, saver, EMAWeightAveraging(decay=0.5), failing).fit(
            module, points(), one_point()
        )
    saved = torch.load(tmp_path / "x.ckpt", weights_only=True)
    assert_same(saved["current_model_state"], weights(module))
    assert not torch.equal(saved["state_dict"]["net.0.weight"], weights(module)["net.0.weight"])
