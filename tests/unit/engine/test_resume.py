"""A run that was saved and taken up again comes to what it would have come to."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

import fulmen as pl
from fulmen.precision import MixedPrecision

from .small import Rows, TrainsOnly, batches, fit, make_trainer, stream

BATCHES = 5
EPOCHS = 3


class Everything(TrainsOnly):
    """Random numbers, momentum, a scheduler by step and one that follows a metric; keeps what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int, float]] = []
        self.losses: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        batch = (
            torch.cat([part * 10**i for i, part in enumerate(batch)]) if isinstance(batch, list) else batch
        )
        self.seen.append((self.current_epoch, batch_idx, batch.square().sum().item()))
        noise = torch.rand(()) + random.random() + float(numpy.random.rand())
        loss = (self.w * batch.mean() - noise).square()
        self.losses.append(loss.item())
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val", self.w * batch.mean() + torch.rand(()))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)
        by_step = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7)
        on_plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        return [optimizer], [
            {"scheduler": by_step, "interval": "step", "frequency": 2},
            {"scheduler": on_plateau, "monitor": "loss_epoch"},
        ]


def seed(number: int) -> None:
    torch.manual_seed(number)
    random.seed(number)
    numpy.random.seed(number)


def weight(trainer: pl.Trainer) -> float:
    return trainer.lightning_module.state_dict()["w"].item()


def state(trainer: pl.Trainer) -> dict[str, Any]:
    """All that training depends on, after it."""
    (optimizer,) = trainer.optimizers
    buffers = [value.get("momentum_buffer") for value in optimizer.state.values()]
    return {
        "weight": weight(trainer),
        "momentum": [None if buffer is None else buffer.item() for buffer in buffers],
        "rate": optimizer.param_groups[0]["lr"],
        "schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        "position": (trainer.current_epoch, trainer.global_step),
        "metrics": {name: value.item() for name, value in trainer.callback_metrics.items()},
        "random": (torch.rand(()).item(), random.random(), float(numpy.random.rand())),
    }


class SavesAt(pl.Callback):
    """Saves a checkpoint in one hook, at one batch of one epoch."""

    def __init__(self, path: Path, hook: str, epoch: int, batch: int | None = None) -> None:
        self.path, self.at = path, (epoch, batch)
        setattr(self, hook, self.at_batch if hook == "on_train_batch_end" else self.at_epoch)

    def at_batch(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == self.at:
            trainer.save_checkpoint(self.path)

    def at_epoch(self, trainer: pl.Trainer, module: Any) -> None:
        if trainer.current_epoch == self.at[0]:
            trainer.save_checkpoint(self.path)


def loader(kind: str) -> Any:
    numbers: Any = torch.arange(2.0 * BATCHES)
    generator = torch.Generator().manual_seed(4)
    if kind == "shuffled":
        return DataLoader(numbers, batch_size=2, shuffle=True)
    if kind == "shuffled by workers":
        return DataLoader(numbers, batch_size=2, shuffle=True, num_workers=1)
    if kind == "own generator":
        return DataLoader(numbers, batch_size=2, shuffle=True, generator=generator)
    if kind == "own sampler":
        return DataLoader(numbers, batch_size=2, sampler=RandomSampler(numbers, generator=generator))
    if kind == "several":
        return [batches(BATCHES), DataLoader(numbers, batch_size=4, shuffle=True)]
    return stream(BATCHES) if kind == "stream" else batches(BATCHES)


MOMENTS = [
    ("on_train_batch_end", 1, 1),
    ("on_train_batch_end", 1, 3),
    ("on_train_batch_end", 1, BATCHES - 1),
    ("on_train_batch_end", 0, 3),
    ("on_train_epoch_end", 0, None),
    ("on_train_epoch_end", 1, None),
    ("on_validation_end", 1, None),
    ("on_train_epoch_start", 1, None),
]
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulated": {"accumulate_grad_batches": 2},
    "validated often": {"val_check_interval": 2},
    "validated seldom": {"check_val_every_n_epoch": 2},
    "sanity checked": {"num_sanity_val_steps": 1},
    "double": {"precision": "64-true"},
}


def run(
    root: Path, kind: str, ckpt_path: Path | None = None, **options: Any
) -> tuple[pl.Trainer, Everything]:
    model = Everything()
    trainer = make_trainer(root, **{"max_epochs": EPOCHS, **options})
    trainer.fit(model, loader(kind), batches(2), ckpt_path=ckpt_path)
    return trainer, model


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda m: f"{m[0]} {m[1]} {m[2]}")
@pytest.mark.parametrize("kind", ["in order", "shuffled"])
def test_the_rest_is_bit_for_bit_the_same(tmp_path: Path, kind: str, moment: Any, options: str) -> None:
    """Weights, momentum, schedulers, metrics, random numbers, and the samples that were left."""
    path = tmp_path / "saved.ckpt"
    seed(7)
    whole, model = run(tmp_path, kind, callbacks=[SavesAt(path, *moment)], **OPTIONS[options])
    expected = state(whole)
    seed(123)  # whatever happened in the new process before
    rest, again = run(tmp_path, kind, path, **OPTIONS[options])
    assert state(rest) == expected
    assert again.losses == model.losses[len(model.losses) - len(again.losses) :]
    assert again.seen == model.seen[len(model.seen) - len(again.seen) :]


