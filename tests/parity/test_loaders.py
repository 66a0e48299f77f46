"""Several train loaders give the batches that a bare loop takes from them, and draw in its order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice, zip_longest
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.engine.combined_loader import CombinedLoader

from . import science
from .bare import Case, train_bare
from .ours import QUIET, outcome_of, train
from .outcome import Outcome, assert_same_outcome

EPOCHS = 2


def loader(batches: int, seed: int = 1) -> DataLoader:
    """Augmented and shuffled."""
    samples = science.AugmentedSamples(batches * science.BATCH_SIZE, seed)
    return DataLoader(samples, batch_size=science.BATCH_SIZE, shuffle=True)


def loss_of(net: torch.nn.Module, batches: Iterable[Any]) -> Tensor:
    return torch.stack([science.loss_of(net, batch) for batch in batches if batch is not None]).sum()


class TakesSeveral(pl.LightningModule):
    """Adds up the losses of the batches it gets at a time, in whatever collection."""

    def __init__(self, given: Any) -> None:
        super().__init__()
        self.given = given
        self.net = science.Net()
        self.losses: list[Tensor] = []
        self.validation_losses: list[Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        assert type(batch) is type(self.given)
        batches = list(batch.values() if isinstance(batch, dict) else batch)
        loss = loss_of(self.net, batches)
        self.losses.append(loss.detach())
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class TakesOne(TakesSeveral):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = science.loss_of(self.net, batch)
        self.losses.append(loss.detach())
        return loss


def train_ours(loaders: Any, module: type[TakesSeveral] = TakesSeveral, **options: Any) -> Outcome:
    science.seed_generators()
    model = module(loaders.iterables if isinstance(loaders, CombinedLoader) else loaders)
    trainer = pl.Trainer(accelerator="cpu", max_epochs=EPOCHS, **QUIET, **options)
    trainer.fit(model, loaders)
    return outcome_of(trainer, model)


def train_by_hand(epoch: Callable[[], Iterable[Any]]) -> Outcome:
    """`epoch` gives the collections of batches that one epoch trains on."""
    science.seed_generators()
    net = science.Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(EPOCHS):
        for batches in epoch():
            loss = loss_of(net, batches)
            losses.append(loss.detach())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return Outcome(
        losses=losses,
        weights=net.state_dict(),
        optimizers=[optimizer.state_dict()],
        generators=science.generator_states(),
    )


def cycled(longest: DataLoader, shorter: DataLoader) -> Iterator[Any]:
    """Batches of the first, each with one of the second, which starts again when it is exhausted."""
    iterator, companions = iter(longest), iter(shorter)
    for batch in iterator:
        try:
            companion = next(companions)
        except StopIteration:
            companions = iter(shorter)
            companion = next(companions)
        yield batch, companion


LENGTHS = [(5, 2), (5, 3), (4, 4)]


@pytest.mark.parametrize(("longest", "shorter"), LENGTHS)
def test_a_dict_of_loaders_goes_on_to_the_end_of_the_longest(longest: int, shorter: int) -> None:
    one, other = loader(longest), loader(shorter, seed=2)
    assert_same_outcome(train_ours({"one": one, "other": other}), train_by_hand(lambda: cycled(one, other)))


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_sequence_of_loaders(kind: type) -> None:
    one, other = loader(5), loader(3, seed=2)
    assert_same_outcome(train_ours(kind([one, other])), train_by_hand(lambda: cycled(one, other)))


@pytest.mark.parametrize(
    ("mode", "by_hand"), [("max_size_cycle", cycled), ("min_size", zip), ("max_size", zip_longest)]
)
@pytest.mark.parametrize(("longest", "shorter"), LENGTHS)
def test_each_mode(longest: int, shorter: int, mode: str, by_hand: Any) -> None:
    one, other = loader(longest), loader(shorter, seed=2)
    combined = CombinedLoader({"one": one, "other": other}, mode)
    assert_same_outcome(train_ours(combined), train_by_hand(lambda: by_hand(one, other)))


@pytest.mark.parametrize(("mode", "by_hand"), [("min_size", zip), ("max_size", zip_longest)])
def test_the_shortest_may_come_first(mode: str, by_hand: Any) -> None:
    one, other = loader(2), loader(5, seed=2)
    combined = CombinedLoader([one, other], mode)
    assert_same_outcome(train_ours(combined), train_by_hand(lambda: by_hand(one, other)))


def test_one_after_the_other() -> None:
    one, other = loader(3), loader(2, seed=2)
    combined = CombinedLoader([one, other], "sequential")
    by_hand = train_by_hand(lambda: ([batch] for batch in chain(one, other)))
    assert_same_outcome(train_ours(combined, TakesOne), by_hand)


def test_a_loader_without_length_among_them() -> None:
    one, other = science.streamed(), loader(2)
    combined = CombinedLoader([one, other], "max_size_cycle")
    by_hand = train_by_hand(lambda: science.fetched_one_ahead(cycled(one, other)))
    assert_same_outcome(train_ours(combined), by_hand)


def test_three_loaders_in_a_nested_collection() -> None:
    a, b, c = loader(3), loader(3, seed=2), loader(3, seed=3)

    class TakesNested(TakesSeveral):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = loss_of(self.net, [batch["a"], *batch["rest"]])
            self.losses.append(loss.detach())
            return loss

    found = train_ours({"a": a, "rest": [b, c]}, TakesNested)
    assert_same_outcome(found, train_by_hand(lambda: zip(a, b, c, strict=True)))


# -------------------------------------------------------------------------------------------- overfit_batches


class Remembers(pl.LightningModule):
    """Keeps the samples it is given, by epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.epochs: list[list[list[float]]] = []

    def on_train_epoch_start(self) -> None:
        self.epochs.append([])

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.epochs[-1].append(batch.flatten().tolist())
        return self.layer(batch).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def numbers(**options: Any) -> DataLoader:
    return DataLoader(torch.arange(10.0)[:, None], batch_size=2, **options)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("amount", [2, 0.4])
