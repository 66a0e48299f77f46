"""Hooks with names and signatures of old versions, and what they are given."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.callbacks import EarlyStopping, ModelCheckpoint
from fulmen.errors import UsageError
from fulmen.loggers import TensorBoardLogger

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.OldSpelling")

X = torch.arange(12.0).reshape(6, 2)


def data(batch_size: int = 2) -> DataLoader:
    return DataLoader(TensorDataset(X), batch_size=batch_size)


def quiet(**arguments: Any) -> pl.Trainer:
    defaults: dict[str, Any] = {
        "max_epochs": 1, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "num_sanity_val_steps": 0,
    }  # fmt: skip
    return pl.Trainer(**defaults | arguments)


class Base(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 1)
        nn.init.constant_(self.net.weight, 0.5)
        self.got: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.net(batch[0]).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


# --------------------------------------------------------------------------------------------- ends of epochs


def test_training_epoch_end_gets_what_steps_returned() -> None:
    class Old(Base):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"loss": self.net(batch[0]).mean(), "size": len(batch[0]), "first": batch[0][0, 0]}

        def training_epoch_end(self, outputs: Any) -> None:
            self.got.append(outputs)
            self.log("total", float(sum(output["size"] for output in outputs)))

    model, trainer = Old(), quiet(max_epochs=2)
    trainer.fit(model, data(4))
    assert [[output["size"] for output in outputs] for outputs in model.got] == [[4, 2]] * 2
    assert [float(output["first"]) for output in model.got[0]] == [0.0, 8.0]
    assert not model.got[0][0]["loss"].requires_grad
    assert trainer.callback_metrics["total"] == 6


def test_a_bare_loss_comes_in_a_dict_and_a_skipped_batch_does_not() -> None:
    class Old(Base):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None if batch_idx == 1 else super().training_step(batch, batch_idx)

        def training_epoch_end(self, outputs: Any) -> None:
            self.got = outputs

    model = Old()
    quiet().fit(model, data())
    assert [sorted(output) for output in model.got] == [["loss"], ["loss"]]


def test_training_epoch_end_must_return_nothing() -> None:
    class Old(Base):
        def training_epoch_end(self, outputs: Any) -> Any:
            return {"loss": 1}

    with pytest.raises(UsageError, match=r"(?s)Old.training_epoch_end.*returned something.*self\.log"):
        quiet().fit(Old(), data())


@pytest.mark.parametrize("loaders", [1, 2])
def test_validation_epoch_end_gets_a_list_per_loader(loaders: int) -> None:
    class Old(Base):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
            return float(batch[0][0, 0]), dataloader_idx

        def validation_epoch_end(self, outputs: Any) -> None:
            self.got.append(outputs)

    model = Old()
    quiet().fit(model, data(), [data(3)] * loaders)
    one = [[(0.0, index), (6.0, index)] for index in range(loaders)]
    assert model.got == [one[0] if loaders == 1 else one]


def test_step_end_of_each_step() -> None:
    class Old(Base):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"out": self.net(batch[0])}

        def training_step_end(self, outputs: Any) -> Any:
            return outputs["out"].mean()

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            return 1

        def validation_step_end(self, outputs: Any) -> Any:
            return outputs + 1

        def validation_epoch_end(self, outputs: Any) -> None:
            self.got = outputs

    model = Old()
    quiet().fit(model, data(), data())
    assert model.got == [2, 2, 2]


# ------------------------------------------------------------------------------------------- returned metrics


class Returning(Base):
    """As written for 0.9 and 1.0: whatever is returned is logged."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return {"loss": loss, "log": {"train_loss": loss}, "progress_bar": {"shown": 3.0}}

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return {"val_loss": batch[0].mean()}

    def validation_epoch_end(self, outputs: Any) -> Any:
        mean = torch.stack([output["val_loss"] for output in outputs]).mean()
        return {"val_loss": mean, "log": {"logged": mean * 2}, "progress_bar": {"bar": mean}}


def test_magic_keys() -> None:
    model, trainer = Returning(), quiet(log_every_n_steps=1)
    trainer.fit(model, data(), data())
    values = {name: float(value) for name, value in trainer.callback_metrics.items()}
    last_loss = float(model.net(X[4:]).mean().detach())
    assert values == {
        "train_loss": pytest.approx(last_loss), "shown": 3.0, "val_loss": 5.5, "logged": 11.0, "bar": 5.5,
        "loss": pytest.approx(last_loss),
    }  # fmt: skip
    assert set(trainer.logged_metrics) == {"train_loss", "logged"}
    assert {"shown", "bar"} <= set(trainer.progress_bar_metrics)


