"""Whatever the data comes from: order, augmentation and everything after it go on exactly."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import SubsetRandomSampler

import fulmen as pl

from . import feeds
from .feeds import GLOBAL, DrawnAtStart, DrawnOneByOne, OwnGenerator, OwnNoise, Samples, from_all
from .law import SEED, Case, Moment, after, assert_law, seed_like_a_script
from .nets import Net

MOMENTS = [after(3, survives=4), Moment("on_train_epoch_end", 5)]
ENDS = [after(5), Moment("on_validation_end", 5), after(6)]

OWN_GENERATORS = {
    "torch": lambda: torch.Generator().manual_seed(4),
    "python": lambda: random.Random(4),
    "numpy": lambda: np.random.default_rng(4),
}


class Data(pl.LightningDataModule):
    """Makes its loaders anew when asked to: other samples in each period of so many epochs."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period

    def train_dataloader(self) -> Any:
        assert self.trainer is not None
        return feeds.loader(Samples(first=20 * (self.trainer.current_epoch // self.period)), shuffle=True)

    def val_dataloader(self) -> Any:
        return feeds.validation_data()


def without_batch_norm(journal: Any) -> Net:
    return Net(journal, norm=False)


ORDERS = [
    Case("in order", feeds.loader),
    Case("shuffled", feeds.shuffled),
    Case("last batch dropped", partial(feeds.shuffled, drop_last=True), options=lambda: {"max_epochs": 3}),
    Case("weighted", feeds.weighted),
    Case(
        "a subset",
        lambda: feeds.loader(sampler=SubsetRandomSampler(range(2, 13))),
        options=lambda: {"max_epochs": 3},
    ),
    Case("generator of the loader", feeds.with_own_generator),
    Case("seeded by epoch", lambda: feeds.loader(sampler=feeds.EpochSeeded())),
    *(
        Case(f"drawn at start from {name}", lambda draw=draw: feeds.loader(sampler=DrawnAtStart(draw)))
        for name, draw in GLOBAL.items()
    ),
    *(
        Case(f"drawn one by one from {name}", lambda draw=draw: feeds.loader(sampler=DrawnOneByOne(draw)))
        for name, draw in GLOBAL.items()
    ),
    Case("drawn one by one, normal", lambda: feeds.loader(sampler=DrawnOneByOne(feeds.normal))),
    *(
        Case(f"sampler with a {name} generator", lambda make=make: feeds.loader(sampler=OwnGenerator(make())))
        for name, make in OWN_GENERATORS.items()
    ),
    *(
        Case(
            f"own batches drawn at start from {name}", lambda draw=draw: feeds.batches_of(DrawnAtStart(draw))
        )
        for name, draw in GLOBAL.items()
    ),
    *(
        Case(
            f"own batches drawn one by one from {name}",
            lambda draw=draw: feeds.batches_of(DrawnOneByOne(draw)),
        )
        for name, draw in GLOBAL.items()
    ),
    Case("own batches with a generator", lambda: feeds.batches_of(OwnGenerator(OWN_GENERATORS["torch"]()))),
    Case("torch's batch sampler", lambda: feeds.torchs_batches_of(DrawnOneByOne(from_all))),
    Case("no batches", partial(feeds.loader, Samples(5), shuffle=True, batch_size=None), without_batch_norm),
    Case("limited", options=lambda: {"limit_train_batches": 4, "max_epochs": 3}),
    Case("limited to a fraction", options=lambda: {"limit_train_batches": 0.8, "max_epochs": 3}),
    Case("overfitting", options=lambda: {"overfit_batches": 4, "max_epochs": 3}),
    Case(
        "random batches made of samples", lambda: feeds.loader(feeds.steady(), collate_fn=feeds.noisy_collate)
    ),
]

NOISE = [
    *(
        Case(f"noise from {name}", partial(feeds.shuffled, dataset=Samples(draw=draw)))
        for name, draw in GLOBAL.items()
    ),
    *(
        Case(f"own {kind} noise", lambda kind=kind: feeds.loader(OwnNoise(kind), shuffle=True))
        for kind in OWN_GENERATORS
    ),
]


NUMPY: Any = np.random  # whose stubs leave something out


def seed_other_bits() -> None:
    seed_like_a_script()
    NUMPY.set_bit_generator(NUMPY.PCG64(SEED))


OTHER_BITS = [
    Case("noise", partial(feeds.shuffled, dataset=Samples(draw=feeds.normal)), seed=seed_other_bits),
    Case("order", lambda: feeds.loader(sampler=DrawnOneByOne(feeds.normal)), seed=seed_other_bits),
    Case("worker", partial(feeds.in_workers, 1, dataset=Samples(draw=feeds.normal)), seed=seed_other_bits),
]

ITERABLES = [
    Case("stream", lambda: feeds.loader(feeds.Stream())),
    Case("stateful stream", lambda: feeds.loader(feeds.StatefulStream())),
    Case("noisy stateful stream", lambda: feeds.loader(feeds.NoisyStatefulStream())),
    Case(
        "limited stateful stream",
        lambda: feeds.loader(feeds.StatefulStream()),
        options=lambda: {"limit_train_batches": 5, "max_epochs": 3},
    ),
    Case("stateful loader", feeds.StatefulBatches),
    Case("opaque", feeds.OpaqueBatches),
    Case("opaque with a length", feeds.SizedOpaqueBatches),
]

SEVERAL = [
    Case("min_size", partial(feeds.combined, "min_size"), options=lambda: {"max_epochs": 5}),
    Case("max_size_cycle", partial(feeds.combined, "max_size_cycle")),
    Case("max_size", partial(feeds.combined, "max_size")),
    Case("sequential", partial(feeds.combined, "sequential")),
    Case("a list", lambda: [feeds.shuffled(), feeds.with_own_generator()]),
]

RELOADED = [
    Case("datamodule", datamodule=partial(Data, 100)),
    Case(
        "reloaded",
        datamodule=partial(Data, 1),
        options=lambda: {"reload_dataloaders_every_n_epochs": 1, "max_epochs": 3},
    ),
    Case(
        "reloaded seldom",
        datamodule=partial(Data, 2),
        options=lambda: {"reload_dataloaders_every_n_epochs": 2, "max_epochs": 4},
    ),
]


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
@pytest.mark.parametrize("case", [*ORDERS, *NOISE, *ITERABLES, *SEVERAL, *RELOADED], ids=str)
def test_in_this_process(case: Case, moment: Moment) -> None:
    assert_law(case, moment)


@pytest.fixture
def numpys_bits() -> Iterator[None]:
    before = NUMPY.get_bit_generator()
    yield
    NUMPY.set_bit_generator(before)


@pytest.mark.usefixtures("numpys_bits")
@pytest.mark.parametrize("moment", MOMENTS, ids=str)
@pytest.mark.parametrize("case", OTHER_BITS, ids=str)
def test_numpy_may_have_its_bits_from_another_generator(case: Case, moment: Moment) -> None:
    assert_law(case, moment)


@pytest.mark.parametrize("moment", ENDS, ids=str)
@pytest.mark.parametrize("case", [*ITERABLES, *SEVERAL], ids=str)
def test_at_the_end_of_an_epoch(case: Case, moment: Moment) -> None:
    """Where it shows whether somebody knows that the last batch was the last one."""
    assert_law(case, moment)


WORKERS = [
    Case("shuffled", feeds.in_workers),
    Case("one worker", partial(feeds.in_workers, 1)),
    Case("persistent", partial(feeds.in_workers, persistent_workers=True), options=lambda: {"max_epochs": 3}),
    Case("far ahead", partial(feeds.in_workers, prefetch_factor=4)),
    Case("own generator", partial(feeds.with_own_generator, num_workers=2)),
    Case("weighted", lambda: feeds.loader(sampler=feeds.weighted().sampler, num_workers=2)),
    Case("drawn one by one", lambda: feeds.loader(sampler=DrawnOneByOne(from_all), num_workers=2)),
    Case("own batches", lambda: feeds.batches_of(DrawnOneByOne(from_all), num_workers=2)),
    Case("own numpy noise", lambda: feeds.loader(OwnNoise("numpy"), shuffle=True, num_workers=2)),
    Case("random collate", partial(feeds.in_workers, collate_fn=feeds.noisy_collate)),
    Case("stream", lambda: feeds.loader(feeds.Stream(), num_workers=2), without_batch_norm),
    Case("max_size_cycle", partial(feeds.combined, "max_size_cycle", num_workers=1)),
    Case("validation in workers", validation=partial(feeds.validation_data, num_workers=2)),
    Case(
        "persistent validation",
        feeds.in_workers,
        validation=partial(feeds.validation_data, num_workers=1, persistent_workers=True),
        options=lambda: {"val_check_interval": 2},
    ),
    Case("seeded without workers", feeds.in_workers, seed=lambda: pl.seed_everything(3, verbose=False)),
]


@pytest.mark.parametrize("moment", [after(3), Moment("on_train_epoch_end", 5)], ids=str)
@pytest.mark.parametrize("case", WORKERS, ids=str)
def test_in_workers(case: Case, moment: Moment) -> None:
    assert_law(case, moment)


def stateful_data_loader(dataset: Any, **options: Any) -> Any:
    package = pytest.importorskip("torchdata.stateful_dataloader", exc_type=ImportError)
    return package.StatefulDataLoader(dataset, batch_size=feeds.BATCH_SIZE, **options)


STATEFUL = [
    Case("samples", lambda: stateful_data_loader(Samples(), shuffle=True)),
    Case("stream", lambda: stateful_data_loader(feeds.StatefulStream())),
    Case("samples in workers", lambda: stateful_data_loader(feeds.steady(), shuffle=True, num_workers=2)),
    Case("stream in a worker", lambda: stateful_data_loader(feeds.StatefulStream(), num_workers=1)),
]


LIMITED = [
    Case(f"limited {case.title}", case.loader, options=lambda: {"limit_train_batches": 3, "max_epochs": 3})
    for case in STATEFUL
]


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("moment", [after(2), after(3), after(5), Moment("on_train_epoch_end", 3)], ids=str)
@pytest.mark.parametrize("case", LIMITED, ids=str)
def test_torchdata_where_epochs_end_before_the_data_does(case: Case, moment: Moment) -> None:
    assert_law(case, moment)


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("moment", [after(3), after(5), Moment("on_train_epoch_end", 5)], ids=str)
@pytest.mark.parametrize("case", STATEFUL, ids=str)
def test_torchdata(case: Case, moment: Moment) -> None:
    if case.title == "stream in a worker" and moment == after(5):
        pytest.skip("torchdata 0.11 begins an exhausted stream of a worker with its first state")
    assert_law(case, moment)


def test_three_kills_with_workers() -> None:
    case = Case(
        "everything", partial(feeds.in_workers, persistent_workers=True), options=lambda: {"max_epochs": 3}
    )
    assert_law(case, after(2), after(4), Moment("on_train_epoch_end", 1))
