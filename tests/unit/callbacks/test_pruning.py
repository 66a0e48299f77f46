"""Weights that are removed while training goes on, against torch's own tools."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.callbacks import LambdaCallback, ModelCheckpoint, ModelPruning
from fulmen.errors import ConfigError, UsageError

from .scenarios import make_trainer


class Net(pl.LightningModule):
    """Two layers, and a norm between them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.first, self.norm, self.last = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return (self.last(self.norm(self.first(batch[0]))) - 1).square().mean()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None: ...

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    def places(self, *names: str) -> list[tuple[nn.Module, str]]:
        return [(part, name) for name in names for part in (self.first, self.norm, self.last)]


def points() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    return DataLoader(TensorDataset(torch.randn(12, 3, generator=generator)), batch_size=4)


def one_point() -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.zeros(1, 3)))


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def fit(
    root: Path, module: Net, *callbacks: pl.Callback, epochs: int = 3, **options: Any
) -> dict[str, Tensor]:
    make_trainer(root, *callbacks, max_epochs=epochs, **options).fit(module, points(), one_point())
    return weights(module)


def train_bare(module: Net, epochs: int, after_epoch: Any) -> Net:
    optimizer = module.configure_optimizers()
    for epoch in range(epochs):
        for index, batch in enumerate(points()):
            optimizer.zero_grad()
            module.training_step(batch, index).backward()
            optimizer.step()
        after_epoch(epoch)
    return module


def zeros(found: dict[str, Tensor]) -> dict[str, int]:
    return {name: int((value == 0).sum()) for name, value in found.items() if "weight" in name}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0.0, atol=0.0)


def test_all_parameters_are_compared_with_one_another(tmp_path: Path) -> None:
    own = Net()
    places = own.places("weight", "bias")
    train_bare(own, 3, lambda epoch: prune.global_unstructured(places, prune.L1Unstructured, amount=0.2))
    for place in places:
        prune.remove(*place)
    pruning = ModelPruning("l1_unstructured", amount=0.2, use_lottery_ticket_hypothesis=False)
    found = fit(tmp_path, Net(), pruning)
    expected = weights(own)
    assert_same({name: found[name] for name in expected}, expected)


@pytest.mark.parametrize("method", ["l1_unstructured", prune.l1_unstructured, prune.L1Unstructured])
def test_each_parameter_for_itself(method: Any, tmp_path: Path) -> None:
    own = Net()

    def act(epoch: int) -> None:
        for part, name in own.places("weight"):
            prune.l1_unstructured(part, name, amount=0.25)

    train_bare(own, 2, act)
    for place in own.places("weight"):
        prune.remove(*place)
    pruning = ModelPruning(
        method,
        use_global_unstructured=False,
        amount=0.25,
        parameter_names=["weight"],
        use_lottery_ticket_hypothesis=False,
    )
    found = fit(tmp_path, Net(), pruning, epochs=2)
    assert_same({name: found[name] for name in weights(own)}, weights(own))


def test_structured_methods_remove_whole_rows(tmp_path: Path) -> None:
    module = Net()
    pruning = ModelPruning(
        "ln_structured",
        [(module.first, "weight")],
        use_global_unstructured=False,
        amount=2,
        pruning_dim=0,
        pruning_norm=2,
        use_lottery_ticket_hypothesis=False,
    )
    found = fit(tmp_path, module, pruning, epochs=1)
    assert (found["first.weight"] == 0).all(1).sum() == 2
    assert (found["first.weight"] == 0).sum() == 6
    assert (found["last.weight"] == 0).sum() == 0


def test_the_amount_follows_the_epoch(tmp_path: Path) -> None:
    pruning = ModelPruning(
        "random_unstructured",
        parameter_names=["weight"],
        amount=lambda epoch: [0, 3, 4][epoch],
        apply_pruning=lambda epoch: epoch != 2,
        use_lottery_ticket_hypothesis=False,
    )
    assert sum(zeros(fit(tmp_path, Net(), pruning)).values()) == 3


def test_what_is_left_begins_again_once(tmp_path: Path) -> None:
    module = Net()
    initial = module.first.weight.detach().clone()
    seen: list[Tensor] = []

    def look(trainer: Any, net: Any) -> None:
        seen.append(net.first.weight_orig.detach().clone())

    pruning = ModelPruning("l1_unstructured", amount=0.1)
    fit(tmp_path, module, pruning, LambdaCallback(on_train_epoch_end=look))
    assert [torch.equal(value, initial) for value in seen] == [True, False, False]


