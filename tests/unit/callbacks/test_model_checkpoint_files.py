"""Which files there are after a fit: those that Lightning 2.6 leaves, unless a test says otherwise.

Each fit has three epochs of four batches, and validation losses 3, 1, 2, 0.5, 1.5.
"""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.base.report import FulmenWarning
from fulmen.callbacks import Checkpoint, LambdaCallback, ModelCheckpoint

from .scenarios import MemoryLogger, Scripted, batches, fit, make_trainer, names

NAN = float("nan")
ALL = {"save_top_k": -1}
BEST = {"monitor": "val_loss"}


@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        ({}, {}, ["epoch=2-step=12"]),
        (ALL, {}, ["epoch=0-step=4", "epoch=1-step=8", "epoch=2-step=12"]),
        ({"save_top_k": 0}, {}, []),
        (BEST, {}, ["epoch=1-step=8"]),
        (BEST | {"mode": "max"}, {}, ["epoch=0-step=4"]),
        (
            BEST | {"save_top_k": 2, "filename": "{epoch}-{val_loss:.2f}"},
            {},
            ["epoch=1-val_loss=1.00", "epoch=2-val_loss=2.00"],
        ),
        (BEST | {"filename": "{epoch}/{val_loss}"}, {}, ["epoch=1/val_loss=1.0"]),
        ({"monitor": "epoch", "mode": "max", "save_top_k": 2}, {}, ["epoch=1-step=8", "epoch=2-step=12"]),
        ({"every_n_train_steps": 5}, {}, ["epoch=2-step=10"]),
        (ALL | {"every_n_train_steps": 5}, {}, ["epoch=1-step=5", "epoch=2-step=10"]),
        (ALL | {"every_n_epochs": 2}, {"max_epochs": 5}, ["epoch=1-step=8", "epoch=3-step=16"]),
        ({"every_n_epochs": 0}, {}, []),
        (ALL | {"train_time_interval": timedelta(0)}, {"max_steps": 2}, ["epoch=0-step=1", "epoch=0-step=2"]),
        (ALL | {"train_time_interval": timedelta(hours=1)}, {}, []),
        (ALL, {"check_val_every_n_epoch": 2}, ["epoch=1-step=8"]),
        (ALL, {"val_check_interval": 0.5, "max_epochs": 1}, ["epoch=0-step=2", "epoch=0-step=4"]),
        (ALL, {"limit_val_batches": 0}, ["epoch=0-step=4", "epoch=1-step=8", "epoch=2-step=12"]),
        ({}, {"max_steps": 6}, ["epoch=1-step=6"]),
        ({}, {"fast_dev_run": True}, []),
        ({}, {"num_sanity_val_steps": 1, "max_steps": 1}, ["epoch=0-step=1"]),
        ({"filename": "x"}, {}, ["x"]),
        (BEST | {"filename": "x", "save_top_k": 2}, {"max_epochs": 5}, ["x", "x-v1"]),
    ],
)
def test_files(
    arguments: dict[str, Any], options: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    fit(tmp_path, ModelCheckpoint(tmp_path / "kept", **arguments), **options)
    assert names(tmp_path / "kept") == sorted(f"{name}.ckpt" for name in expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ["epoch=2-step=12.ckpt", "last.ckpt"]),
        (BEST, ["epoch=1-step=8.ckpt", "last.ckpt"]),
        ({"save_last": "link"}, ["epoch=2-step=12.ckpt", "last.ckpt -> epoch=2-step=12.ckpt"]),
        ({"save_last": "link", "filename": "{epoch}/x"}, ["epoch=2/x.ckpt", "last.ckpt -> epoch=2/x.ckpt"]),
        ({"save_top_k": 0}, ["last.ckpt"]),
        ({"save_top_k": 0, "save_last": "link"}, ["last.ckpt"]),
    ],
)
def test_the_last_one(arguments: dict[str, Any], expected: list[str], tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path, **{"save_last": True, **arguments})
    fit(tmp_path, checkpoint)
    assert names(tmp_path) == expected
    assert checkpoint.last_model_path == str(tmp_path / "last.ckpt")


def test_the_last_one_makes_way_for_others_of_that_name(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path, filename="last", save_last=True)
    fit(tmp_path, checkpoint)
    assert names(tmp_path) == ["last-v1.ckpt", "last.ckpt"]
    assert checkpoint.last_model_path == str(tmp_path / "last-v1.ckpt")


