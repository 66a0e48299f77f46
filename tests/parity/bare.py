"""The training loop that a careful user would write by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from . import science
from .outcome import Outcome

HALF_TYPES = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
TRUE_TYPES = {"16-true": torch.float16, "bf16-true": torch.bfloat16, "64-true": torch.float64}


def sgd(parameters: Iterable[nn.Parameter]) -> Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


@dataclass(frozen=True)
class Case:
    """One way to train. What is not said is plain: two epochs of shuffled batches, SGD, 32 bits."""

    title: str
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = sgd
    scheduler: Callable[[Optimizer, int], Any] | None = None
    """Takes the optimizer and the number of steps of the whole training."""
    scheduler_interval: str = "epoch"
    follows: str | None = None
    """What a ReduceLROnPlateau looks at: "val_loss" after each epoch, or "train_loss" after each step."""
    loader: Callable[[], Any] = science.shuffled
    fetches_ahead: bool = False
    """Whether the next batch is fetched before this one is used."""
    epochs: int = 2
    limit: int | None = None
    """Most batches per epoch."""
    validates_every: int | None = None
    """After how many batches of an epoch a validation follows."""
    accumulate: int = 1
    clip: float | None = None
    clip_by: str = "norm"
    precision: str = "32-true"
    device: str = "cpu"
    skips: tuple[int, ...] = ()
    """Indices of the batches whose loss is not used."""
    explodes: tuple[int, ...] = ()
    """Indices of the batches whose gradients are infinite."""

    def __str__(self) -> str:
        return self.title.replace(" ", "_")

    @property
    def batches(self) -> int:
        """Batches per epoch."""
        return science.BATCHES if self.limit is None else self.limit


def train_bare(case: Case) -> Outcome:
    """Train as `case` says."""
    outcome = Outcome()
    science.seed_generators()
    true_type = TRUE_TYPES.get(case.precision, torch.float32)
    net = science.Net().to(case.device, true_type)
    optimizer = case.optimizer(net.parameters())
    windows = -(-case.batches // case.accumulate)
    scheduler = case.scheduler(optimizer, windows * case.epochs) if case.scheduler else None
    scaler = torch.amp.GradScaler(case.device, enabled=case.precision == "16-mixed")
    loader, validation_loader = case.loader(), science.validation_data()

    def compute_loss(batch: list[Tensor]) -> Tensor:
        half = HALF_TYPES.get(case.precision)
        with torch.autocast(case.device, half) if half else nullcontext():
            return science.loss_of(net, [tensor.to(case.device, true_type) for tensor in batch])

    @torch.no_grad()
    def validate() -> None:
        net.eval()
        outcome.validation_losses += [compute_loss(batch) for batch in validation_loader]
        net.train()

    for _ in range(case.epochs):
        batches = islice(loader, case.limit)
        for index, batch in enumerate(science.fetched_one_ahead(batches) if case.fetches_ahead else batches):
            window_start = index - index % case.accumulate
            window_end = min(window_start + case.accumulate, case.batches)
            loss = compute_loss(batch)
            outcome.losses.append(loss.detach())
            if index == window_start:
                optimizer.zero_grad()
            if index in case.explodes:
                loss = loss * float("inf")
            if index not in case.skips:
                scaler.scale(loss / (window_end - window_start)).backward()
            used = set(range(window_start, window_end)).difference(case.skips)
            if index + 1 == window_end and used:
                if case.clip is not None:
                    scaler.unscale_(optimizer)
                    clip(net.parameters(), case.clip, case.clip_by)
                scaler.step(optimizer)
                scaler.update()
            if scheduler and case.scheduler_interval == "step" and index + 1 == window_end:
                scheduler.step(*([loss.detach()] if case.follows else []))
            if case.validates_every and (index + 1) % case.validates_every == 0:
                validate()
        if scheduler and case.scheduler_interval == "epoch":
            scheduler.step(*outcome.validation_losses[-1:] if case.follows else [])

    outcome.weights = net.state_dict()
    outcome.optimizers = [optimizer.state_dict()]
    outcome.schedulers = [scheduler.state_dict()] if scheduler else []
    outcome.scaler = scaler.state_dict()
    outcome.generators = science.generator_states()
    return outcome


def clip(parameters: Iterable[nn.Parameter], most: float, by: str) -> None:
    """Clip gradients by their norm, or each by its value."""
    if by == "norm":
        nn.utils.clip_grad_norm_(parameters, most)
    else:
        nn.utils.clip_grad_value_(parameters, most)
