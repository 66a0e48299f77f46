"""Parts of a model that are frozen until a certain epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.base.report import FulmenWarning
from fulmen.callbacks import BackboneFinetuning, BaseFinetuning, LambdaCallback
from fulmen.callbacks.finetuning import multiplicative
from fulmen.errors import UsageError

from .scenarios import make_trainer


class TwoParts(pl.LightningModule):
    """A backbone with batch norm, and a head."""

    def __init__(self, *, careless: bool = False) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.backbone = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
        self.head = nn.Linear(4, 1)
        self.careless = careless

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return (self.head(self.backbone(batch[0])) - 1).square().mean()

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None: ...

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [p for p in self.parameters() if p.requires_grad or self.careless]
        return torch.optim.SGD(trained, lr=0.2, momentum=0.5)


def points() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    return DataLoader(TensorDataset(torch.randn(9, 3, generator=generator)), batch_size=3)


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor], part: str = "") -> bool:
    return all(torch.equal(one[name], other[name]) for name in one if name.startswith(part))


def watch_rates(rates: list[list[float]]) -> LambdaCallback:
    """Notes the learning rates of all groups at the end of each epoch."""

    def note(trainer: pl.Trainer, module: Any) -> None:
        rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    return LambdaCallback(on_train_epoch_end=note)


def train_bare(epochs: int, unfreeze: int, *, ratio: float = 0.1) -> dict[str, Tensor]:
    """A plain loop: the backbone joins at an epoch, and its learning rate doubles up to the head's."""
    module = TwoParts()
    for parameter in module.backbone[0].parameters():
        parameter.requires_grad = False
    optimizer = module.configure_optimizers()
    for epoch in range(epochs):
        if epoch == unfreeze:
            frozen = list(module.backbone[0].parameters())
            for parameter in frozen:
                parameter.requires_grad = True
            optimizer.add_param_group({"params": frozen, "lr": 0.2 * ratio})
        elif epoch > unfreeze:
            optimizer.param_groups[1]["lr"] = min(2 * optimizer.param_groups[1]["lr"], 0.2)
        for index, batch in enumerate(points()):
            optimizer.zero_grad()
            module.training_step(batch, index).backward()
            optimizer.step()
    return weights(module)


def test_a_backbone_joins_as_in_a_plain_loop(tmp_path: Path) -> None:
    module, rates = TwoParts(), []
    callback = BackboneFinetuning(2, verbose=True)
    make_trainer(tmp_path, callback, watch_rates(rates), max_epochs=7).fit(module, points())
    assert same(weights(module), train_bare(7, 2))
    expected = [[0.2], [0.2], [0.2, 0.02], [0.2, 0.04], [0.2, 0.08], [0.2, 0.16], [0.2, 0.2]]
    assert [pytest.approx(row) for row in rates] == expected
    assert callback.previous_backbone_lr == 0.2


def test_a_frozen_backbone_is_not_touched(tmp_path: Path) -> None:
    module = TwoParts()
    before = weights(module)
    make_trainer(tmp_path, BackboneFinetuning(9, train_bn=False), max_epochs=2).fit(module, points())
    assert same(before, weights(module), "backbone")
    assert not same(before, weights(module), "head")


def test_batch_norm_is_trained_all_the_time_unless_it_is_not_to_be(tmp_path: Path) -> None:
    module = TwoParts()
    before = weights(module)
    make_trainer(tmp_path, BackboneFinetuning(9), max_epochs=1).fit(module, points())
    assert same(before, weights(module), "backbone.0")
    assert not same(before, weights(module), "backbone.1.weight")
    assert not same(before, weights(module), "backbone.1.running_mean")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"backbone_initial_lr": 0.07}, [0.07, 0.14]),
        ({"backbone_initial_ratio_lr": 0.5}, [0.1, 0.2]),
        ({"backbone_initial_lr": 0.15}, [0.15, 0.2]),
        ({"backbone_initial_lr": 0.15, "should_align": False}, [0.15, 0.3]),
        ({"backbone_initial_lr": 0.1, "lambda_func": lambda epoch: 0.5 * epoch}, [0.1, 0.15]),
    ],
)
def test_the_learning_rate_of_the_backbone(
    arguments: dict[str, Any], expected: list[float], tmp_path: Path
) -> None:
    rates: list[list[float]] = []
    callback = BackboneFinetuning(1, **arguments)
    make_trainer(tmp_path, callback, watch_rates(rates), max_epochs=3).fit(TwoParts(), points())
    assert [row[1] for row in rates[1:]] == pytest.approx(expected)


def test_the_factor_is_two() -> None:
    assert [multiplicative(epoch) for epoch in (0, 7)] == [2.0, 2.0]


def test_a_second_fit_goes_on_with_the_backbone(tmp_path: Path) -> None:
    module, rates = TwoParts(), []
    trainer = make_trainer(tmp_path, BackboneFinetuning(1), watch_rates(rates), max_epochs=2)
    trainer.fit(module, points())
    before = weights(module)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(module, points())
    assert [len(row) for row in rates] == [1, 2, 2]
    assert not same(before, weights(module), "backbone.0")


def test_testing_freezes_nothing(tmp_path: Path) -> None:
    module = TwoParts()
    make_trainer(tmp_path, BackboneFinetuning(1)).test(module, points(), verbose=False)
    assert all(parameter.requires_grad for parameter in module.parameters())


