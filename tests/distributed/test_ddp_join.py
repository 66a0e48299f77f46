"""`DDPStrategy(uneven="join")`: each sample once, and the gradients that a plain loop has."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.utils.data import DataLoader, IterableDataset

import fulmen as pl
from fulmen import SplitByRank
from fulmen.callbacks import ModelCheckpoint
from fulmen.errors import ConfigError
from fulmen.loggers import CSVLogger
from fulmen.strategies import DDPStrategy

from .ranks import Ranks
from .test_ddp import FEATURES, QUIET, Halves, Numbered, Regression
from .test_ddp_resume import Augmented, Killed, Measured, SaveAndDie

Steps = list[list[list[int]]]
"""The samples of each rank in each step of an epoch; none where a rank has no batch."""


class Listed(IterableDataset[Any]):
    """Some of the samples, one after the other."""

    def __init__(self, length: int, *numbers: int) -> None:
        self.data, self.numbers = Numbered(length), numbers

    def __iter__(self) -> Iterator[Any]:
        return (self.data[number] for number in self.numbers)


class Steady(Regression):
    """Trains with momentum and a rate that follows the steps; remembers what its hooks were called with."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[tuple[bool, bool]] = []

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.ends.append((batch is None, bool(outputs)))

    def configure_optimizers(self) -> Any:
        optimizer, scheduler = optimizer_of(self)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def optimizer_of(module: nn.Module) -> Any:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.8)


def loader_of(kind: str, length: int, rank: int) -> DataLoader:
    if kind == "own batches":
        return DataLoader(Numbered(length), batch_sampler=Halves(length, 4))
    if kind == "stream":
        return DataLoader(SplitByRank(Listed(length, *range(length))), 4)
    if kind == "own loaders":  # of each rank; the first has all but one
        return DataLoader(Listed(length, *(range(1, length) if rank == 0 else range(1))), 4)
    return DataLoader(Numbered(length), 4)


def steps_of(kind: str, length: int) -> Steps:
    """What two ranks are to do in an epoch."""
    numbers = list(range(length))
    if kind == "own batches":
        batches = list(Halves(length, 4))
        return [[*batches[start : start + 2], []][:2] for start in range(0, len(batches), 2)]
    shares = [numbers[1:], numbers[:1]] if kind == "own loaders" else [numbers[0::2], numbers[1::2]]
    starts = range(0, max(map(len, shares)), 4)
    return [[share[start : start + 4] for share in shares] for start in starts]


def train(rank: int, kind: str, length: int, options: dict[str, Any], finds_unused: bool = False) -> Any:
    pl.seed_everything(5, verbose=False)
    module = Steady()
    strategy = DDPStrategy(uneven="join", find_unused_parameters=finds_unused)
    trainer = pl.Trainer(devices=2, max_epochs=2, strategy=strategy, log_every_n_steps=1, **QUIET, **options)
    trainer.fit(module, loader_of(kind, length, rank))
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    return module.weights(), module.steps, logged, module.ends, trainer.global_step


def train_plainly(kind: str, length: int, window: int, clip: float) -> tuple[Tensor, list[float]]:
    """Two epochs in one process, without fulmen: the weights, and the loss of each batch."""
    pl.seed_everything(5, verbose=False)
    module = Steady()
    optimizer, scheduler = optimizer_of(module)
    data, steps, losses = Numbered(length), steps_of(kind, length), []
    for _ in range(2):
        for start in range(0, len(steps), window):
            several = steps[start : start + window]
            optimizer.zero_grad()
            for ranks in several:
                present = [numbers for numbers in ranks if numbers]
                of_ranks = [loss_of(module, data, numbers) for numbers in present]
                if kind == "in order":  # a batch that was divided: its samples count the same
                    loss = loss_of(module, data, [*chain(*present)])
                else:
                    loss = torch.stack(of_ranks).mean()
                (loss / len(several)).backward()
                losses.append(torch.stack(of_ranks).mean().item())
            if clip:
                nn.utils.clip_grad_norm_(module.parameters(), clip)
            optimizer.step()
            scheduler.step()
    return module.weights(), losses


