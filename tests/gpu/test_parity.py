"""On a GPU too, a Trainer computes what a loop written by hand computes, to the last bit."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader

from tests.parity import science
from tests.parity.bare import Case, train_bare
from tests.parity.ours import train
from tests.parity.outcome import assert_same_outcome
from tests.parity.test_manual import AtOnce, BareAtOnce, BareTurns, Game, Toggles, TurnsInClosures, play

from .cuda import needs_cuda

pytestmark = needs_cuda

OnCUDA = partial(Case, device="cuda")
PRECISIONS = ("32-true", "64-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed")


def pinned() -> DataLoader:
    return DataLoader(
        science.AugmentedSamples(), batch_size=science.BATCH_SIZE, shuffle=True, pin_memory=True
    )


def one_cycle(optimizer: Any, steps: int) -> Any:
    return OneCycleLR(optimizer, max_lr=0.2, total_steps=steps)


CASES = [
    OnCUDA("plain"),
    OnCUDA("Adam", optimizer=partial(Adam, lr=0.05)),
    OnCUDA("fused AdamW", optimizer=partial(AdamW, lr=0.05, fused=True)),
    OnCUDA("capturable AdamW", optimizer=partial(AdamW, lr=0.05, capturable=True)),
    OnCUDA("pinned memory", loader=pinned),
    OnCUDA("two workers", loader=science.loaded_by_workers),
    OnCUDA("a loader with a generator", loader=science.shuffled_by_its_own_generator),
    OnCUDA("no length", loader=science.streamed, fetches_ahead=True),
    OnCUDA("some batches only", limit=3),
    OnCUDA("validation after each epoch", validates_every=5),
    OnCUDA("validation within the epoch", validates_every=2),
    OnCUDA("accumulate and clip", accumulate=2, clip=0.05),
    OnCUDA("clip values", clip=0.01, clip_by="value"),
    OnCUDA("one cycle", scheduler=one_cycle, scheduler_interval="step"),
    OnCUDA("skip batches", skips=(0, 3)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_trainer_computes_what_a_bare_loop_computes(case: Case) -> None:
    assert_same_outcome(train(case), train_bare(case))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "case",
    [
        partial(OnCUDA, "plain"),
        partial(OnCUDA, "windows, clipped", accumulate=2, clip=0.05),
        partial(OnCUDA, "validation", validates_every=5),
        partial(OnCUDA, "some losses unused", skips=(0, 3)),
        partial(OnCUDA, "infinite gradients", explodes=(1,)),
    ],
    ids=lambda case: case.args[0].replace(" ", "_"),
)
def test_each_precision(case: Any, precision: str) -> None:
    case = case(precision=precision, optimizer=partial(SGD, lr=0.1))
    if case.explodes and precision != "16-mixed":
        pytest.skip("only scaled gradients are checked before a step")
    found = train(case)
    assert_same_outcome(found, train_bare(case))
    assert all(torch.isfinite(loss) for loss in found.losses)
    assert all(loss.is_cuda for loss in found.losses)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # the first scaled step overflows
@pytest.mark.parametrize("precision", ["32-true", "16-mixed", "bf16-mixed"])
@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("module", [Toggles, TurnsInClosures])
def test_two_optimizers_in_turn(module: Any, clip: float | None, precision: str) -> None:
    game = Game("", precision, clip=clip, device="cuda")
    assert_same_outcome(play(module, game), BareTurns(game).outcome())


@pytest.mark.parametrize("every", [1, 2])
def test_two_optimizers_at_once(every: int) -> None:
    game = Game("", "16-mixed", clip=0.05, every=every, device="cuda")
    assert_same_outcome(play(AtOnce, game), BareAtOnce(game).outcome())