def test_overfitting_sees_the_same_first_batches_in_each_epoch(amount: float) -> None:
    given = numbers(shuffle=True)
    model = Remembers()
    trainer = pl.Trainer(accelerator="cpu", max_epochs=3, overfit_batches=amount, **QUIET)
    trainer.fit(model, given)
    assert model.epochs == [[[0, 1], [2, 3]]] * 3


def test_overfitting_leaves_the_loader_as_it_was() -> None:
    """What was handed in still shuffles, in the next fit too."""
    for given in (numbers(shuffle=True), CombinedLoader([numbers(shuffle=True)], "sequential")):
        trainer = pl.Trainer(accelerator="cpu", max_epochs=1, overfit_batches=2, **QUIET)
        trainer.fit(Remembers(), given)
        torch.manual_seed(0)
        model = Remembers()
        pl.Trainer(accelerator="cpu", max_epochs=1, **QUIET).fit(model, given)
        seen = [number for batch in model.epochs[0] for number in batch]
        assert seen != sorted(seen)
        assert sorted(seen) == list(range(10))


def test_overfitting_computes_what_a_bare_loop_on_the_first_batches_computes() -> None:
    in_order = DataLoader(science.AugmentedSamples(), batch_size=science.BATCH_SIZE)
    by_hand = train_by_hand(lambda: ([batch] for batch in islice(in_order, 2)))
    assert_same_outcome(train_ours(science.shuffled(), TakesOne, overfit_batches=2), by_hand)


@pytest.mark.parametrize("loader", [science.shuffled_tensors, science.EndingBatches])
def test_exact_data_changes_nothing_where_nothing_is_drawn_for_a_batch(loader: Callable[[], Any]) -> None:
    """The order of the samples, and what the net draws, are those of the bare loop."""
    case = Case("", loader=loader)
    assert_same_outcome(train(case, exact_data=True), train_bare(case))
