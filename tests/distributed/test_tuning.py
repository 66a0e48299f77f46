"""What two processes find out, average and prune together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fulmen as pl
from fulmen.callbacks import BatchSizeFinder, LearningRateFinder, ModelPruning, StochasticWeightAveraging
from fulmen.tuner import Tuner

from .ranks import RankError, Ranks
from .test_ddp import FEATURES, QUIET, loader_of


class Net(pl.LightningModule):
    """With batch norm if need be."""

    def __init__(self, *, norm: bool = False) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.net = nn.Sequential(
            nn.Linear(FEATURES, 4), nn.BatchNorm1d(4) if norm else nn.Tanh(), nn.Linear(4, 1)
        )
        self.lr, self.batch_size = 0.1, 4

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return (self.net(batch[0]).squeeze(1) - batch[1]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def make_trainer(devices: int, *callbacks: pl.Callback) -> pl.Trainer:
    strategy = "ddp" if devices > 1 else "auto"
    return pl.Trainer(**QUIET, strategy=strategy, devices=devices, max_epochs=2, callbacks=list(callbacks))


def find(rank: int, devices: int, by_callback: bool) -> tuple[list[float], float, list[float]]:
    """Losses of the search, what was set, and the weights after a fit with it."""
    finder = LearningRateFinder(min_lr=1e-4, num_training_steps=25)
    trainer = make_trainer(devices, *([finder] if by_callback else []))
    module, loader = Net(), loader_of("in order", 16, 8 // devices)
    found = finder.optimal_lr
    if not by_callback:
        found = Tuner(trainer).lr_find(module, loader, min_lr=1e-4, num_training=25)
    trainer.fit(module, loader)
    found = found or finder.optimal_lr
    assert found is not None
    return found.results["loss"], module.lr, [n for p in module.parameters() for n in p.flatten().tolist()]


@pytest.mark.parametrize("by_callback", [False, True])
def test_a_learning_rate(by_callback: bool, two_ranks: Ranks) -> None:
    losses, rate, weights = find(0, 1, by_callback)
    for found in two_ranks(find, 2, by_callback):
        assert found[0] == pytest.approx(losses, rel=1e-4)
        assert found[1] == pytest.approx(rate)
        assert found[2] == pytest.approx(weights, rel=1e-4, abs=1e-5)


def find_size(rank: int) -> None:
    make_trainer(2, BatchSizeFinder()).fit(Net(), loader_of("in order", 16, 4))


def test_no_batch_size(two_ranks: Ranks) -> None:
    with pytest.raises(RankError, match="single process"):
        two_ranks(find_size)


def average(rank: int) -> dict[str, Tensor]:
    module = Net(norm=True)
    make_trainer(2, StochasticWeightAveraging(0.05, swa_epoch_start=1)).fit(
        module, loader_of("in order", 16, 4)
    )
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_an_average_with_batch_norm_is_the_same_in_both(two_ranks: Ranks) -> None:
    one, other = two_ranks(average)
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0.0, atol=0.0)
    module = Net(norm=True)
    module.load_state_dict(one)
    batches = [batch[0] for batch in loader_of("in order", 16, 8)]
    hidden = torch.stack([module.net[0](x) for x in batches])
    torch.testing.assert_close(one["net.1.running_mean"], hidden.mean((0, 1)), rtol=1e-5, atol=1e-6)


def prune(rank: int) -> list[Tensor]:
    module = Net()
    pruning = ModelPruning("random_unstructured", amount=0.3, make_pruning_permanent=False)
    make_trainer(2, pruning).fit(module, loader_of("in order", 16, 4))
    return [buffer for name, buffer in module.named_buffers() if "mask" in name]


def test_what_is_pruned_at_random_is_the_same_in_both(two_ranks: Ranks) -> None:
    one, other = two_ranks(prune)
    assert sum(int((mask == 0).sum()) for mask in one) > 5
    assert all(torch.equal(mask, shared) for mask, shared in zip(one, other, strict=True))