def loss_of(module: Regression, data: Numbered, numbers: list[int]) -> Tensor:
    x = data.x[numbers]
    return nn.functional.mse_loss(module.net(x).squeeze(1), x.sum(1))


@pytest.mark.filterwarnings("ignore:Each of the 2 processes goes over")
@pytest.mark.parametrize(("window", "clip"), [(1, 0.0), (2, 0.0), (3, 0.5)])
@pytest.mark.parametrize(
    ("kind", "length"),
    [
        ("in order", 19), ("in order", 17), ("in order", 16), ("in order", 1), ("own batches", 17),
        ("stream", 17), ("stream", 23), ("stream", 1), ("own loaders", 14),
    ],
)  # fmt: skip
def test_each_sample_once_and_the_weights_of_a_plain_loop(
    kind: str, length: int, window: int, clip: float, two_ranks: Ranks
) -> None:
    options = {"accumulate_grad_batches": window, "gradient_clip_val": clip}
    first, second = two_ranks(train, kind, length, options)
    expected, losses = train_plainly(kind, length, window, clip)
    wanted = steps_of(kind, length)
    for (_, steps, _, ends, global_step), rank in ((first, 0), (second, 1)):
        own = [sorted(ranks[rank]) for ranks in wanted]
        assert [sorted(numbers) for _, numbers in steps] == [numbers for numbers in own if numbers] * 2
        assert ends == [(not numbers, bool(numbers)) for numbers in own] * 2
        assert global_step == 2 * -(-len(wanted) // window)
    assert torch.equal(first[0], second[0])
    torch.testing.assert_close(first[0], expected, rtol=1e-6, atol=1e-6)
    assert first[2] == second[2]
    if window == 1:
        assert first[2]["loss_step"] == pytest.approx(losses[-1], rel=1e-5)


def limited(rank: int, kind: str) -> Any:
    module, options = Steady(), {"limit_train_batches": 2}
    trainer = pl.Trainer(devices=2, max_epochs=2, strategy=DDPStrategy(uneven="join"), **QUIET, **options)
    trainer.fit(module, loader_of(kind, 17, rank))
    return [len(numbers) for _, numbers in module.steps], trainer.num_training_batches


@pytest.mark.parametrize("kind", ["in order", "stream", "own loaders"])
def test_limits_count_the_steps_of_all(kind: str, two_ranks: Ranks) -> None:
    (first, length), (second, also) = two_ranks(limited, kind)
    assert first == [4, 4] * 2
    assert second == ([1] * 2 if kind == "own loaders" else [4, 4] * 2)
    assert length == also == 2


# ------------------------------------------------------------------------------------------ what goes with it


class Validates(Regression):
    """Counts its validations, follows their loss, and logs in many ways."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(FEATURES, affine=False)  # whose buffers are sent around
        self.validated_after: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y, numbers = batch
        self.log("most", numbers.max().float(), reduce_fx="max", on_step=True, on_epoch=True, sync_dist=True)
        self.log("count", float(len(y)), reduce_fx="sum", on_step=False, on_epoch=True)
        return super().training_step((self.norm(x) if len(y) > 1 else x, y, numbers), batch_idx)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.log("rate", optimizer.param_groups[0]["lr"])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y, _ = batch
        self.log("val_loss", (self.net(x).squeeze(1) - y).square().mean())

    def on_validation_epoch_end(self) -> None:
        self.validated_after.append(self.global_step)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
        config = {"scheduler": scheduler, "interval": "step", "monitor": "loss", "strict": False}
        return {"optimizer": optimizer, "lr_scheduler": config}


def accompanied(rank: int, kind: str, hook: bool) -> Any:
    pl.seed_everything(5, verbose=False)
    module = Validates()
    strategy = DDPStrategy(uneven="join", ddp_comm_hook=fp16_compress_hook if hook else None)
    trainer = pl.Trainer(
        devices=2, max_epochs=2, strategy=strategy, log_every_n_steps=1, val_check_interval=1,
        num_sanity_val_steps=0, **QUIET,
    )  # fmt: skip
    loader = DataLoader(Numbered(17), 2) if kind == "counted" else DataLoader(SplitByRank(Numbered(17)), 2)  # pyright: ignore[reportArgumentType]
    trainer.fit(module, loader, DataLoader(Numbered(3), 2))
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    return module.weights(), module.validated_after, logged, trainer.optimizers[0].param_groups[0]["lr"]


@pytest.mark.parametrize("hook", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("kind", ["counted", "asked"])
def test_logging_validation_and_schedulers_stay_in_step(kind: str, hook: bool, two_ranks: Ranks) -> None:
    first, second = two_ranks(accompanied, kind, hook)
    assert torch.equal(first[0], second[0])
    assert first[1:] == second[1:]
    assert first[1] == list(range(1, 11))
    assert first[2]["count"] == 17
    assert first[2]["most_step"] == 16
    assert first[3] < 0.1


class Sometimes(Steady):
    """Has a part that only steps of whole batches use."""

    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.Linear(FEATURES, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss + self.extra(batch[0]).mean() if len(batch[0]) == 4 else loss


def finds_unused(rank: int) -> Any:
    pl.seed_everything(5, verbose=False)
    module = Sometimes()
    before: list[bool] = []
    strategy = DDPStrategy(uneven="join", find_unused_parameters=True)

    class Looks(pl.Callback):
        def on_before_optimizer_step(self, *args: Any) -> None:
            before.append(module.extra.weight.grad is None)

    trainer = pl.Trainer(devices=2, max_epochs=1, strategy=strategy, callbacks=[Looks()], **QUIET)
    trainer.fit(module, DataLoader(Numbered(17), 4))
    return before, module.extra.weight.tolist()


def test_a_rank_without_a_batch_uses_no_parameter_that_others_leave_out(two_ranks: Ranks) -> None:
    (first, weights), (second, others) = two_ranks(finds_unused)
    assert first == second == [False, False, True]
    assert weights == others


# --------------------------------------------------------------------------------------------------- going on


class Reader(IterableDataset[Any]):
    """Knows where it stands, and goes on from there."""

    def __init__(self, length: int, rank: int) -> None:
        self.data, self.numbers, self.position = Numbered(length), range(rank, length, 2), 0

    def __iter__(self) -> Iterator[Any]:
        self.position %= len(self.numbers)
        while self.position < len(self.numbers):
            self.position += 1
            yield self.data[self.numbers[self.position - 1]]

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        self.position = state_dict["position"]


def live(rank: int, folder: str, kind: str, dies_after: int | None) -> Any:
    pl.seed_everything(11, verbose=False)
    module = Measured()
    saver = ModelCheckpoint(f"{folder}/saved", every_n_train_steps=1, save_top_k=-1)
    callbacks: list[Any] = [saver] if dies_after is None else [SaveAndDie(dies_after, folder), saver]
    quiet = QUIET | {"logger": CSVLogger(folder, name="logs", version="run"), "enable_checkpointing": True}
    trainer = pl.Trainer(
        devices=2, max_epochs=2, strategy=DDPStrategy(uneven="join"), callbacks=callbacks,
        log_every_n_steps=2, use_distributed_sampler=kind != "own", **quiet,
    )  # fmt: skip
    data = Augmented(25)
    kinds: dict[str, Any] = {
        "counted": data,
        "asked": SplitByRank([data[i] for i in range(25)]),
        "stateful": Reader(25, rank),
        "own": Augmented(6 if rank else 15),
    }
    loader = DataLoader(kinds[kind], 4, shuffle=kind in ("counted", "own"))
    try:
        trainer.fit(module, loader, DataLoader(Numbered(9), 2), ckpt_path="auto")
    except Killed:
        return None
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    return module.weights().tolist(), str(trainer.optimizers[0].state_dict()), logged, module.steps


@pytest.mark.parametrize("dies_after", [3, 4, 7, 8])
@pytest.mark.filterwarnings("ignore:Each of the 2 processes goes over")
@pytest.mark.parametrize("kind", ["counted", "asked", "stateful", "own"])
def test_killed_ranks_go_on(kind: str, dies_after: int, two_ranks: Ranks, tmp_path: Path) -> None:
    """There are four steps in an epoch, of which one rank has only three, or two."""
    whole = two_ranks(live, str(tmp_path / "whole"), kind, None)
    assert two_ranks(live, str(tmp_path / "killed"), kind, dies_after) == [None, None]
    after = two_ranks(live, str(tmp_path / "killed"), kind, None)
    for before, found in zip(whole, after, strict=True):
        assert found[:3] == before[:3]
        assert found[3] == before[3][len(before[3]) - len(found[3]) :]
    rows = [(tmp_path / name / "logs" / "run" / "metrics.csv").read_text() for name in ("whole", "killed")]
    assert rows[0] == rows[1]


def begin(rank: int, folder: str, devices: int, batches: int) -> list[int]:
    pl.seed_everything(3, verbose=False)
    module = Steady()
    callbacks = [SaveAndDie(batches, folder)]
    strategy = DDPStrategy(uneven="join")
    trainer = pl.Trainer(devices=devices, max_epochs=2, strategy=strategy, callbacks=callbacks, **QUIET)
    with pytest.raises(Killed):
        trainer.fit(module, DataLoader(Numbered(25), 4, shuffle=True))
    return [number for _, numbers in module.steps for number in numbers]


def go_on(rank: int, folder: str, devices: int) -> Any:
    module = Steady()
    trainer = pl.Trainer(devices=devices, max_epochs=2, strategy=DDPStrategy(uneven="join"), **QUIET)
    loader = DataLoader(Numbered(25), 4, shuffle=True)
    trainer.fit(module, loader, ckpt_path=f"{folder}/middle.ckpt")
    of_epochs = [[n for epoch, numbers in module.steps if epoch == e for n in numbers] for e in range(2)]
    return of_epochs, module.weights().tolist()


@pytest.mark.filterwarnings("ignore:.*was saved by")
@pytest.mark.parametrize("batches", [1, 4])
def test_two_processes_take_over_the_epoch_of_one(batches: int, two_ranks: Ranks, tmp_path: Path) -> None:
    done = begin(0, str(tmp_path), 1, batches)
    (first, weights), (second, others) = two_ranks(go_on, str(tmp_path), 2)
    assert sorted(done + first[0] + second[0]) == sorted(first[1] + second[1]) == list(range(25))
    assert weights == others


# ----------------------------------------------------------------------------------- what does not go with it


class ByHand(Steady):
    """In manual optimization."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


class WithLBFGS(Steady):
    """Its optimizer calls the training step."""

    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters())


