"""Two processes train, score and predict as one does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, WeightedRandomSampler

import fulmen as pl
from fulmen.metrics import BinaryAUROC, MeanMetric, MetricCollection, MinMetric

from .ranks import RankError, Ranks

FEATURES = 3
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Numbered(Dataset[tuple[Tensor, Tensor, int]]):
    """Samples that know their number."""

    def __init__(self, length: int) -> None:
        generator = torch.Generator().manual_seed(3)
        self.x = torch.randn(length, FEATURES, generator=generator)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        return self.x[index], self.x[index].sum(), index


class Halves(BatchSampler):
    """A user's own batches: first the even numbers, then the odd ones."""

    def __init__(self, length: int, size: int) -> None:
        self.length, self.size = length, size

    def __iter__(self) -> Iterator[list[int]]:
        numbers = [*range(0, self.length, 2), *range(1, self.length, 2)]
        for start in range(0, self.length, self.size):
            yield numbers[start : start + self.size]

    def __len__(self) -> int:
        return -(-self.length // self.size)


def loader_of(kind: str, length: int, batch_size: int, **options: Any) -> DataLoader:
    data = Numbered(length)
    if kind == "weighted":
        sampler = WeightedRandomSampler([1.0 + i for i in range(length)], length)
        return DataLoader(data, batch_size, sampler=sampler, **options)
    if kind == "own batches":
        return DataLoader(data, batch_sampler=Halves(length, batch_size), **options)
    if kind == "generator":
        return DataLoader(
            data, batch_size, shuffle=True, generator=torch.Generator().manual_seed(9), **options
        )
    return DataLoader(data, batch_size, shuffle=kind == "shuffled", **options)


class Regression(pl.LightningModule):
    """Remembers which samples each step saw, and the losses."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(FEATURES, 4), nn.Tanh(), nn.Dropout(dropout), nn.Linear(4, 1))
        self.steps: list[tuple[int, list[int]]] = []
        self.losses: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y, numbers = batch
        loss = nn.functional.mse_loss(self.net(x).squeeze(1), y)
        self.steps.append((self.trainer.current_epoch, numbers.tolist()))
        self.losses.append(loss.item())
        self.log("loss", loss, on_step=True, on_epoch=True, sync_dist=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def weights(self) -> Tensor:
        return torch.cat([weight.detach().flatten() for weight in self.parameters()])


def trained(rank: int, kind: str, batch_size: int, devices: int, options: dict[str, Any]) -> Any:
    """Weights, the samples and the loss of each step, and what was logged."""
    pl.seed_everything(5, verbose=False)
    module = Regression()
    trainer = pl.Trainer(devices=devices, max_epochs=2, log_every_n_steps=1, **QUIET, **options)
    trainer.fit(module, loader_of(kind, 48, batch_size))
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    return module.weights(), module.steps, module.losses, logged


KINDS = ["in order", "shuffled", "weighted", "generator"]


@pytest.mark.parametrize("kind", [*KINDS, "own batches"])
def test_two_processes_train_as_one_with_batches_twice_as_large(kind: str, two_ranks: Ranks) -> None:
    (weights, steps, losses, logged), (others, more, more_losses, also) = two_ranks(trained, kind, 8, 2, {})
    alone, whole, whole_losses, expected = trained(0, kind, 16, 1, {})
    if kind == "own batches":  # of which each process gets every second one
        alone, whole, whole_losses, expected = trained(0, kind, 8, 1, {"accumulate_grad_batches": 2})
        whole = [(epoch, a + b) for (epoch, a), (_, b) in zip(whole[::2], whole[1::2], strict=True)]
        whole_losses = [(a + b) / 2 for a, b in zip(whole_losses[::2], whole_losses[1::2], strict=True)]
    assert torch.equal(weights, others)
    torch.testing.assert_close(weights, alone, rtol=1e-6, atol=1e-6)
    together = [(epoch, sorted(a + b)) for (epoch, a), (_, b) in zip(steps, more, strict=True)]
    assert together == [(epoch, sorted(numbers)) for epoch, numbers in whole]
    means = [(a + b) / 2 for a, b in zip(losses, more_losses, strict=True)]
    assert means == pytest.approx(whole_losses, rel=1e-5)
    assert logged == also
    assert logged["loss_epoch"] == pytest.approx(expected["loss_epoch"], rel=1e-5)


def test_accumulated_gradients_of_two_processes(two_ranks: Ranks) -> None:
    (weights, *_), (others, *_) = two_ranks(trained, "shuffled", 4, 2, {"accumulate_grad_batches": 2})
    alone, *_ = trained(0, "shuffled", 16, 1, {})
    assert torch.equal(weights, others)
    torch.testing.assert_close(weights, alone, rtol=1e-6, atol=1e-6)


def dropped(rank: int) -> tuple[list[float], list[float]]:
    pl.seed_everything(5, verbose=False)
    module = Regression(dropout=0.5)
    trainer = pl.Trainer(devices=2, max_epochs=1, use_distributed_sampler=False, **QUIET)
    trainer.fit(module, loader_of("in order", 8, 8))  # the same batch for both
    return module.losses, module.weights().tolist()


def test_each_process_draws_its_own_dropout(two_ranks: Ranks) -> None:
    (first, weights), (second, others) = two_ranks(dropped)
    assert first != second
    assert weights == others


# ------------------------------------------------------------------------------------------------- evaluation


class Scores(pl.LightningModule):
    """Counts samples, and scores them in all ways."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics = MetricCollection({"area": BinaryAUROC(), "least": MinMetric(), "mean": MeanMetric()})
        self.alone = MeanMetric()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y, numbers = batch
        self.log("count", float(len(y)), reduce_fx="sum")
        self.log("mean_y", y.mean())
        self.log("least_y", y.min(), reduce_fx="min")
        self.log("most_y", y.max(), reduce_fx="max")
        self.log("median_of_numbers", numbers.float().mean(), reduce_fx=torch.median, batch_size=1)
        self.metrics["area"].update(x[:, 0].sigmoid(), (y > 0).long())
        self.metrics["least"].update(y)
        self.metrics["mean"].update(y)
        self.log_dict(self.metrics)
        self.alone(y)
        self.log("alone", self.alone)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return batch[2] * 10


CASES = [
    (length, size, workers, kind)
    for length, size, workers, kind in [
        (1, 4, 0, "in order"), (2, 1, 0, "in order"), (3, 2, 0, "shuffled"), (5, 8, 0, "in order"),
        (17, 4, 0, "shuffled"), (33, 8, 0, "in order"), (40, 8, 0, "own batches"), (31, 3, 0, "in order"),
        (30, 4, 2, "in order"), (31, 4, 1, "shuffled"),
    ]
]  # fmt: skip


def scored(rank: int, devices: int, length: int, size: int, workers: int, kind: str) -> Any:
    pl.seed_everything(2, verbose=False)
    trainer = pl.Trainer(devices=devices, **QUIET)
    options: dict[str, Any] = {"num_workers": workers}
    return trainer.validate(Scores(), loader_of(kind, length, size, **options), verbose=False)


@pytest.mark.filterwarnings("ignore:.*before `update`", "ignore:A class has no")
@pytest.mark.parametrize(("length", "size", "workers", "kind"), CASES)
def test_each_sample_counts_once(length: int, size: int, workers: int, kind: str, two_ranks: Ranks) -> None:
    expected = scored(0, 1, length, size, 0, kind)
    assert expected[0]["count"] == length
    for found in two_ranks(scored, 2, length, size, workers, kind):
        assert found[0].keys() == expected[0].keys()
        for name, value in expected[0].items():
            if name != "median_of_numbers" or length > size:  # a rank without a batch does not know it
                assert found[0][name] == pytest.approx(value, rel=1e-6, nan_ok=True), name


class LogsAtTheEnd(Regression):
    """Is validated on fewer batches than there are ranks, and logs at the end as well."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("mean", batch[1].mean())

    def on_validation_epoch_end(self) -> None:
        self.log("ended", 1.0)


def validated_again(rank: int) -> list[dict[str, float]]:
    trainer = pl.Trainer(devices=2, max_epochs=3, **QUIET)
    trainer.fit(LogsAtTheEnd(), loader_of("in order", 8, 2), loader_of("in order", 2, 2))
    return [{name: trainer.callback_metrics[name].item() for name in ("mean", "ended")}]


def test_a_rank_without_a_batch_is_there_in_each_validation(two_ranks: Ranks) -> None:
    mean = Numbered(2).x.sum(1).mean().item()
    for (found,) in two_ranks(validated_again):
        assert found == {"mean": pytest.approx(mean), "ended": 1.0}


def predicted(rank: int, devices: int, length: int, size: int) -> list[list[int]]:
    trainer = pl.Trainer(devices=devices, **QUIET)
    made = trainer.predict(Scores(), loader_of("in order", length, size))
    return [batch.tolist() for batch in made or []]


@pytest.mark.parametrize(("length", "size"), [(1, 4), (10, 3), (16, 4), (17, 2)])
def test_predictions_are_in_order_on_rank_0(length: int, size: int, two_ranks: Ranks) -> None:
    found, _ = two_ranks(predicted, 2, length, size)
    assert found == predicted(0, 1, length, size)


# ---------------------------------------------------------------------------------------------------- logging


class LogsOnOneRank(Regression):
    """Logs something that only one rank has."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.where == "step" and self.global_rank == 1:
            self.log("only_there", 1.0)
        if self.where == "epoch" and self.global_rank == 1:
            self.log("only_there", 1.0, on_step=False, on_epoch=True)
        if self.where == "allowed" and self.global_rank == 0:
            self.log("only_here", 1.0, rank_zero_only=True)
        return super().training_step(batch, batch_idx)


def logs(rank: int, where: str) -> Any:
    trainer = pl.Trainer(devices=2, max_epochs=1, log_every_n_steps=1, **QUIET)
    trainer.fit(LogsOnOneRank(where), loader_of("in order", 16, 4))
    return sorted(trainer.callback_metrics)


@pytest.mark.parametrize("where", ["step", "epoch"])
def test_what_only_some_ranks_log_is_an_error(where: str, two_ranks: Ranks) -> None:
    with pytest.raises(RankError) as caught:
        two_ranks(logs, where)
    said = str(caught.value)
    assert "Rank 0:" in said
    assert "Rank 1:" in said
    assert "'only_there' in `training_step` (test_ddp.py:" in said
    assert "not on rank 0" in said


def test_what_is_for_rank_0_alone_is_none(two_ranks: Ranks) -> None:
    here, there = two_ranks(logs, "allowed")
    assert here == ["loss", "loss_epoch", "loss_step", "only_here"]
    assert there == ["loss", "loss_epoch", "loss_step"]


# ---------------------------------------------------------------------------------------- manual optimization


class Adversaries(pl.LightningModule):
    """Two networks that train in turns; each step uses some of the weights only."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.maker, self.judge = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, 1)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        x, _, _ = batch
        for network, sign in zip(self.optimizers(), (1, -1), strict=True):
            self.toggle_optimizer(network)
            loss = sign * (self.judge(self.maker(x)).mean() - self.judge(x).square().mean())
            network.zero_grad()
            self.manual_backward(loss)
            self.clip_gradients(network, 0.5)
            network.step()
            self.untoggle_optimizer(network)

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(part.parameters(), lr=0.05) for part in (self.maker, self.judge)]


def adversaries(rank: int, devices: int, batch_size: int) -> Tensor:
    pl.seed_everything(4 + rank if devices > 1 else 4, verbose=False)  # weights are those of rank 0
    module = Adversaries()
    pl.seed_everything(6, verbose=False)
    pl.Trainer(devices=devices, max_epochs=2, **QUIET).fit(module, loader_of("shuffled", 32, batch_size))
    return torch.cat([weight.detach().flatten() for weight in module.parameters()])


def test_models_that_train_in_turns_need_no_flag(two_ranks: Ranks) -> None:
    first, second = two_ranks(adversaries, 2, 4)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, adversaries(0, 1, 8), rtol=1e-6, atol=1e-6)


class Gathers(Regression):
    """Computes its loss over the samples of all ranks."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, _, _ = batch
        everybody = self.all_gather(self.net(x), sync_grads=True)
        assert everybody.shape == (2, *self.net(x).shape)
        assert not self.all_gather(self.net(x)).requires_grad
        return everybody.square().mean()


def gathered(rank: int) -> Tensor:
    pl.seed_everything(1, verbose=False)
    module = Gathers()
    pl.Trainer(devices=2, max_epochs=1, **QUIET).fit(module, loader_of("in order", 16, 4))
    return module.weights()


def test_gradients_flow_through_what_was_gathered(two_ranks: Ranks) -> None:
    first, second = two_ranks(gathered)
    assert torch.equal(first, second)


def places(rank: int) -> Any:
    trainer = pl.Trainer(devices=2, **QUIET)
    trainer.validate(Scores(), loader_of("in order", 8, 2), verbose=False)
    strategy, own = trainer.strategy, torch.tensor(rank + 1.0)
    return (
        trainer.global_rank, trainer.local_rank, trainer.node_rank, trainer.world_size, trainer.num_devices,
        trainer.is_global_zero, strategy.broadcast(rank * 5, 1), strategy.reduce(own).item(),
    )  # fmt: skip


def test_what_a_trainer_says_of_its_place(two_ranks: Ranks) -> None:
    assert two_ranks(places) == [(0, 0, 0, 2, 2, True, 5, 1.5), (1, 1, 0, 2, 2, False, 5, 1.5)]
