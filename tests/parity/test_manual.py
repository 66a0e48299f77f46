"""Manual optimization computes what a bare loop computes: scaling, clipping, closures, several optimizers."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import StepLR

import fulmen as pl

from . import science
from .bare import HALF_TYPES, TRUE_TYPES
from .ours import QUIET, outcome_of
from .outcome import Outcome, assert_same_outcome

EPOCHS = 2


class Pair(nn.ModuleDict):
    """A generator and a discriminator; the generator's first layer is frozen."""

    def __init__(self) -> None:
        width = science.FEATURES
        generator = nn.Sequential(nn.Linear(width, 6), nn.Dropout(0.2), nn.Tanh(), nn.Linear(6, width))
        generator[0].weight.requires_grad_(False)
        judge = nn.Sequential(nn.Linear(width, 6), nn.LeakyReLU(), nn.Dropout(0.2), nn.Linear(6, 1))
        super().__init__({"generator": generator, "judge": judge})

    def generator_loss(self, real: Tensor) -> Tensor:
        judged = self["judge"](self["generator"](torch.randn_like(real)))
        return binary_cross_entropy_with_logits(judged, torch.ones_like(judged))

    def judge_loss(self, real: Tensor) -> Tensor:
        made = self["generator"](torch.randn_like(real)).detach()
        judged = self["judge"](torch.cat([real, made]))
        right = torch.tensor([[1.0], [0.0]]).repeat_interleave(len(real), 0).to(judged)
        return binary_cross_entropy_with_logits(judged, right)

    def optimizers(self) -> tuple[Optimizer, Optimizer]:
        return SGD(self["generator"].parameters(), lr=0.1, momentum=0.9), Adam(
            self["judge"].parameters(), lr=0.05
        )


@dataclass(frozen=True)
class Game:
    """How the two are trained."""

    title: str
    precision: str = "32-true"
    clip: float | None = None
    clip_by: str = "norm"
    every: int = 1
    """Batches whose gradients are added up."""
    device: str = "cpu"

    def __str__(self) -> str:
        return f"{self.title.replace(' ', '_')}-{self.precision}"


def clipped(parameters: Iterable[nn.Parameter], game: Game) -> None:
    if game.clip is not None and game.clip_by == "norm":
        nn.utils.clip_grad_norm_(parameters, game.clip)
    elif game.clip is not None:
        nn.utils.clip_grad_value_(parameters, game.clip)


class BareGame:
    """The loop by hand; subclasses say what happens with a batch."""

    def __init__(self, game: Game) -> None:
        self.game = game
        science.seed_generators()
        true_type = TRUE_TYPES.get(game.precision, torch.float32)
        self.pair = Pair().to(game.device, true_type)
        self.optimizers = self.pair.optimizers()
        self.scaler = torch.amp.GradScaler(game.device, enabled=game.precision == "16-mixed")
        self.losses: list[Tensor] = []
        half = HALF_TYPES.get(game.precision)
        loader = science.shuffled()
        self.schedulers = [StepLR(optimizer, 3, gamma=0.5) for optimizer in self.optimizers]
        for _ in range(EPOCHS):
            for index, (real, _) in enumerate(loader):
                self.forward = torch.autocast(game.device, half) if half else nullcontext()
                torch.set_default_dtype(true_type)  # in which Adam counts its steps, too
                self.train_on(real.to(game.device, true_type), index)
                torch.set_default_dtype(torch.float32)

    def train_on(self, real: Tensor, index: int) -> None:
        raise NotImplementedError

    def outcome(self) -> Outcome:
        return Outcome(
            losses=self.losses,
            weights=self.pair.state_dict(),
            optimizers=[optimizer.state_dict() for optimizer in self.optimizers],
            schedulers=[scheduler.state_dict() for scheduler in self.schedulers],
            scaler=self.scaler.state_dict(),
            generators=science.generator_states(),
        )