def test_or_whenever_a_function_says_so(tmp_path: Path) -> None:
    module = Net()
    initial = module.first.weight.detach().clone()
    seen: list[Tensor] = []
    pruning = ModelPruning(
        "l1_unstructured", amount=0.1, use_lottery_ticket_hypothesis=lambda epoch: epoch != 1
    )
    looking = LambdaCallback(
        on_train_epoch_end=lambda t, net: seen.append(net.first.weight_orig.detach().clone())
    )
    fit(tmp_path, module, pruning, looking)
    assert [torch.equal(value, initial) for value in seen] == [True, False, True]


def test_or_at_values_that_are_drawn_anew(tmp_path: Path) -> None:
    module = Net()
    initial = module.first.weight.detach().clone()
    seen: list[Tensor] = []
    pruning = ModelPruning("l1_unstructured", amount=0.1, resample_parameters=True)
    looking = LambdaCallback(
        on_train_epoch_end=lambda t, net: seen.append(net.first.weight_orig.detach().clone())
    )
    fit(tmp_path, module, pruning, looking, epochs=2)
    assert not any(torch.equal(value, initial) for value in seen)
    bound = 3**-0.5  # of the uniform distribution that nn.Linear draws from, for three inputs
    assert all(value.abs().max() <= bound for value in seen)


@pytest.mark.parametrize("permanent", [True, False])
def test_masks_go_or_stay(permanent: bool, tmp_path: Path) -> None:
    pruning = ModelPruning("l1_unstructured", amount=0.3, make_pruning_permanent=permanent)
    found = fit(tmp_path, Net(), pruning, ModelCheckpoint(tmp_path, filename="x"))
    assert ("first.weight" in found) is permanent
    assert ("first.weight_mask" in found) is not permanent
    saved = torch.load(tmp_path / "x.ckpt", weights_only=True)["state_dict"]
    assert saved.keys() == Net().state_dict().keys()
    plain = found["first.weight"] if permanent else found["first.weight_orig"] * found["first.weight_mask"]
    assert torch.equal(saved["first.weight"], plain)
    Net().load_state_dict(saved)


def test_after_each_validation(tmp_path: Path) -> None:
    pruning = ModelPruning(
        "l1_unstructured",
        amount=1,
        parameter_names=["weight"],
        use_lottery_ticket_hypothesis=False,
        prune_on_train_epoch_end=False,
    )
    module = Net()
    trainer = make_trainer(tmp_path, pruning, max_epochs=2, val_check_interval=1, num_sanity_val_steps=1)
    trainer.fit(module, points(), one_point())
    assert sum(zeros(weights(module)).values()) == 6


def test_a_subclass_may_leave_some_out(tmp_path: Path) -> None:
    class ButTheLast(ModelPruning):
        def filter_parameters_to_prune(self, parameters_to_prune: Any = ()) -> Any:
            return [(part, name) for part, name in parameters_to_prune if part.out_features > 1]

    module = Net()
    given = [(module.first, "weight"), (module.last, "weight")]
    found = fit(tmp_path, module, ButTheLast("l1_unstructured", given, amount=0.5), epochs=1)
    assert zeros(found) == {"first.weight": 6, "norm.weight": 0, "last.weight": 0}


def test_how_much_is_pruned_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options: dict[str, Any] = {
        "amount": 4,
        "parameter_names": ["weight"],
        "use_lottery_ticket_hypothesis": False,
    }
    with caplog.at_level(logging.INFO, "fulmen"):
        fit(tmp_path, Net(), ModelPruning("l1_unstructured", verbose=2, **options), epochs=2)
    told = [record.getMessage() for record in caplog.records if "pruned" in record.getMessage()]
    assert told[0] == "l1_unstructured: pruned 0/20 (0.00%) -> 4/20 (20.00%)"
    assert told[4] == "l1_unstructured: pruned 4/20 (20.00%) -> 8/20 (40.00%)"
    assert [line.split(".")[-1] for line in told[1:4]] == ["weight"] * 3


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("l2_unstructured", {}),
        ("ln_structured", {"pruning_dim": 0, "pruning_norm": 1}),
        ("ln_structured", {"use_global_unstructured": False, "pruning_dim": 0}),
        ("random_structured", {"use_global_unstructured": False}),
        (prune.l1_unstructured, {}),
        (prune.LnStructured, {}),
        (5, {"use_global_unstructured": False}),
        ("l1_unstructured", {"amount": 1.5}),
        ("l1_unstructured", {"amount": -1}),
        ("l1_unstructured", {"amount": "half"}),
        ("l1_unstructured", {"verbose": 3}),
    ],
)
def test_what_makes_no_sense_is_told_at_once(method: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ModelPruning(method, **arguments)


def test_what_is_not_there_cannot_be_pruned(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to prune"):
        fit(tmp_path, Net(), ModelPruning("l1_unstructured", parameter_names=["kernel"]))
    with pytest.raises(UsageError, match="no part of the model"):
        fit(tmp_path, Net(), ModelPruning("l1_unstructured", [(nn.Linear(2, 2), "weight")]))