def test_magic_keys_of_a_method_that_steps_share() -> None:
    class Sharing(Base):
        def shared(self, batch: Any) -> Any:
            loss = self.net(batch[0]).mean()
            return {"loss": loss, "log": {"shared": loss * 0 + 2.0}}

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.shared(batch)

    trainer = quiet()
    trainer.fit(Sharing(), data())
    assert trainer.callback_metrics["shared"] == 2.0


@pytest.mark.parametrize("monitor", ["loss", "accuracy"])
def test_what_is_returned_beside_magic_keys_can_be_monitored(tmp_path: Any, monitor: str) -> None:
    class Accurate(Returning):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {**super().training_step(batch, batch_idx), "accuracy": batch_idx / 2, "rows": batch}

    checkpoint = ModelCheckpoint(tmp_path, monitor=monitor)
    trainer = quiet(enable_checkpointing=True, callbacks=[checkpoint])
    trainer.fit(Accurate(), data(), data())
    assert checkpoint.best_model_score == trainer.callback_metrics[monitor]
    assert trainer.callback_metrics["accuracy"] == 1.0  # of the last batch
    assert "accuracy" not in {*trainer.logged_metrics, *trainer.progress_bar_metrics}


def test_a_step_that_returns_a_metric_feeds_early_stopping() -> None:
    class Old(Base):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            return {"val_loss": batch[0].mean()}

    trainer = quiet(max_epochs=9, callbacks=[EarlyStopping("val_loss", patience=2)], compat="1.0")
    trainer.fit(Old(), data(), data())
    assert trainer.current_epoch == 3
    assert trainer.callback_metrics["val_loss"] == 9.5  # that of the last batch


# ------------------------------------------------------------------------------------------------- signatures


def test_callback_of_1_0_is_called_by_its_own_signatures() -> None:
    got: dict[str, Any] = {}

    class Old(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx):
            got.setdefault("start", []).append((batch_idx, dataloader_idx))

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx):
            got.setdefault("end", []).append((sorted(outputs), batch_idx, dataloader_idx))

        def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx):
            got.setdefault("val", []).append((outputs, batch_idx, dataloader_idx))

        def on_train_epoch_end(self, trainer, pl_module, outputs):
            got["outputs"] = len(outputs)

        def on_batch_start(self, trainer, pl_module):
            got["batch_start"] = got.get("batch_start", 0) + 1

        def setup(self, trainer, pl_module, step):
            got["setup"] = step

    class Model(Base):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            return batch_idx

        def setup(self, step: str) -> None:
            self.got.append(step)

    model = Model()
    quiet(callbacks=[Old()]).fit(model, data(3), data(3))
    assert got["start"] == [(0, 0), (1, 0)]
    assert got["end"] == [(["loss"], 0, 0), (["loss"], 1, 0)]
    assert got["val"] == [(0, 0, 0), (1, 1, 0)]
    assert (got["outputs"], got["batch_start"], got["setup"], model.got) == (2, 2, "fit", ["fit"])


def test_module_hooks_with_an_index_too_many() -> None:
    calls: list[Any] = []

    class Old(Base):
        def backward(self, loss: Tensor, optimizer: Any, optimizer_idx: int) -> None:
            calls.append(("backward", type(optimizer).__name__, optimizer_idx))
            loss.backward()

        def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int) -> None:
            calls.append(("zero_grad", epoch, batch_idx, optimizer_idx))
            optimizer.zero_grad()

        def on_before_optimizer_step(self, optimizer: Any, optimizer_idx: int) -> None:
            calls.append(("before", optimizer_idx))

        def configure_gradient_clipping(
            self, optimizer: Any, optimizer_idx: int, gradient_clip_val: Any, gradient_clip_algorithm: Any
        ) -> None:
            calls.append(("clip", optimizer_idx, gradient_clip_val, gradient_clip_algorithm))

        def lr_scheduler_step(self, scheduler: Any, optimizer_idx: int, metric: Any) -> None:
            calls.append(("scheduler", optimizer_idx, metric))

        def transfer_batch_to_device(self, batch: Any, device: torch.device) -> Any:
            calls.append(("transfer", str(device)))
            return batch

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    quiet(gradient_clip_val=0.5).fit(Old(), data(6))
    assert calls == [
        ("transfer", "cpu"), ("zero_grad", 0, 0, 0), ("backward", "SGD", 0), ("before", 0),
        ("clip", 0, 0.5, None), ("scheduler", 0, None),
    ]  # fmt: skip