class OurGame(pl.LightningModule):
    """The same through a Trainer; subclasses define `training_step`."""

    def __init__(self, game: Game) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.game = game
        self.net = Pair()
        self.losses: list[Tensor] = []
        self.validation_losses: list[Tensor] = []

    def configure_optimizers(self) -> Any:
        optimizers = self.net.optimizers()
        return list(optimizers), [StepLR(optimizer, 3, gamma=0.5) for optimizer in optimizers]


def play(module: type[OurGame], game: Game) -> Outcome:
    science.seed_generators()
    model = module(game)
    trainer = pl.Trainer(
        accelerator=game.device, devices=1, max_epochs=EPOCHS, precision=game.precision, **QUIET
    )
    trainer.fit(model, science.shuffled())
    assert trainer.global_step == science.BATCHES // game.every * 2 * EPOCHS
    return outcome_of(trainer, model)


PRECISIONS = ("32-true", "64-true", "bf16-true", "bf16-mixed", "16-mixed")


# ------------------------------------------------------------------------------------------------- one by one


class BareTurns(BareGame):
    def train_on(self, real: Tensor, index: int) -> None:
        for optimizer, own, other, loss_of in (
            (self.optimizers[0], "generator", "judge", self.pair.generator_loss),
            (self.optimizers[1], "judge", "generator", self.pair.judge_loss),
        ):
            frozen = [(p, p.requires_grad) for p in self.pair[other].parameters()]
            self.pair[other].requires_grad_(False)
            with self.forward:
                loss = loss_of(real)
            self.losses.append(loss.detach())
            optimizer.zero_grad()
            self.scaler.scale(loss).backward()
            if self.game.clip is not None:
                self.scaler.unscale_(optimizer)
                clipped(self.pair[own].parameters(), self.game)
            self.scaler.step(optimizer)
            self.scaler.update()
            for parameter, required in frozen:
                parameter.requires_grad_(required)
        for scheduler in self.schedulers:
            scheduler.step()


class Toggles(OurGame):
    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        for optimizer, loss_of in zip(
            self.optimizers(), (self.net.generator_loss, self.net.judge_loss), strict=True
        ):
            self.toggle_optimizer(optimizer)
            self.take_turn(optimizer, loss_of(batch[0]))
            self.untoggle_optimizer(optimizer)
        for scheduler in self.lr_schedulers():
            scheduler.step()

    def take_turn(self, optimizer: Any, loss: Tensor) -> None:
        self.losses.append(loss.detach())
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(optimizer, self.game.clip, self.game.clip_by)
        optimizer.step()


class TogglesForABlock(Toggles):
    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        generator, judge = self.optimizers()
        with generator.toggle_model():
            self.take_turn(generator, self.net.generator_loss(batch[0]))
        with self.toggled_optimizer(judge):
            self.take_turn(judge, self.net.judge_loss(batch[0]))
        for scheduler in self.lr_schedulers():
            scheduler.step()


class TurnsInClosures(Toggles):
    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        for optimizer, loss_of in zip(
            self.optimizers(), (self.net.generator_loss, self.net.judge_loss), strict=True
        ):

            def closure(optimizer: Any = optimizer, loss_of: Any = loss_of) -> Tensor:
                loss = loss_of(batch[0])
                self.losses.append(loss.detach())
                optimizer.zero_grad()
                self.manual_backward(loss)
                self.clip_gradients(optimizer, self.game.clip, self.game.clip_by)
                return loss

            with optimizer.toggle_model():
                optimizer.step(closure=closure)
        for scheduler in self.lr_schedulers():
            scheduler.step()


GAMES = [
    *(Game("plain", precision) for precision in PRECISIONS),
    *(Game("clipped", precision, clip=0.05) for precision in PRECISIONS),
    *(Game("clipped values", precision, clip=0.01, clip_by="value") for precision in PRECISIONS),
]


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # the first scaled step overflows
@pytest.mark.parametrize("game", GAMES, ids=str)
@pytest.mark.parametrize("module", [Toggles, TogglesForABlock, TurnsInClosures])
def test_two_optimizers_in_turn(module: type[OurGame], game: Game) -> None:
    assert_same_outcome(play(module, game), BareTurns(game).outcome())