class HeadThenNorm(BaseFinetuning):
    """The head alone, then the norm, then the rest."""

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.backbone, train_bn=False)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.backbone[1], optimizer)
        if epoch == 2:
            self.unfreeze_and_add_param_group([pl_module.backbone[0]], optimizer, lr=0.03)


def test_a_schedule_of_the_users_own(tmp_path: Path) -> None:
    rates: list[list[float]] = []
    module = TwoParts()
    make_trainer(tmp_path, HeadThenNorm(), watch_rates(rates)).fit(module, points())
    assert rates == [[0.2], [0.2, 0.02], [0.2, 0.02, 0.03]]
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_an_optimizer_that_was_given_everything_is_told_of(tmp_path: Path) -> None:
    rates: list[list[float]] = []
    with pytest.warns(FulmenWarning, match="requires_grad"):
        make_trainer(tmp_path, BackboneFinetuning(1), watch_rates(rates)).fit(
            TwoParts(careless=True), points()
        )
    assert rates[0] == [0.2]


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    headless = TwoParts()
    del headless.backbone
    with pytest.raises(UsageError, match="no part `backbone`"):
        make_trainer(tmp_path, BackboneFinetuning(1)).fit(headless, points())
    with pytest.raises(UsageError, match="what to freeze"):
        make_trainer(tmp_path, BaseFinetuning()).fit(TwoParts(), points())

    class Freezes(BaseFinetuning):
        def freeze_before_training(self, pl_module: Any) -> None: ...

    with pytest.raises(UsageError, match="what to unfreeze"):
        make_trainer(tmp_path, Freezes()).fit(TwoParts(), points())


# ------------------------------------------------------------------------------------------------- the tools


class OwnParameter(nn.Module):
    """A parameter beside a part with parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.part = nn.Linear(2, 2)


@pytest.fixture
def nested() -> nn.ModuleDict:
    return nn.ModuleDict({"a": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), "b": OwnParameter()})


def test_flattened_modules_have_no_parts_or_parameters_of_their_own(nested: nn.ModuleDict) -> None:
    leaves = [nested["a"][0], nested["a"][1], nested["b"], nested["b"].part]  # pyright: ignore[reportIndexIssue]
    assert BaseFinetuning.flatten_modules(nested) == leaves
    assert BaseFinetuning.flatten_modules([nested["a"], [nested["b"]]]) == leaves


def test_each_parameter_is_found_once(nested: nn.ModuleDict) -> None:
    found = list(BaseFinetuning.filter_params(nested))
    assert len(found) == len({id(p) for p in found}) == len(list(nested.parameters()))
    assert len(list(BaseFinetuning.filter_params(nested, train_bn=False))) == len(found) - 2
    assert not list(BaseFinetuning.filter_params(nested, requires_grad=False))


def test_freezing_and_unfreezing(nested: nn.ModuleDict) -> None:
    norm: Any = nested["a"][1]  # pyright: ignore[reportIndexIssue]
    BaseFinetuning.freeze(nested)
    assert [p for p in nested.parameters() if p.requires_grad] == list(norm.parameters())
    assert norm.track_running_stats
    BaseFinetuning.freeze(nested, train_bn=False)
    assert not any(p.requires_grad for p in nested.parameters())
    assert not norm.track_running_stats
    BaseFinetuning.make_trainable([nested["a"]])
    assert norm.track_running_stats
    assert {p.requires_grad for p in nested["a"].parameters()} == {True}
    assert {p.requires_grad for p in nested["b"].parameters()} == {False}
    BaseFinetuning.make_trainable(nested["b"])
    BaseFinetuning.freeze_module(nested["b"])
    assert [name for name, p in nested["b"].named_parameters() if not p.requires_grad] == ["scale"]


def test_a_new_group_begins_at_a_tenth_or_as_told() -> None:
    head, body, other = nn.Linear(2, 1), nn.Linear(2, 2), nn.Linear(2, 2)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.5)
    for module in (body, other):
        BaseFinetuning.freeze(module)
    BaseFinetuning.unfreeze_and_add_param_group(body, optimizer)
    BaseFinetuning.unfreeze_and_add_param_group(other, optimizer, lr=0.3, initial_denom_lr=7)
    BaseFinetuning.unfreeze_and_add_param_group(other, optimizer)  # there is nothing left to add
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.05, 0.3]
    assert optimizer.param_groups[1]["params"] == list(body.parameters())


def test_a_training_of_lightnings_goes_on(tmp_path: Path) -> None:
    """Its callback keeps the groups, and does not say what was frozen."""
    whole = TwoParts()
    make_trainer(tmp_path, BackboneFinetuning(1), max_epochs=4).fit(whole, points())
    half = make_trainer(tmp_path, BackboneFinetuning(1), max_epochs=3)
    half.fit(TwoParts(), points())
    half.save_checkpoint(tmp_path / "half.ckpt")
    checkpoint = torch.load(tmp_path / "half.ckpt", weights_only=True)
    del checkpoint["fulmen"]
    state = checkpoint["callbacks"]["BackboneFinetuning"]
    checkpoint["callbacks"]["BackboneFinetuning"] = {
        name: state[name] for name in ("internal_optimizer_metadata", "previous_backbone_lr")
    }
    torch.save(checkpoint, tmp_path / "other.ckpt")
    module = TwoParts()
    trainer = make_trainer(tmp_path, BackboneFinetuning(1), max_epochs=4)
    trainer.fit(module, points(), ckpt_path=tmp_path / "other.ckpt")
    assert same(weights(module), weights(whole))