def test_the_last_one_holds_what_was_saved_last(tmp_path: Path) -> None:
    """Not of each epoch: what is not among the best is not saved at all."""
    fit(tmp_path, ModelCheckpoint(tmp_path, monitor="val_loss", save_last=True))
    assert torch.load(tmp_path / "last.ckpt", weights_only=False)["global_step"] == 8


def test_the_last_one_is_up_to_date_at_any_moment_also_where_it_is_the_only_one(tmp_path: Path) -> None:
    """Lightning 2.6 writes it when training ends, so that a crash leaves nothing."""
    module = Scripted(fails_at=9)
    with pytest.raises(RuntimeError, match="scripted"):
        fit(tmp_path, ModelCheckpoint(tmp_path, save_top_k=0, save_last=True), module=module)
    assert torch.load(tmp_path / "last.ckpt", weights_only=False)["global_step"] == 8


def test_the_last_one_is_written_at_the_end_where_nothing_else_was(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path, monitor="val_loss", save_last=True)
    with pytest.warns(FulmenWarning, match="'val_loss' is not logged"):
        fit(tmp_path, checkpoint, max_steps=2)
    assert names(tmp_path) == ["last.ckpt"]


def test_a_last_name_with_fields_leaves_no_older_ones_behind(tmp_path: Path) -> None:
    for save_last in (True, "link"):
        checkpoint = ModelCheckpoint(tmp_path / str(save_last), save_last=save_last)
        checkpoint.CHECKPOINT_NAME_LAST = "{epoch}-last"
        fit(tmp_path, checkpoint)
        assert [name.partition(" ")[0] for name in names(tmp_path / str(save_last))] == [
            "epoch=2-last.ckpt",
            "epoch=2-step=12.ckpt",
        ]


def test_where_links_are_impossible_the_last_one_is_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "symlink", refuse)
    fit(tmp_path, ModelCheckpoint(tmp_path / "kept", save_last="link"))
    assert names(tmp_path / "kept") == ["epoch=2-step=12.ckpt", "last.ckpt"]
    assert torch.load(tmp_path / "kept" / "last.ckpt", weights_only=False)["global_step"] == 12


def test_files_of_other_runs_are_not_touched(tmp_path: Path) -> None:
    for name in ("epoch=0-step=4.ckpt", "epoch=2-step=12.ckpt", "last.ckpt"):
        (tmp_path / name).write_text("precious")
    with pytest.warns(FulmenWarning, match="not empty"):
        fit(tmp_path, ModelCheckpoint(tmp_path, save_last=True))
    assert names(tmp_path) == [
        "epoch=0-step=4.ckpt",
        "epoch=2-step=12-v1.ckpt",
        "epoch=2-step=12.ckpt",
        "last-v1.ckpt",
        "last.ckpt",
    ]
    assert (tmp_path / "last.ckpt").read_text() == "precious"