def test_state_of_callbacks_of_each_era(tmp_path: Any) -> None:
    class Of10(pl.Callback):
        loaded: Any = None

        def on_save_checkpoint(self, trainer, pl_module):
            return {"from": "1.0"}

        def on_load_checkpoint(self, checkpointed_state):
            self.loaded = checkpointed_state

    class Of14(pl.Callback):
        loaded: Any = None

        def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> Any:
            return {"from": "1.4"}

        def on_load_checkpoint(self, trainer, pl_module, callback_state):
            self.loaded = callback_state

    quiet(
        callbacks=[Of10(), Of14(), ModelCheckpoint(tmp_path, "x")], enable_checkpointing=True
    ).fit(Base(), data())  # fmt: skip
    again = [Of10(), Of14()]
    quiet(callbacks=again, max_epochs=2).fit(Base(), data(), ckpt_path=tmp_path / "x.ckpt")
    assert [callback.loaded for callback in again] == [{"from": "1.0"}, {"from": "1.4"}]


def test_state_of_a_datamodule(tmp_path: Any) -> None:
    class Old(pl.LightningDataModule):
        seen: Any = None

        def train_dataloader(self) -> Any:
            return data()

        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["of_data"] = 3

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            self.seen = checkpoint["of_data"]

    trainer = quiet()
    trainer.fit(Base(), datamodule=Old())
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = Old()
    quiet(max_epochs=2).fit(Base(), datamodule=again, ckpt_path=tmp_path / "x.ckpt")
    assert again.seen == 3


def test_a_graph_of_a_module_that_moves_batches_as_up_to_1_5(tmp_path: Any) -> None:
    """A logger that is asked for one gives the hooks what they take."""
    moved: list[Any] = []

    class Moving(Base):
        def __init__(self) -> None:
            super().__init__()
            self.example_input_array = X[:2]

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

        def transfer_batch_to_device(self, batch: Any, device: Any) -> Any:
            moved.append(batch)
            return batch

    model = Moving()
    quiet(logger=TensorBoardLogger(tmp_path, log_graph=True)).fit(model, data(6))
    assert len(moved) == 2
    assert moved[0] is model.example_input_array
    assert list(tmp_path.rglob("events.out.tfevents.*"))


def test_on_keyboard_interrupt() -> None:
    called: list[str] = []

    class Interrupted(Base):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise KeyboardInterrupt

    class Old(pl.Callback):
        def on_keyboard_interrupt(self, trainer: Any, pl_module: Any) -> None:
            called.append("on_keyboard_interrupt")

    quiet(callbacks=[Old()]).fit(Interrupted(), data())
    assert called == ["on_keyboard_interrupt"]


def test_loader_hooks_and_others_of_a_module() -> None:
    class Old(Base):
        def on_train_dataloader(self) -> None:
            self.got.append("on_train_dataloader")

        def on_val_dataloader(self) -> None:
            self.got.append("on_val_dataloader")

        def on_post_move_to_device(self) -> None:
            self.got.append("on_post_move_to_device")

        def configure_sharded_model(self) -> None:
            self.got.append("configure_sharded_model")

        def validation_step(self, batch: Any, batch_idx: int) -> None: ...

    model = Old()
    quiet().fit(model, data(), data())
    assert model.got == [
        "configure_sharded_model", "on_post_move_to_device", "on_train_dataloader", "on_val_dataloader",
    ]  # fmt: skip


def test_hparams_are_assigned() -> None:
    class Old(Base):
        def __init__(self, hparams: Any) -> None:
            super().__init__()
            self.hparams = hparams

    for given in (Namespace(lr=0.1, name="x"), {"lr": 0.1, "name": "x"}):
        model = Old(given)
        assert (model.hparams.lr, model.hparams["name"]) == (0.1, "x")
        assert model.hparams_for_checkpoint()["hyper_parameters"] == {"lr": 0.1, "name": "x"}
        assert model.hparams_for_checkpoint()["hparams_name"] == "hparams"