@pytest.mark.parametrize("kind", ["stream", "shuffled by workers", "own generator", "own sampler", "several"])
@pytest.mark.parametrize(("epoch", "batch"), [(0, 0), (0, 2), (1, 2)])
def test_the_samples_that_were_left(tmp_path: Path, kind: str, epoch: int, batch: int) -> None:
    """Whoever put them in order."""
    path = tmp_path / "saved.ckpt"
    seed(7)
    _, model = run(tmp_path, kind, callbacks=[SavesAt(path, "on_train_batch_end", epoch, batch)])
    seed(123)
    _, again = run(tmp_path, kind, path)
    assert again.seen == model.seen[epoch * BATCHES + batch + 1 :]


def test_a_checkpoint_asked_for_in_the_middle_of_a_window_waits_for_its_end(tmp_path: Path) -> None:
    """The gradients of a window are in no file."""
    path = tmp_path / "saved.ckpt"
    options: dict[str, Any] = {"accumulate_grad_batches": 3}
    seed(7)
    whole, model = run(tmp_path, "in order", callbacks=[SavesAt(path, "on_train_batch_end", 1, 1)], **options)
    _, again = run(tmp_path, "in order", path, **options)
    assert again.seen == model.seen[BATCHES + 3 :]
    assert whole.global_step == 6


def test_a_checkpoint_saved_by_an_exception_in_a_window_begins_the_window_again(tmp_path: Path) -> None:
    """Then there is no waiting; its batches are not lost."""

    class Fails(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int):
            if (trainer.current_epoch, batch_idx) == (1, 1):
                raise ValueError("scripted")

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            trainer.save_checkpoint(tmp_path / "saved.ckpt")

    options: dict[str, Any] = {"accumulate_grad_batches": 3}
    seed(7)
    _, model = run(tmp_path, "in order", **options)
    seed(7)
    with pytest.raises(ValueError, match="scripted"):
        run(tmp_path, "in order", callbacks=[Fails()], **options)
    exact = torch.load(tmp_path / "saved.ckpt", weights_only=True)["fulmen"]["exact"]
    assert (exact["resumable"], len(exact["reasons"])) == (False, 1)
    _, again = run(tmp_path, "in order", tmp_path / "saved.ckpt", **options)
    assert again.seen == model.seen[BATCHES:]


