"""A Trainer computes what a loop written by hand computes, to the last bit."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau, StepLR

import fulmen as pl

from . import science
from .bare import Case, sgd, train_bare
from .ours import QUIET, Science, outcome_of, train
from .outcome import Outcome, assert_same_outcome, differences

PLAIN = Case("plain")


def one_cycle(optimizer: Any, steps: int) -> Any:
    return OneCycleLR(optimizer, max_lr=0.2, total_steps=steps)


def cosine(optimizer: Any, steps: int) -> Any:
    return CosineAnnealingLR(optimizer, T_max=steps)


def step_lr(optimizer: Any, steps: int) -> Any:
    return StepLR(optimizer, step_size=1, gamma=0.5)


def plateau(optimizer: Any, steps: int) -> Any:
    return ReduceLROnPlateau(optimizer, patience=0, threshold=0.2)


class OwnSGD(SGD):
    """A user's own: whether it calls a closure, nobody knows."""


class EvaluatesAgain(SGD):
    """Looks at the loss twice a step, as sharpness-aware optimizers do."""

    def step(self, closure: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        closure()
        return super().step(closure)


def in_two_groups(parameters: Any) -> Any:
    first, *rest = parameters
    return SGD([{"params": [first], "lr": 0.2}, {"params": rest}], lr=0.1, momentum=0.9)


CASES = [
    PLAIN,
    Case("three epochs", epochs=3),
    Case("SGD without momentum", optimizer=partial(SGD, lr=0.1)),
    Case(
        "SGD with everything", optimizer=partial(SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1)
    ),
    Case("Adam", optimizer=partial(Adam, lr=0.05)),
    Case("AMSGrad for each tensor", optimizer=partial(Adam, lr=0.05, amsgrad=True, foreach=False)),
    Case("AdamW", optimizer=partial(AdamW, lr=0.05)),
    Case("fused AdamW", optimizer=partial(AdamW, lr=0.05, fused=True)),
    Case("an own optimizer", optimizer=partial(OwnSGD, lr=0.1)),
    Case("an own optimizer, windows, clipped", optimizer=partial(OwnSGD, lr=0.1), accumulate=2, clip=0.05),
    Case("two groups, clipped", optimizer=in_two_groups, clip=0.05),
    # -- data
    Case("nothing random in the data", loader=science.in_order),
    Case("the loader has a generator", loader=science.shuffled_by_its_own_generator),
    Case("batches end with a draw", loader=science.EndingBatches),
    Case("two workers", loader=science.loaded_by_workers, epochs=1),
    Case("some batches only", limit=3),
    Case("no length", loader=science.streamed, fetches_ahead=True),
    Case("no length, some batches only", loader=science.streamed, fetches_ahead=True, limit=3),
    # -- validation
    Case("validation after each epoch", validates_every=5),
    Case("validation within the epoch", validates_every=2),
    Case("validation after each batch", validates_every=1),
    Case("validation without a length", loader=science.streamed, fetches_ahead=True, validates_every=2),
    # -- accumulation: the last window of an epoch is averaged over the batches it has
    Case("accumulate 2, one left", accumulate=2),
    Case("accumulate 3, two left", accumulate=3),
    Case("accumulate 5, none left", accumulate=5),
    Case("accumulate more than there are", accumulate=7),
    Case("accumulate some batches only", accumulate=2, limit=3),
    Case("accumulate without a length", loader=science.streamed, fetches_ahead=True, accumulate=2),
    Case("accumulate with Adam", optimizer=partial(Adam, lr=0.05), accumulate=2),
    Case("accumulate over validations", accumulate=3, validates_every=1),
    # -- clipping
    Case("clip the norm", clip=0.05),
    Case("clip values", clip=0.01, clip_by="value"),
    Case("clip the norm of a window", clip=0.05, accumulate=3),
    Case("clip the values of a window", clip=0.01, clip_by="value", accumulate=2),
    Case("clip where nothing is above", clip=1e6),
    # -- schedules
    Case("schedule per epoch", scheduler=step_lr, epochs=3),
    Case("schedule per step", scheduler=cosine, scheduler_interval="step"),
    Case("one cycle", scheduler=one_cycle, scheduler_interval="step"),
    Case("one cycle of windows", scheduler=one_cycle, scheduler_interval="step", accumulate=2),
    Case("one cycle of some batches", scheduler=one_cycle, scheduler_interval="step", limit=4, accumulate=3),
    Case("plateau of validations", scheduler=plateau, follows="val_loss", validates_every=5, epochs=3),
    Case("plateau of steps", scheduler=plateau, follows="train_loss", scheduler_interval="step"),
    # -- batches whose loss is not used
    Case("skip the first batch", skips=(0,)),
    Case("skip batches", skips=(1, 3)),
    Case("skip the last batch", skips=(4,)),
    Case("skip all", skips=(0, 1, 2, 3, 4)),
    Case("skip within a window", skips=(0, 3), accumulate=2),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_trainer_computes_what_a_bare_loop_computes(case: Case) -> None:
    assert_same_outcome(train(case), train_bare(case))


def test_a_shorter_window_of_a_loader_without_length_is_averaged_too() -> None:
    """It turns out to be shorter when two thirds of it are there: equal up to the rounding of one factor."""
    case = Case("", loader=science.streamed, fetches_ahead=True, accumulate=3, optimizer=partial(SGD, lr=0.1))
    found, expected = train(case), train_bare(case)
    torch.testing.assert_close(found.losses, expected.losses, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(dict(found.weights), dict(expected.weights), rtol=1e-5, atol=1e-6)


def test_gradients_of_a_shorter_window_are_averaged_before_they_are_clipped() -> None:
    case = Case(
        "",
        loader=science.streamed,
        fetches_ahead=True,
        accumulate=2,
        clip=0.05,
        optimizer=partial(SGD, lr=0.1),
    )
    assert_same_outcome(train(case), train_bare(case))


# ------------------------------------------------------------------------------ what training_step may return


class ReturnsDict(Science):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": super().training_step(batch, batch_idx), "kept": batch}


class TakesTheBatchAlone(Science):
    def training_step(self, batch: Any) -> Any:
        return super().training_step(batch, 0)


class Forwards(Science):
    """The loss through `self(...)`, as a user would write it."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.net(inputs)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = torch.nn.functional.mse_loss(self(batch[0]), batch[1])
        self.losses.append(loss.detach())
        return loss


@pytest.mark.parametrize("module", [ReturnsDict, TakesTheBatchAlone, Forwards])
def test_forms_of_training_step(module: type[Science]) -> None:
    assert_same_outcome(train(PLAIN, module), train_bare(PLAIN))


# ------------------------------------------------------------------ hooks that do by hand what is the default


class StepsOptimizer(Science):
    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        optimizer.step(closure=optimizer_closure)


class StepsBareOptimizer(Science):
    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        self.optimizers(use_pl_optimizer=False).step(optimizer_closure)


class ClearsGradients(Science):
    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
        optimizer.zero_grad(set_to_none=False)


class GoesBackward(Science):
    def backward(self, loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        loss.backward(*args, **kwargs)


class ClipsGradients(Science):
    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        self.clip_gradients(
            optimizer, gradient_clip_val=gradient_clip_val, gradient_clip_algorithm=gradient_clip_algorithm
        )


class MovesBatches(Science):
    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return [tensor.to(device) for tensor in batch]


class StepsScheduler(Science):
    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.step()


class DoesAllByHand(
    StepsOptimizer, ClearsGradients, GoesBackward, ClipsGradients, MovesBatches, StepsScheduler
):
    pass


EVERYTHING = Case(
    "everything",
    accumulate=2,
    clip=0.05,
    scheduler=one_cycle,
    scheduler_interval="step",
    validates_every=2,
    optimizer=partial(Adam, lr=0.05),
)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # the first scaled step overflows
@pytest.mark.parametrize(
    "case", [PLAIN, EVERYTHING, replace(EVERYTHING, title="scaled", precision="16-mixed")], ids=str
)
@pytest.mark.parametrize(
    "module",
    [
        StepsOptimizer,
        ClearsGradients,
        GoesBackward,
        ClipsGradients,
        MovesBatches,
        StepsScheduler,
        DoesAllByHand,
    ],
)
def test_an_override_that_does_the_default_changes_nothing(module: type[Science], case: Case) -> None:
    assert_same_outcome(train(case, module), train_bare(case))


def test_the_step_of_the_bare_optimizer_in_an_override() -> None:
    """Without what a Trainer adds to a step: no clipping, no scaling, none of its hooks."""
    assert_same_outcome(train(PLAIN, StepsBareOptimizer), train_bare(PLAIN))


# ------------------------------------------------------------------------- where the data comes from and ends


def test_training_ends_in_the_middle_of_an_epoch() -> None:
    """Nothing is fetched that is not used."""
    assert_same_outcome(train(PLAIN, max_steps=3), train_bare(replace(PLAIN, epochs=1, limit=3)))


class BringsItsData(Science):
    def train_dataloader(self) -> Any:
        return self.case.loader()


class Data(pl.LightningDataModule):
    def train_dataloader(self) -> Any:
        return PLAIN.loader()


@pytest.mark.parametrize("reload_every", [0, 1])
@pytest.mark.parametrize("from_module", [True, False], ids=["module", "datamodule"])
def test_loaders_of_the_module_and_of_a_datamodule(from_module: bool, reload_every: int) -> None:
    science.seed_generators()
    model = (BringsItsData if from_module else Science)(PLAIN)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        limit_val_batches=0,
        reload_dataloaders_every_n_epochs=reload_every,
        **QUIET,
    )
    trainer.fit(model, datamodule=None if from_module else Data())
    assert_same_outcome(outcome_of(trainer, model), train_bare(PLAIN))


# ---------------------------------------------------------------------------------------- several evaluations


@pytest.mark.parametrize(
    "optimizer",
    [partial(torch.optim.LBFGS, lr=0.1, max_iter=4), partial(EvaluatesAgain, lr=0.1)],
    ids=["LBFGS", "own"],
)
def test_optimizers_that_evaluate_the_loss_several_times_a_step(optimizer: Any) -> None:
    case = Case("", optimizer=optimizer)
    expected = Outcome()
    science.seed_generators()
    net = science.Net()
    optimizer = case.optimizer(net.parameters())
    loader = case.loader()
    for _ in range(case.epochs):
        for batch in loader:

            def closure(batch: Any = batch) -> torch.Tensor:
                optimizer.zero_grad()
                loss = science.loss_of(net, batch)
                expected.losses.append(loss.detach())
                loss.backward()
                return loss

            optimizer.step(closure)
    expected.weights, expected.optimizers = net.state_dict(), [optimizer.state_dict()]
    expected.generators = science.generator_states()

    found = train(case)

    assert len(found.losses) > case.epochs * case.batches
    assert_same_outcome(found, expected)


# -------------------------------------------------------------------------------------- the comparison itself


def test_the_comparison_sees_one_bit() -> None:
    one = torch.tensor(1.0)
    assert not list(differences([one, {"a": 1}], [one.clone(), {"a": 1}]))
    for other in (torch.nextafter(one, 2 * one), one.double(), one.reshape(1), -one, 1.0):
        assert list(differences([other], [one]))
    assert list(differences(torch.tensor(-0.0), torch.tensor(0.0)))
    assert not list(differences(torch.tensor(float("nan")), torch.tensor(float("nan"))))
    assert list(differences({"a": 1}, {"b": 1}))
    assert list(differences([1], [1, 2]))


def test_the_comparison_sees_what_differs() -> None:
    """Each thing that a case says matters: leaving it out of one loop is noticed."""
    changed = [
        replace(EVERYTHING, accumulate=1),
        replace(EVERYTHING, clip=None),
        replace(EVERYTHING, clip=0.06),
        replace(EVERYTHING, clip_by="value"),
        replace(EVERYTHING, optimizer=sgd),
        replace(EVERYTHING, scheduler=cosine),
        replace(EVERYTHING, validates_every=1),
        replace(EVERYTHING, loader=science.in_order),
        replace(EVERYTHING, precision="bf16-mixed"),
        replace(EVERYTHING, skips=(1,)),
    ]
    reference = train_bare(EVERYTHING)
    for case in changed:
        with pytest.raises(AssertionError):
            assert_same_outcome(train_bare(case), reference)