# ---------------------------------------------------------------------------- both at once, every few batches


class BareAtOnce(BareGame):
    """As torch's documentation has it: scale both, step both, update once."""

    def train_on(self, real: Tensor, index: int) -> None:
        with self.forward:
            losses = self.pair.generator_loss(real), self.pair.judge_loss(real)
        for loss in losses:
            self.losses.append(loss.detach())
            self.scaler.scale(loss / self.game.every).backward()
        if (index + 1) % self.game.every:
            return
        for optimizer, own in zip(self.optimizers, ("generator", "judge"), strict=True):
            if self.game.clip is not None:
                self.scaler.unscale_(optimizer)
                clipped(self.pair[own].parameters(), self.game)
            self.scaler.step(optimizer)
        self.scaler.update()
        for optimizer in self.optimizers:
            optimizer.zero_grad()


class AtOnce(OurGame):
    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        optimizers = self.optimizers()
        losses = self.net.generator_loss(batch[0]), self.net.judge_loss(batch[0])
        for loss in losses:
            self.losses.append(loss.detach())
            self.manual_backward(loss / self.game.every)
        if (batch_idx + 1) % self.game.every:
            return
        for optimizer in optimizers:
            self.clip_gradients(optimizer, self.game.clip, self.game.clip_by)
            optimizer.step()
        for optimizer in optimizers:
            optimizer.zero_grad()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("every", [1, 2])
def test_two_optimizers_at_once(every: int, clip: float | None, precision: str) -> None:
    game = Game("", precision, clip=clip, every=every)
    assert_same_outcome(play(AtOnce, game), BareAtOnce(game).outcome())


# ------------------------------------------------------------------------------------- one optimizer, by hand


def test_gradients_may_be_changed_between_backward_and_step() -> None:
    """The step that a user takes is the step that is taken."""

    class Negates(OurGame):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
            for optimizer, loss_of in zip(
                self.optimizers(), (self.net.generator_loss, self.net.judge_loss), strict=True
            ):
                loss = loss_of(batch[0])
                self.losses.append(loss.detach())
                optimizer.zero_grad()
                loss.backward()
                for group in optimizer.param_groups:
                    for parameter in group["params"]:
                        parameter.grad = None if parameter.grad is None else -parameter.grad
                optimizer.step()

    class BareNegation(BareGame):
        def train_on(self, real: Tensor, index: int) -> None:
            for optimizer, loss_of in zip(
                self.optimizers, (self.pair.generator_loss, self.pair.judge_loss), strict=True
            ):
                loss = loss_of(real)
                self.losses.append(loss.detach())
                optimizer.zero_grad()
                (-loss).backward()
                optimizer.step()

    game = Game("")
    assert_same_outcome(play(Negates, game), BareNegation(game).outcome())


def test_the_optimizer_itself_may_be_stepped() -> None:
    """With `use_pl_optimizer=False`, nothing comes between, and nothing is counted."""

    class StepsItself(Toggles):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
            generator, judge = self.optimizers(use_pl_optimizer=False)
            assert type(generator) is SGD
            for optimizer, loss_of in (
                (generator, self.net.generator_loss),
                (judge, self.net.judge_loss),
            ):
                self.toggle_optimizer(optimizer)
                loss = loss_of(batch[0])
                self.losses.append(loss.detach())
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
                self.untoggle_optimizer(optimizer)
            for scheduler in self.lr_schedulers():
                scheduler.step()

    game = Game("")
    science.seed_generators()
    model = StepsItself(game)
    trainer = pl.Trainer(accelerator="cpu", max_epochs=EPOCHS, **QUIET)
    trainer.fit(model, science.shuffled())
    assert trainer.global_step == 0
    assert_same_outcome(outcome_of(trainer, model), BareTurns(game).outcome())