@pytest.mark.parametrize(
    ("moment", "position"),
    [
        (("on_train_batch_end", 1, 2), (1, 8)),
        (("on_train_epoch_end", 1, None), (2, 10)),
        (("on_train_epoch_start", 1, None), (1, 5)),
    ],
    ids=str,
)
def test_position_that_the_hooks_see(tmp_path: Path, moment: Any, position: tuple[int, int]) -> None:
    seen: list[tuple[int, int]] = []

    class Looks(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            seen.append((trainer.current_epoch, trainer.global_step))

    path = tmp_path / "saved.ckpt"
    run(tmp_path, "in order", callbacks=[SavesAt(path, *moment)])
    run(tmp_path, "in order", path, callbacks=[Looks()])
    assert seen == [position]


def test_rows_go_on_where_they_ended(tmp_path: Path) -> None:
    """The steps of the rows of a resumed run follow those of the first one."""
    path = tmp_path / "saved.ckpt"
    first, second, whole = Rows(), Rows(), Rows()
    seed(7)
    run(tmp_path, "in order", callbacks=[SavesAt(path, "on_train_batch_end", 1, 2)], logger=whole)
    seed(7)
    run(tmp_path, "in order", limit_train_batches=BATCHES, logger=first)
    run(tmp_path, "in order", path, logger=second)
    position = [step for step, _ in whole.named("loss_step")].index(8)
    assert second.named("loss_step") == whole.named("loss_step")[position:]
    assert second.named("loss_epoch") == whole.named("loss_epoch")[1:]
    assert first.rows == whole.rows


def test_more_epochs_than_the_first_run_had(tmp_path: Path) -> None:
    """Fit for two epochs, go on for two more: as four in one go."""
    path = tmp_path / "saved.ckpt"
    model, longer = Everything(), Everything()
    seed(7)
    make_trainer(tmp_path, max_epochs=4, limit_val_batches=0).fit(longer, loader("shuffled"))
    seed(7)
    short = make_trainer(tmp_path, max_epochs=2, limit_val_batches=0)
    short.fit(model, loader("shuffled"))
    short.save_checkpoint(path)
    seed(99)
    again = Everything()
    make_trainer(tmp_path, max_epochs=4, limit_val_batches=0).fit(again, loader("shuffled"), ckpt_path=path)
    assert model.losses + again.losses == longer.losses


@pytest.mark.parametrize("most", [{"max_epochs": 1}, {"max_epochs": 2}, {"max_steps": 10}])
def test_nothing_left(tmp_path: Path, most: dict[str, int]) -> None:
    path = tmp_path / "saved.ckpt"
    trainer = fit(tmp_path, TrainsOnly(), train=5, max_epochs=2)
    trainer.save_checkpoint(path)
    model = TrainsOnly()
    again = make_trainer(tmp_path, **most)
    again.fit(model, batches(5), ckpt_path=path)
    assert (again.current_epoch, again.global_step) == (2, 10)
    assert model.w.item() == weight(trainer)


def test_data_that_became_shorter(tmp_path: Path) -> None:
    """The epoch under way has ended; the next ones are shorter."""
    path = tmp_path / "saved.ckpt"
    run(tmp_path, "in order", callbacks=[SavesAt(path, "on_train_batch_end", 0, 3)])
    trainer, model = run(tmp_path, "in order", path, limit_train_batches=2)
    assert [(epoch, batch) for epoch, batch, _ in model.seen] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert (trainer.current_epoch, trainer.global_step) == (3, 8)


class Grows(pl.Callback):
    """Counts batches, over all runs."""

    count = 0

    def on_train_batch_end(self, *args: Any) -> None:
        self.count += 1

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.count = state_dict["count"]


def test_callbacks_and_data_go_on(tmp_path: Path) -> None:
    class Data(pl.LightningDataModule):
        asked = 0

        def train_dataloader(self) -> Any:
            self.asked += 1
            return batches(BATCHES)

        def state_dict(self) -> dict[str, Any]:
            return {"asked": self.asked}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.asked = state_dict["asked"]

    path = tmp_path / "saved.ckpt"
    trainer = make_trainer(tmp_path, callbacks=[Grows()])
    trainer.fit(TrainsOnly(), datamodule=Data())
    trainer.save_checkpoint(path)
    grows, data = Grows(), Data()
    make_trainer(tmp_path, callbacks=[grows], max_epochs=2).fit(TrainsOnly(), datamodule=data, ckpt_path=path)
    assert grows.count == 2 * BATCHES
    assert data.asked == 2


def test_states_of_callbacks_that_are_gone_and_callbacks_without_a_state(tmp_path: Path) -> None:
    """Either is fine: the set of callbacks may change between runs."""
    path = tmp_path / "saved.ckpt"
    fit(tmp_path, TrainsOnly(), callbacks=[Grows()]).save_checkpoint(path)
    make_trainer(tmp_path, max_epochs=2).fit(TrainsOnly(), batches(2), ckpt_path=path)
    fit(tmp_path, TrainsOnly()).save_checkpoint(path)
    grows = Grows()
    make_trainer(tmp_path, max_epochs=2, callbacks=[grows]).fit(TrainsOnly(), batches(2), ckpt_path=path)
    assert grows.count == 2


@pytest.mark.parametrize("method", ["validate", "test", "predict"])
def test_evaluation_takes_up_weights_and_callbacks_only(tmp_path: Path, method: str) -> None:
    class Evaluates(Everything):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            pass

        def predict_step(self, batch: Any, batch_idx: int) -> None:
            pass

    path = tmp_path / "saved.ckpt"
    trained = fit(tmp_path, Evaluates(), train=4, callbacks=[Grows()])
    trained.save_checkpoint(path)
    model, grows = Evaluates(), Grows()
    trainer = make_trainer(tmp_path, callbacks=[grows])
    getattr(trainer, method)(model, batches(1), ckpt_path=path)
    assert model.w.item() == weight(trained)
    assert grows.count == 4
    assert (trainer.current_epoch, trainer.global_step) == (0, 0)
    assert trainer.ckpt_path == str(path)


def test_loss_scale_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "saved.ckpt"
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**5)  # pyright: ignore[reportPrivateImportUsage]
    trainer = fit(tmp_path, TrainsOnly(), train=2, plugins=MixedPrecision("16-mixed", scaler=scaler))
    trainer.save_checkpoint(path)
    again = make_trainer(tmp_path, precision="16-mixed", max_epochs=1)
    again.fit(TrainsOnly(), batches(2), ckpt_path=path)
    assert again.scaler.get_scale() == 2.0**5


def test_epochs_of_samplers_go_on(tmp_path: Path) -> None:
    class Follows(RandomSampler):
        def set_epoch(self, epoch: int) -> None:
            epochs.append(epoch)

    epochs: list[int] = []
    path, data = tmp_path / "saved.ckpt", torch.arange(5.0)
    seed(0)
    fit(
        tmp_path, TrainsOnly(), train=DataLoader(data, sampler=Follows(data)), max_epochs=2,  # type: ignore[arg-type]
        callbacks=[SavesAt(path, "on_train_batch_end", 1, 2)],
    )  # fmt: skip
    again = make_trainer(tmp_path, max_epochs=3)
    again.fit(TrainsOnly(), DataLoader(data, sampler=Follows(data)), ckpt_path=path)  # type: ignore[arg-type]
    assert epochs == [0, 1, 1, 2]
