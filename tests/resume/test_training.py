"""However a net is trained: number formats, optimizers, schedulers, accumulation, callbacks."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.callbacks import (
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateMonitor,
    ModelCheckpoint,
)
from fulmen.precision import MixedPrecision

from . import feeds
from .law import Case, Moment, after, assert_law, seed_by_hand
from .nets import (
    Average,
    AveragesItself,
    Net,
    Rivals,
    adam_every_third_step,
    adam_with_decay,
    sgd_in_one_cycle,
    sgd_on_plateau,
)

MOMENTS = [after(3, survives=4), after(5)]


def scaled() -> dict[str, Any]:
    """A loss scale that grows and falls all the time."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=2)
    return {"plugins": MixedPrecision("16-mixed", "cpu", scaler)}


def lbfgs(net: Net) -> Any:
    return torch.optim.LBFGS(net.parameters(), lr=0.1, max_iter=2, history_size=3)


def adamw(net: Net) -> Any:
    return torch.optim.AdamW(net.parameters(), lr=0.01, amsgrad=True)


exploding = partial(Net, explodes=(1, 4), configure=adam_with_decay)

PRECISIONS = [
    Case("64-true", options=lambda: {"precision": "64-true"}),
    Case("bf16-mixed", options=lambda: {"precision": "bf16-mixed"}),
    Case("16-mixed", options=lambda: {"precision": "16-mixed"}),
    Case("16-mixed with overflows", module=exploding, options=scaled),
    Case(
        "16-mixed accumulated",
        module=exploding,
        window=2,
        options=lambda: scaled() | {"accumulate_grad_batches": 2},
    ),
    Case("bf16-true", options=lambda: {"precision": "bf16-true"}),
]

OPTIMIZERS = [
    Case("decay per epoch", module=partial(Net, configure=adam_with_decay)),
    Case("one cycle", module=partial(Net, configure=sgd_in_one_cycle)),
    Case("every third step", module=partial(Net, configure=adam_every_third_step)),
    Case("plateau of validation", module=partial(Net, configure=sgd_on_plateau("val_loss"))),
    Case("plateau of an epoch's mean", module=partial(Net, configure=sgd_on_plateau("loss_epoch"))),
    Case("plateau of steps", module=partial(Net, configure=sgd_on_plateau("loss_step", interval="step"))),
    Case("AdamW", module=partial(Net, configure=adamw)),
    Case("LBFGS", module=partial(Net, configure=lbfgs)),
    Case("clipped", options=lambda: {"gradient_clip_val": 0.1}),
    Case("clipped by value", options=lambda: {"gradient_clip_val": 0.1, "gradient_clip_algorithm": "value"}),
    Case("by hand", module=Rivals, validation=None),
    Case("by hand, scaled", module=Rivals, validation=None, options=scaled),
    Case("averages itself", module=AveragesItself),
    Case("stops after steps", options=lambda: {"max_epochs": -1, "max_steps": 8}),
    Case("seeded by hand", seed=seed_by_hand),
    Case("seeded by hand, in workers", feeds.in_workers, seed=seed_by_hand),
]


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
@pytest.mark.parametrize("case", [*PRECISIONS, *OPTIMIZERS], ids=str)
def test_precision_and_optimization(case: Case, moment: Moment) -> None:
    assert_law(case, moment)


THREE: dict[str, Any] = {"accumulate_grad_batches": 3}  # of five batches: windows of three and of two
in_threes = partial(Case, options=lambda: THREE, window=3)
ACCUMULATED = [
    in_threes("threes"),
    in_threes("one cycle", module=partial(Net, configure=sgd_in_one_cycle)),
    in_threes("noise in workers", feeds.in_workers),
    in_threes("logged always", options=lambda: THREE | {"log_every_n_steps": 1, "val_check_interval": 2}),
    in_threes("without a length", feeds.OpaqueBatches),
    in_threes("lazy sampler", lambda: feeds.loader(sampler=feeds.DrawnOneByOne(feeds.from_all))),
]