class Sparse(Steady):
    """Its gradients are sparse."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(3, 2, sparse=True)


class Synchronised(Steady):
    """Its layers wait for one another."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.SyncBatchNorm(FEATURES)


def refused(rank: int, kind: type[Steady], arguments: dict[str, Any]) -> str:
    strategy = DDPStrategy(uneven="join", **arguments)
    with pytest.raises(ConfigError) as caught:
        pl.Trainer(devices=2, strategy=strategy, **QUIET).fit(kind(), DataLoader(Numbered(3), 1))
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "arguments", "word"),
    [
        (ByHand, {}, "manual optimization"),
        (WithLBFGS, {}, "LBFGS"),
        (Sparse, {}, "'table'"),
        (Synchronised, {}, "'norm'"),
        (Steady, {"static_graph": True}, "static_graph"),
    ],
)
def test_what_cannot_be_joined_is_refused(
    kind: type[Steady], arguments: dict[str, Any], word: str, two_ranks: Ranks
) -> None:
    for said in two_ranks(refused, kind, arguments):
        assert word in said
        assert "DDPStrategy(uneven='pad')" in said


def test_other_words_are_refused() -> None:
    with pytest.raises(ConfigError, match="'pad' or 'join'"):
        DDPStrategy(uneven="drop")  # pyright: ignore[reportArgumentType]
