"""What loggers hold after real runs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.callbacks import ModelCheckpoint
from fulmen.loggers import CSVLogger, TensorBoardLogger


class Net(pl.LightningModule):
    """Remembers what it logs."""

    def __init__(
        self, lr: float = 0.1, sizes: tuple[int, int] = (2, 1), fail_at_step: int | None = None
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore="fail_at_step")
        self.layer = nn.Linear(*sizes)
        self.example_input_array = torch.ones(1, 2)
        self.lr = lr
        self.fail_at_step = fail_at_step
        self.losses: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        if self.global_step == self.fail_at_step:
            raise ZeroDivisionError
        loss = self.layer(batch).square().mean()
        self.log("loss", loss)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", self.layer(batch).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def loader() -> Any:
    data: Any = torch.arange(24.0).reshape(12, 2) / 24
    return DataLoader(data, batch_size=2)


def make_net(**arguments: Any) -> Net:
    torch.manual_seed(1)
    return Net(**arguments)


def make_trainer(logger: Any, folder: Path, **arguments: Any) -> pl.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
    defaults = {"max_epochs": 2, "accelerator": "cpu", "enable_checkpointing": False}
    return pl.Trainer(logger=logger, default_root_dir=folder, **(defaults | quiet | arguments))


def rows(logger: CSVLogger) -> list[dict[str, str]]:
    """The rows of the file, without empty cells."""
    with open(Path(logger.log_dir) / "metrics.csv", newline="") as file:
        return [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)]


def scalars(logger: TensorBoardLogger) -> dict[str, list[tuple[int, float]]]:
    reader = EventAccumulator(logger.log_dir)
    reader.Reload()
    return {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def test_every_value_of_a_fit_is_in_the_files(tmp_path: Path) -> None:
    loggers = CSVLogger(tmp_path, "csv"), TensorBoardLogger(tmp_path, "tb")
    net = make_net()
    make_trainer(list(loggers), tmp_path).fit(net, loader(), loader())

    train = [row for row in rows(loggers[0]) if "loss" in row]
    assert [int(row["step"]) for row in train] == list(range(12))
    assert [int(row["epoch"]) for row in train] == [0] * 6 + [1] * 6
    assert [float(row["loss"]) for row in train] == pytest.approx(net.losses, rel=1e-7)
    val = [row for row in rows(loggers[0]) if "val_loss" in row]
    assert [int(row["step"]) for row in val] == [5, 11]

    shown = scalars(loggers[1])
    assert [step for step, _ in shown["loss"]] == list(range(12))
    assert [value for _, value in shown["loss"]] == pytest.approx(net.losses, rel=1e-6)
    assert [(step, str(value)[:6]) for step, value in shown["val_loss"]] == [
        (int(row["step"]), row["val_loss"][:6]) for row in val
    ]


def test_hyperparameters_and_graph_are_logged(tmp_path: Path) -> None:
    loggers = CSVLogger(tmp_path, "csv"), TensorBoardLogger(tmp_path, "tb", log_graph=True)
    make_trainer(list(loggers), tmp_path, max_steps=1).fit(make_net(lr=1e-7), loader(), loader())

    for logger in loggers:
        text = (Path(logger.log_dir) / "hparams.yaml").read_text()
        assert yaml.safe_load(text) == {"lr": 1e-7, "sizes": [2, 1]}
    reader = EventAccumulator(loggers[1].log_dir)
    reader.Reload()
    assert "aten::linear" in str(reader.Graph())


def test_a_run_that_fails_leaves_what_it_logged(tmp_path: Path) -> None:
    loggers = CSVLogger(tmp_path, "csv"), TensorBoardLogger(tmp_path, "tb")
    with pytest.raises(ZeroDivisionError):
        make_trainer(list(loggers), tmp_path).fit(make_net(fail_at_step=4), loader(), loader())

    assert [int(row["step"]) for row in rows(loggers[0])] == [0, 1, 2, 3]
    assert [step for step, _ in scalars(loggers[1])["loss"]] == [0, 1, 2, 3]


def test_validation_after_a_fit_is_added(tmp_path: Path) -> None:
    loggers = CSVLogger(tmp_path, "csv"), TensorBoardLogger(tmp_path, "tb")
    net = make_net()
    trainer = make_trainer(list(loggers), tmp_path, max_steps=2)
    trainer.fit(net, loader(), loader())
    before = rows(loggers[0])
    trainer.validate(net, loader(), verbose=False)

    assert rows(loggers[0])[:-1] == before
    assert "val_loss" in rows(loggers[0])[-1]
    assert len(scalars(loggers[1])["val_loss"]) == 1


def test_a_fast_dev_run_writes_nothing(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path / "logs")
    make_trainer(logger, tmp_path, fast_dev_run=True).fit(make_net(), loader(), loader())

    assert not (tmp_path / "logs").exists()


def test_a_resumed_run_has_the_rows_of_one_that_was_never_stopped(tmp_path: Path) -> None:
    def run(
        folder: Path, ckpt_path: str | None = None, **arguments: Any
    ) -> tuple[CSVLogger, TensorBoardLogger]:
        loggers = CSVLogger(folder, "csv", version=0), TensorBoardLogger(folder, "tb", version=0)
        saver = ModelCheckpoint(
            folder / "saved", every_n_train_steps=5, save_top_k=-1, save_on_train_epoch_end=False
        )
        trainer = make_trainer(list(loggers), folder, enable_checkpointing=True, callbacks=[saver])
        trainer.fit(make_net(**arguments), loader(), loader(), ckpt_path=ckpt_path)
        return loggers

    expected = run(tmp_path / "whole")
    with pytest.raises(ZeroDivisionError):
        run(tmp_path / "stopped", fail_at_step=8)  # behind the checkpoint of step 5, and after a validation
    (saved,) = (tmp_path / "stopped" / "saved").glob("*.ckpt")
    resumed = run(tmp_path / "stopped", ckpt_path=str(saved))

    assert rows(resumed[0]) == rows(expected[0])
    assert {tag: values for tag, values in scalars(resumed[1]).items() if tag != "hp_metric"} == {
        tag: values for tag, values in scalars(expected[1]).items() if tag != "hp_metric"
    }
