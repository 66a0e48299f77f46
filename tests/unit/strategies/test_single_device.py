"""One model on one device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fulmen as pl
from fulmen.errors import ConfigError
from fulmen.strategies import SingleDeviceStrategy, Strategy


def test_it_is_alone() -> None:
    strategy = SingleDeviceStrategy()
    assert strategy.root_device == torch.device("cpu")
    assert strategy.is_global_zero
    assert (strategy.world.size, strategy.world.rank) == (1, 0)
    assert strategy.no_sync() is None
    tensor, value = torch.ones(2), object()
    for op in ("sum", "mean", "min", "max"):
        assert strategy.reduce(tensor, op).equal(tensor)
    assert strategy.broadcast(value) is value
    strategy.barrier("nobody else")


def test_setup_puts_the_parameters_where_they_train() -> None:
    module = nn.Linear(1, 1)
    SingleDeviceStrategy("meta").setup(module)
    assert module.weight.device.type == "meta"


def test_the_step_is_the_modules_own() -> None:
    def step() -> None:
        pass

    assert SingleDeviceStrategy().wrap_step(nn.Linear(1, 1), step) is step


def test_clip_norm_is_torchs() -> None:
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    norm = SingleDeviceStrategy().clip_norm(parameters, 1.0)
    assert norm.item() == 5
    total = sum(p.grad.square().sum() for p in parameters[:2] if p.grad is not None)
    assert float(total) == pytest.approx(1.0, rel=1e-5)


def test_save_load_remove(tmp_path: Path) -> None:
    strategy, path = SingleDeviceStrategy(), str(tmp_path / "a.ckpt")
    strategy.save({"a": torch.ones(1)}, path)
    assert strategy.load(path)["a"] == 1
    strategy.remove(path)
    assert not list(tmp_path.iterdir())


def test_the_optimizers_state_is_its_own() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    assert SingleDeviceStrategy().optimizer_state(optimizer) == optimizer.state_dict()


def test_strategy_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Strategy()  # pyright: ignore[reportAbstractUsage]


# --------------------------------------------------------------------------------------------- as an argument


@pytest.mark.parametrize(
    "given", ["auto", "single_device", SingleDeviceStrategy()], ids=["auto", "name", "object"]
)
def test_the_trainers_argument(given: Any) -> None:
    trainer = pl.Trainer(accelerator="cpu", strategy=given, logger=False)
    assert isinstance(trainer.strategy, SingleDeviceStrategy)
    assert isinstance(given, str) or trainer.strategy is given


@pytest.mark.parametrize("given", ["single_devise", 3, SingleDeviceStrategy], ids=repr)
def test_a_strategy_that_does_not_exist(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"Unknown strategy(.|\n)*expected: auto, single_device"):
        pl.Trainer(accelerator="cpu", strategy=given)


def test_the_nearest_name_is_suggested() -> None:
    with pytest.raises(ConfigError, match="did you mean 'single_device'"):
        pl.Trainer(accelerator="cpu", strategy="single_devise")
