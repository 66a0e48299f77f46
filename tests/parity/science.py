"""What both loops train: a net that draws random numbers, on data that draws random numbers."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

SEED = 11
FEATURES = 4
BATCH_SIZE = 3
SAMPLES = 14  # five batches, the last one shorter: no number of batches to accumulate, but 5, leaves no rest
BATCHES = 5


def seed_generators(seed: int = SEED) -> None:
    """Python's and torch's generators, on every device."""
    random.seed(seed)
    torch.manual_seed(seed)


def generator_states() -> list[Any]:
    """Where the generators stand: equal only if the same numbers were drawn."""
    states: list[Any] = [random.getstate(), torch.get_rng_state()]
    return [*states, *torch.cuda.get_rng_state_all()] if torch.cuda.is_available() else states


class Net(nn.Sequential):
    """Draws from torch's generator in each forward pass, and has buffers."""

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1)
        )


def loss_of(net: nn.Module, batch: list[Tensor]) -> Tensor:
    """The mean squared error."""
    inputs, targets = batch
    return nn.functional.mse_loss(net(inputs), targets)


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """Samples that never change."""

    def __init__(self, count: int = SAMPLES, seed: int = 1) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.inputs = torch.randn(count, FEATURES, generator=generator)
        self.targets = torch.randn(count, 1, generator=generator)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.inputs[index], self.targets[index]


class AugmentedSamples(Samples):
    """The same samples with noise, drawn from two global generators as they are fetched."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        noise = torch.randn(FEATURES) * random.random()
        return self.inputs[index] + noise, self.targets[index]


class SampleStream(IterableDataset[tuple[Tensor, Tensor]]):
    """The augmented samples, without a length."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        samples = AugmentedSamples()
        return (samples[index] for index in range(len(samples)))


def shuffled() -> DataLoader:
    """Augmented in this process, in an order drawn from the global generator."""
    return DataLoader(AugmentedSamples(), batch_size=BATCH_SIZE, shuffle=True)


def shuffled_tensors() -> DataLoader:
    """Nothing is drawn but the order."""
    samples = Samples()
    return DataLoader(TensorDataset(samples.inputs, samples.targets), batch_size=BATCH_SIZE, shuffle=True)


def in_order() -> DataLoader:
    """Nothing random."""
    return DataLoader(Samples(), batch_size=BATCH_SIZE)


def streamed() -> DataLoader:
    """A loader that cannot tell its length."""
    return DataLoader(SampleStream(), batch_size=BATCH_SIZE)


def shuffled_by_its_own_generator() -> DataLoader:
    """One whose order goes on, in each epoch, from where its generator stands; all batches are full."""
    return DataLoader(
        AugmentedSamples(5 * BATCH_SIZE),
        batch_size=BATCH_SIZE,
        shuffle=True,
        generator=torch.Generator().manual_seed(2),
    )


def loaded_by_workers() -> DataLoader:
    """Augmented in two other processes."""
    return DataLoader(AugmentedSamples(), batch_size=BATCH_SIZE, shuffle=True, num_workers=2)


class EndingBatches:
    """An iterable with a length that draws random numbers before its first batch and after its last one."""

    def __len__(self) -> int:
        return BATCHES

    def __iter__(self) -> Iterator[list[Tensor]]:
        torch.rand(1)
        yield from in_order()
        torch.rand(1)


def validation_data() -> DataLoader:
    """One batch, augmented as well; of a size by which floating-point numbers are divided exactly."""
    return DataLoader(AugmentedSamples(4, seed=3), batch_size=4, shuffle=True)


def fetched_one_ahead(batches: Iterable[Any]) -> Iterator[Any]:
    """The batches, each fetched before the one in front of it is used, so that the last one is known."""
    iterator = iter(batches)
    batch = next(iterator)
    for following in iterator:
        yield batch
        batch = following
    yield batch