def test_without_versions_files_of_other_runs_are_overwritten(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_text("old")
    with pytest.warns(FulmenWarning, match="not empty"):
        fit(tmp_path, ModelCheckpoint(tmp_path, save_last=True, enable_version_counter=False))
    assert names(tmp_path) == ["epoch=2-step=12.ckpt", "last.ckpt"]
    assert (tmp_path / "last.ckpt").read_bytes() != b"old"


@pytest.mark.parametrize("monitor", [None, "val_loss"])
def test_to_keep_all_means_all_also_under_one_name(monitor: str | None, tmp_path: Path) -> None:
    """Without a monitor, Lightning 2.6 overwrites them."""
    fit(tmp_path, ModelCheckpoint(tmp_path, monitor=monitor, filename="x", save_top_k=-1))
    assert names(tmp_path) == ["x-v1.ckpt", "x-v2.ckpt", "x.ckpt"]


def test_equal_scores_do_not_replace_each_other(tmp_path: Path) -> None:
    fit(tmp_path, ModelCheckpoint(tmp_path, monitor="val_loss"), module=Scripted([1.0]))
    assert names(tmp_path) == ["epoch=0-step=4.ckpt"]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_nan_is_never_the_best(mode: str, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path, monitor="val_loss", mode=mode, filename="{epoch}")
    with pytest.warns(FulmenWarning, match="NaN") as caught:
        fit(tmp_path, checkpoint, module=Scripted([NAN, NAN, 1.0, NAN]), max_epochs=4)
    assert names(tmp_path) == ["epoch=2.ckpt"]
    assert checkpoint.best_model_score == 1.0
    assert len(caught) == 1


def test_a_run_that_only_gives_nan_still_leaves_a_checkpoint(tmp_path: Path) -> None:
    with pytest.warns(FulmenWarning, match="NaN"):
        fit(tmp_path, ModelCheckpoint(tmp_path, monitor="val_loss"), module=Scripted([NAN]))
    assert names(tmp_path) == ["epoch=0-step=4.ckpt"]


def test_no_checkpoint_inside_an_accumulation_window(tmp_path: Path) -> None:
    """Validation after batch 2 of 4 falls into the window; what it asks for comes at the window's end."""
    seen = Seen()
    checkpoint = ModelCheckpoint(tmp_path, save_top_k=-1, every_n_epochs=1, save_on_train_epoch_end=False)
    fit(tmp_path, seen, checkpoint, accumulate_grad_batches=4, val_check_interval=2, max_epochs=1)
    assert seen.moments == [("epoch=0-step=1.ckpt", False)]


def test_epochs_count_at_their_end_where_validation_never_runs(tmp_path: Path) -> None:
    """Whatever `check_val_every_n_epoch` says; Lightning 2.6 then saves nothing at all."""
    options: dict[str, Any] = {"check_val_every_n_epoch": 2, "max_epochs": 2}
    make_trainer(tmp_path, ModelCheckpoint(tmp_path, save_top_k=-1), **options).fit(OnlyTrains(), batches())
    assert names(tmp_path) == ["epoch=0-step=4.ckpt", "epoch=1-step=8.ckpt"]


class OnlyTrains(pl.LightningModule):
    """Has no `validation_step`."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        return self.layer(batch[0]).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Seen(Checkpoint):
    """Notes, at each save, which file is new and whether a window was open."""

    def __init__(self) -> None:
        self.moments: list[tuple[str, bool]] = []

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: Any) -> None:
        callback = next(c for c in trainer.callbacks if isinstance(c, ModelCheckpoint))
        self.moments.append((Path(callback.best_model_path).name, trainer.accumulating))


def test_by_time_no_checkpoint_inside_an_accumulation_window(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path, save_top_k=-1, train_time_interval=timedelta(0))
    fit(tmp_path, checkpoint, accumulate_grad_batches=3, max_epochs=1)
    assert names(tmp_path) == ["epoch=0-step=1.ckpt", "epoch=0-step=2.ckpt"]


def test_validation_comes_before_the_decision_at_the_same_step(tmp_path: Path) -> None:
    """The score is that of this very step, not of the validation before."""
    checkpoint = ModelCheckpoint(
        tmp_path, monitor="val_loss", every_n_train_steps=2, filename="{step}-{val_loss}"
    )
    checkpoint.save_top_k = -1
    fit(tmp_path, checkpoint, val_check_interval=2, max_epochs=2)
    assert names(tmp_path) == [
        "step=2-val_loss=3.0.ckpt",
        "step=4-val_loss=1.0.ckpt",
        "step=6-val_loss=2.0.ckpt",
        "step=8-val_loss=0.5.ckpt",
    ]


def test_by_steps_nothing_is_saved_before_the_monitored_value_exists(tmp_path: Path) -> None:
    fit(
        tmp_path,
        ModelCheckpoint(tmp_path, monitor="val_loss", every_n_train_steps=1, save_top_k=-1),
        max_epochs=2,
    )
    assert [name for name in names(tmp_path) if "epoch=0" in name] == ["epoch=0-step=4.ckpt"]


def test_manual_optimization_with_two_optimizers_does_not_miss_a_step(tmp_path: Path) -> None:
    """The count goes 2, 4, 6, ...; 3 is passed at 4."""

    class Two(Scripted):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                self.manual_backward(self.layer(batch[0]).pow(2).mean())
                optimizer.step()

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(self.parameters(), lr=0.1) for _ in range(2)]

    module = Two()
    module.automatic_optimization = False
    fit(
        tmp_path, ModelCheckpoint(tmp_path, every_n_train_steps=3, save_top_k=-1), module=module, max_epochs=1
    )
    assert names(tmp_path) == ["epoch=0-step=4.ckpt", "epoch=0-step=6.ckpt"]


def test_the_same_state_is_not_saved_twice(tmp_path: Path) -> None:
    """The end of the epoch and the exception after it stand at the same step."""
    seen = Seen()
    with pytest.raises(RuntimeError, match="scripted"):
        fit(tmp_path, seen, ModelCheckpoint(tmp_path, save_on_exception=True), module=Scripted(fails_at=4))
    assert [name for name, _ in seen.moments] == ["epoch=0-step=4.ckpt"]


@pytest.mark.parametrize("error", [RuntimeError("scripted"), KeyboardInterrupt()])
def test_an_exception_leaves_a_checkpoint_beside_the_others(error: BaseException, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path, save_on_exception=True, save_last=True)
    with nullcontext() if isinstance(error, KeyboardInterrupt) else pytest.raises(RuntimeError):
        fit(tmp_path, checkpoint, module=Scripted(fails_at=6, error=error))
    assert names(tmp_path) == ["epoch=0-step=4.ckpt", "epoch=1-step=6.ckpt", "last.ckpt"]
    assert Path(checkpoint.best_model_path).name == "epoch=0-step=4.ckpt"
    assert torch.load(tmp_path / "last.ckpt", weights_only=False)["global_step"] == 6


def test_ctrl_c_leaves_a_checkpoint_after_the_step_it_falls_into(tmp_path: Path) -> None:
    def interrupt(trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 5:
            signal.raise_signal(signal.SIGINT)

    saver = ModelCheckpoint(tmp_path, save_on_exception=True)
    fit(tmp_path, LambdaCallback(on_train_batch_start=interrupt), saver)
    assert names(tmp_path) == ["epoch=0-step=4.ckpt", "epoch=1-step=6.ckpt", "interrupted.ckpt"]


def test_an_exception_before_the_first_step_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="scripted"):
        fit(tmp_path, ModelCheckpoint(tmp_path, save_on_exception=True), module=Scripted(fails_at=0))
    assert names(tmp_path) == []


def test_an_exception_is_not_hidden_by_a_checkpoint_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    checkpoint = ModelCheckpoint(tmp_path / "file" / "below", save_on_exception=True)
    with (
        pytest.raises(RuntimeError, match="scripted"),
        pytest.warns(FulmenWarning, match="No checkpoint could be written"),
    ):
        fit(tmp_path, checkpoint, module=Scripted(fails_at=2))


def test_folder_beside_the_logger(tmp_path: Path) -> None:
    logger = MemoryLogger(tmp_path / "logs")
    checkpoint = ModelCheckpoint()
    fit(tmp_path, checkpoint, logger=logger)
    assert checkpoint.dirpath == str(tmp_path / "logs" / "memory" / "version_3" / "checkpoints")
    assert names(str(checkpoint.dirpath)) == ["epoch=2-step=12.ckpt"]


def test_folder_of_a_logger_without_one(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint()
    fit(tmp_path, checkpoint, logger=MemoryLogger())
    assert checkpoint.dirpath == str(tmp_path / "memory" / "version_3" / "checkpoints")


def test_folder_without_logger(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint()
    fit(tmp_path, checkpoint)
    assert checkpoint.dirpath == str(tmp_path / "checkpoints")


def test_loggers_are_told_after_a_save(tmp_path: Path) -> None:
    logger = MemoryLogger(tmp_path)
    fit(tmp_path, ModelCheckpoint(monitor="val_loss"), logger=[logger])
    assert logger.checkpoints_seen == ["epoch=0-step=4.ckpt", "epoch=1-step=8.ckpt"]


def test_folder_behind_a_url(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    try:
        fit(tmp_path, ModelCheckpoint("memory://kept", save_last="link"))
        assert sorted(Path(path).name for path in memory.glob("/kept/*.ckpt")) == [
            "epoch=2-step=12.ckpt",
            "last.ckpt",
        ]
    finally:
        memory.rm("/kept", recursive=True)


def test_weights_only(tmp_path: Path) -> None:
    fit(tmp_path, ModelCheckpoint(tmp_path, save_weights_only=True))
    content = torch.load(tmp_path / "epoch=2-step=12.ckpt", weights_only=False)
    assert "state_dict" in content
    assert not {"optimizer_states", "lr_schedulers", "callbacks"} & content.keys()


def test_evaluation_saves_nothing(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, ModelCheckpoint(tmp_path / "kept", save_on_train_epoch_end=False))
    trainer.validate(Scripted([1.0]), batches(1), verbose=False)
    assert names(tmp_path) == []