@pytest.mark.parametrize("moment", [after(1), after(2), after(3), after(4, survives=3), after(5)], ids=str)
@pytest.mark.parametrize("case", ACCUMULATED, ids=str)
def test_accumulation(case: Case, moment: Moment) -> None:
    """A checkpoint made within a window goes on at its beginning."""
    assert_law(case, moment)


def watched(folder: Any, patience: int = 2) -> list[pl.Callback]:
    return [
        Average(),
        EarlyStopping("val_loss", patience=patience, min_delta=0.05),
        LearningRateMonitor(),
        ModelCheckpoint(folder / "best", monitor="val_loss", save_top_k=2),
        ModelCheckpoint(folder / "newest", every_n_train_steps=2, save_last=True),
    ]


CALLBACKS = [
    Case("watched", callbacks=watched, options=lambda: {"max_epochs": 6}),
    Case(
        "watched often",
        callbacks=partial(watched, patience=4),
        options=lambda: {"val_check_interval": 2, "max_epochs": 6},
    ),
    Case("growing windows", callbacks=lambda _: [Average(), GradientAccumulationScheduler({1: 2})], window=2),
]


@pytest.mark.parametrize(
    "moment",
    [*MOMENTS, Moment("on_validation_end", 4), Moment("on_train_epoch_end", 5), after(8, survives=1)],
    ids=str,
)
@pytest.mark.parametrize("case", CALLBACKS, ids=str)
def test_callbacks(case: Case, moment: Moment) -> None:
    assert_law(case, moment)


VALIDATED = [
    Case("every second batch", options=lambda: {"val_check_interval": 2}),
    Case("after half an epoch", options=lambda: {"val_check_interval": 0.5}),
    Case("every second epoch", options=lambda: {"check_val_every_n_epoch": 2, "max_epochs": 4}),
    Case(
        "every third batch over epochs",
        options=lambda: {"check_val_every_n_epoch": None, "val_check_interval": 3},
    ),
    Case("never", validation=None),
    Case(
        "two loaders",
        validation=lambda: [feeds.validation_data(), feeds.validation_data()],
        module=lambda j: Two(j),
    ),
    Case("no sanity check", options=lambda: {"num_sanity_val_steps": 0}),
    Case("full sanity check", options=lambda: {"num_sanity_val_steps": -1}),
    Case("opaque validation", validation=feeds.OpaqueBatches, options=lambda: {"val_check_interval": 2}),
    Case(
        "persistent validation with its own generator",
        validation=lambda: feeds.validation_data(
            num_workers=1, persistent_workers=True, generator=torch.Generator().manual_seed(6)
        ),
    ),
]


class Two(Net):
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        super().validation_step(batch, batch_idx)


@pytest.mark.parametrize(
    "moment",
    [
        after(2),
        Moment("on_validation_batch_end", 2),
        Moment("on_validation_end", 2),
        after(5),
        Moment("on_train_epoch_end", 5),
    ],
    ids=str,
)
@pytest.mark.parametrize("case", VALIDATED, ids=str)
def test_validation(case: Case, moment: Moment) -> None:
    if case.validation is None and "validation" in moment.hook:
        pytest.skip("there is no validation")
    assert_law(case, moment)


def everything(**options: Any) -> Case:
    """As much as goes together."""
    return Case(
        "everything",
        partial(feeds.in_workers, persistent_workers=True, collate_fn=feeds.noisy_collate),
        module=partial(Net, configure=sgd_on_plateau("val_loss"), explodes=(2,)),
        validation=partial(feeds.validation_data, num_workers=1),
        callbacks=partial(watched, patience=6),
        window=2,
        options=lambda: (
            scaled() | {"accumulate_grad_batches": 2, "val_check_interval": 2, "max_epochs": 4} | options
        ),
    )


def test_three_kills() -> None:
    assert_law(everything(), after(3), Moment("on_validation_end", 2), after(3, survives=3))


def test_killed_again_at_once() -> None:
    """A process that is killed before it has done anything of its own leaves the same."""
    first = Moment("on_train_batch_start", 0)
    assert_law(Case("plain"), after(3), first, first, after(1), Moment("on_train_epoch_start", 0), first)


def test_a_kill_after_each_batch() -> None:
    assert_law(Case("plain"), *[after(1)] * 9)
