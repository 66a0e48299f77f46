"""What Trainers, callbacks and results offered once, and still do."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.callbacks import ModelCheckpoint, ProgressBar, TQDMProgressBar
from fulmen.compat.lightning import versions
from fulmen.compat.lightning.step_result import EvalResult
from fulmen.engine.states import RunningStage, TrainerFn, TrainerState, TrainerStatus

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.OldSpelling")
QUIET: dict[str, Any] = {
    "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False, "num_sanity_val_steps": 0,
}  # fmt: skip


class Module(pl.LightningModule):
    """Learns nothing: the loss of batch n is n + 1."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3, 1)
        self.seen: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return 0 * self.line(batch[0]).sum() + batch_idx + 1

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(batches: int = 2) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.ones(2 * batches, 3)), 2)


def fit(module: pl.LightningModule, *loaders: Any, **arguments: Any) -> pl.Trainer:
    trainer = pl.Trainer(**{**QUIET, "max_epochs": 1, **arguments})
    trainer.fit(module, *(loaders or (loader(),)))
    return trainer


def test_the_state_while_it_was_a_word_and_since() -> None:
    with pytest.warns(pl.compat.OldSpelling, match=r"TrainerStatus\.FINISHED"):
        finished = TrainerState.FINISHED

    class Interrupted(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            state = self.trainer.state
            self.seen.append((state == TrainerState.RUNNING, state != finished, state.fn, state.stage))
            raise KeyboardInterrupt

    trainer = pl.Trainer(**QUIET, max_epochs=1)
    assert trainer.state == TrainerState.INITIALIZING
    module = Interrupted()
    trainer.fit(module, loader())
    assert module.seen == [(True, True, TrainerFn.FITTING, RunningStage.TRAINING)]
    assert trainer.state == TrainerState.INTERRUPTED
    trainer = fit(Module())
    assert trainer.state == finished
    assert trainer.state in (TrainerState.INTERRUPTED, TrainerState.FINISHED)
    assert trainer.state.status == TrainerStatus.FINISHED
    assert trainer.state != TrainerState.RUNNING
    assert trainer.state != pl.Trainer(**QUIET).state
    with pytest.raises(AttributeError, match="TUNING"):
        TrainerState.TUNING  # noqa: B018


def test_truncation_that_nobody_set() -> None:
    class Recurrent(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.seen.append(self.truncated_bptt_steps)
            return super().training_step(batch, batch_idx)

    module = Recurrent()
    with pytest.warns(pl.compat.OldSpelling, match="truncated_bptt_steps"):
        trainer = fit(module)
    assert module.seen == [0, 0]
    assert trainer._run.adapter is None  # what is asked for is not what is done


class Scored(Module):
    """Returns results from `validation_step`, and notes how they come back."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        result = EvalResult(checkpoint_on=torch.tensor(float(batch_idx)))
        result.log("val_loss", torch.tensor(10.0 * dataloader_idx + batch_idx))
        result.y = torch.arange(2) + batch_idx
        result.names = ["a", batch_idx]
        return result

    def validation_epoch_end(self, outputs: Any) -> Any:
        self.seen.append(outputs)
        [*losses] = outputs if isinstance(outputs, list) else [outputs]
        result = EvalResult(checkpoint_on=losses[0].val_loss.mean() + 5)
        result.log("val_max", max(each.val_loss.max() for each in losses))
        return result


def test_results_of_an_epoch_come_back_as_one() -> None:
    """As in 0.9 to 1.1: tensors along the batch, anything else in lists."""
    module = Scored()
    trainer = fit(module, loader(), loader(3))
    [outputs] = module.seen
    assert isinstance(outputs, EvalResult)
    assert torch.equal(outputs.val_loss, torch.tensor([0.0, 1.0, 2.0]))
    assert torch.equal(outputs["y"], torch.tensor([0, 1, 1, 2, 2, 3]))
    assert outputs.names == [["a", 0], ["a", 1], ["a", 2]]
    assert outputs.checkpoint_on == 1.0
    assert trainer.callback_metrics["val_max"] == 2.0
    assert trainer.callback_metrics["checkpoint_on"] == 6.0


def test_results_of_several_loaders() -> None:
    module = Scored()
    trainer = fit(module, loader(), [loader(1), loader(2)])
    [outputs] = module.seen
    assert [each.val_loss.tolist() for each in outputs] == [[0.0], [10.0, 11.0]]
    assert trainer.callback_metrics["val_max"] == 11.0


class Validated(Module):
    """Whose validation loss is 1 less in each epoch."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", 9.0 - self.current_epoch)


def test_a_callback_that_saves_by_hand(tmp_path: Path) -> None:
    class Asking(pl.Callback):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            saver.save_checkpoint(trainer, pl_module)
            pl_module.seen.append(Path(saver.best_model_path).name)
            saver.save_checkpoint(trainer)  # nothing is new

    saver = ModelCheckpoint(tmp_path, "{epoch}-{val_loss:.1f}", "val_loss")
    module = Validated()
    with pytest.warns(pl.compat.OldSpelling, match=r"trainer\.save_checkpoint"):
        fit(module, loader(), loader(), callbacks=[Asking()], max_epochs=2)
    assert module.seen == ["epoch=0-val_loss=9.0.ckpt", "epoch=1-val_loss=8.0.ckpt"]
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["epoch=1-val_loss=8.0.ckpt"]
    assert "save_checkpoint" not in vars(saver)
    assert not hasattr(Asking(), "save_checkpoint")


@pytest.mark.parametrize("takes_module", [True, False])
def test_a_saver_that_overrides_how_it_saves(takes_module: bool, tmp_path: Path) -> None:
    class Saver(ModelCheckpoint):
        if takes_module:

            def save_checkpoint(self, trainer: Any, pl_module: Any) -> None:
                super().save_checkpoint(trainer, pl_module)
                pl_module.seen.append(Path(self.best_model_path).name)

        else:

            def save_checkpoint(self, trainer: Any) -> None:
                super().save_checkpoint(trainer)
                trainer.lightning_module.seen.append(Path(self.best_model_path).name)

    module = Validated()
    saver = Saver(tmp_path, "{epoch}", "val_loss")
    with pytest.warns(pl.compat.OldSpelling, match=r"Saver\.save_checkpoint"):
        trainer = fit(module, loader(), loader(), callbacks=[saver], max_epochs=2, enable_checkpointing=True)
    assert module.seen == ["epoch=0.ckpt", "epoch=1.ckpt"]
    assert trainer._run.adapter.era.version == "1.7"


def test_names_of_files_from_numbers(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, "{epoch}-{step}-{val_loss:.2f}")
    with pytest.warns(pl.compat.OldSpelling, match="format_checkpoint_name"):
        name = saver.format_checkpoint_name(3, 7, {"val_loss": 0.5})
    assert Path(name) == tmp_path / "epoch=3-step=7-val_loss=0.50.ckpt"
    assert Path(saver.format_checkpoint_name(3, 7, {"val_loss": 0.5}, 1)).stem.endswith("-v1")
    saver = ModelCheckpoint(tmp_path, "{epoch}")
    assert Path(saver.format_checkpoint_name(3, {"val_loss": 0.5}, 2)).name == "epoch=3-v2.ckpt"
    assert Path(saver.format_checkpoint_name({"epoch": 4})).name == "epoch=4.ckpt"
    with pytest.raises(TypeError, match="format_checkpoint_name"):
        saver.format_checkpoint_name("epoch")


def test_the_running_loss_of_the_bar() -> None:
    """The mean of the last 20, by itself; and names are there from the first batch on."""

    class Old(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.seen.append(self.trainer.progress_bar_dict)
            self.log("a", float(batch_idx), prog_bar=True)
            return super().training_step(batch, batch_idx)

    module = Old()
    trainer = fit(module, loader(30), log_every_n_steps=1000)
    assert module.seen[0] == {"loss": "nan"}
    assert module.seen[1] == {"loss": "1", "a": 0.0}
    assert module.seen[29]["loss"] == f"{sum(range(10, 30)) / 20:.3g}"  # of the batches 9 to 28
    assert trainer.progress_bar_dict == {"loss": "20.5", "a": 29.0}
    assert trainer.progress_bar_metrics == {"a": 29.0}


def test_bars_of_a_script_of_their_time_show_it() -> None:
    class Bar(ProgressBar):
        shown: list[Any]

        def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
            self.shown.append(self.get_metrics(trainer, trainer.lightning_module))

    class Choosing(Module):
        def get_progress_bar_dict(self) -> dict[str, Any]:
            return {**super().get_progress_bar_dict(), "b": 1}

    outcomes = {"1.0": [{"loss": "1"}, {"loss": "1.5"}], "1.9": [{"loss": "1"}, {"loss": "1.5"}]}
    for version, outcome in {**outcomes, "2.0": [{}, {}]}.items():
        bar = Bar()
        bar.shown = []
        fit(Module(), callbacks=[bar], enable_progress_bar=True, compat=version)
        assert bar.shown == outcome
    bar.shown = []
    fit(Choosing(), callbacks=[bar], enable_progress_bar=True)
    assert bar.shown == [{"loss": "1", "b": 1}, {"loss": "1.5", "b": 1}]


class Data(pl.LightningDataModule):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def prepare_data(self) -> None:
        self.calls.append("prepare")

    def setup(self, stage: str | None = None) -> None:
        self.calls.append(stage and str(stage))

    def train_dataloader(self) -> Any:
        return loader()

    def test_dataloader(self) -> Any:
        return loader()


OLD_CALLS = {  # what a script does, and what was called up to 1.2, and up to 1.5
    ("fit", "test"): (["prepare", "fit", "test"],) * 2,
    ("fit", "fit"): (["prepare", "fit"],) * 2,
    ("prepare", "setup fit", "fit", "test"): (["prepare", "fit", "test"],) * 2,
    ("setup", "fit", "test"): ([None, "prepare"],) * 2,
    ("fit", "setup fit"): (["prepare", "fit", "fit"], ["prepare", "fit"]),
    ("prepare", "prepare", "fit"): (["prepare", "prepare", "fit"], ["prepare", "fit"]),
}


@pytest.mark.parametrize("acts", OLD_CALLS)
@pytest.mark.parametrize("version", ["1.0", "1.2", "1.3", "1.5"])
def test_data_that_was_set_up_by_hand_is_not_again(acts: tuple[str, ...], version: str) -> None:
    versions.declare(version)
    try:
        data, module, trainer = Data(), Module(), pl.Trainer(**QUIET, max_epochs=1)
        module.test_step = lambda batch, batch_idx: None
        for act in acts:
            name, _, stage = act.partition(" ")
            if name in ("fit", "test"):
                getattr(trainer, name)(module, datamodule=data)
            elif name == "prepare":
                data.prepare_data()
            else:
                data.setup(*filter(None, [stage]))
    finally:
        versions.declare(None)
    assert data.calls == OLD_CALLS[acts][version > "1.2"]


def test_it_is_called_by_each_run_otherwise() -> None:
    for declared in (None, "1.6"):
        versions.declare(declared)
        try:
            data, module = Data(), Module()
            data.setup("fit")
            fit(module, data)
            fit(module, data)
        finally:
            versions.declare(None)
        assert data.calls == ["fit", "prepare", "fit", "prepare", "fit"]
        assert "setup" not in vars(data)


def test_data_that_is_set_up_once_is_copied_and_sent_to_processes() -> None:
    versions.declare("1.4")
    try:
        data = Data()
    finally:
        versions.declare(None)
    data.setup("fit")
    for other in (copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        other.setup("fit")
        other.setup("test")
        assert other.calls == ["fit", "test"]
    assert data.calls == ["fit"]


def test_the_loader_was_a_combination() -> None:
    """From 1.2 to 1.9, `trainer.train_dataloader` had it as `loaders`; before and since, it is it."""

    class Looking(Module):
        def on_train_epoch_end(self) -> None:
            self.seen.append(self.trainer.train_dataloader)

    given = loader()
    for version in ("1.1", "1.2", "1.9", "2.0"):
        module = Looking()
        fit(module, given, compat=version)
        [shown] = module.seen
        assert (shown is given) is (version in ("1.1", "2.0"))
        if shown is not given:
            assert shown.loaders is given
            assert shown.dataset is given.dataset
            assert len(shown) == len([*shown]) == 2
            assert copy.copy(shown).batch_size == 2

    class Both(Looking):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch[0], batch_idx)

    module = Both()
    fit(module, [given, given], compat="1.4")
    assert module.seen[0].loaders == [given, given]
    module = Both()
    fit(module, [given, given], multiple_trainloader_mode="min_size")
    assert module.seen[0].loaders == [given, given]
    assert len(module.seen[0]) == 2


def test_what_was_read_of_the_loop() -> None:
    class Looking(Module):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            loop = self.trainer.fit_loop
            losses = (loop.running_loss.last(), loop.running_loss.mean())
            self.seen.append((loop.current_epoch, loop.epoch_loop._batches_that_stepped, *map(float, losses)))
            assert self.trainer.train_loop.running_loss.last() == losses[0]

    module = Looking()
    fit(module, compat="1.5", max_epochs=2)
    assert module.seen == [
        (0, 0, 1.0, 1.0),
        (0, 1, 2.0, 1.5),
        (1, 2, 1.0, pytest.approx(4 / 3)),
        (1, 3, 2.0, 1.5),
    ]
    module = Looking()
    trainer = fit(module)
    assert [seen[2:] for seen in module.seen] == [(1.0, 1.0), (2.0, 2.0)]  # of one batch, where nobody counts
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        trainer.fit_loop.nothing_of_ours  # noqa: B018


def test_bars_of_the_users() -> None:
    class Bar(TQDMProgressBar):
        seen: list[Any]

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            super().on_train_batch_end(trainer, pl_module, *rest)
            self.seen.append((self.train_batch_idx, self.main_progress_bar is self.train_progress_bar))
            self.main_progress_bar.set_description("mine")

    bar = Bar()
    bar.seen = []
    fit(Module(), callbacks=[bar], enable_progress_bar=True)
    assert bar.seen == [(1, True), (2, True)]
    assert not hasattr(ModelCheckpoint(), "main_progress_bar")


def test_other_questions_to_a_trainer() -> None:
    module = Module()
    trainer = fit(module)
    assert trainer.is_function_implemented("training_step")
    assert not trainer.is_function_implemented("validation_step", module)
    assert trainer.metrics_to_scalars({"a": torch.tensor(2.0)}) == {"a": 2.0}
    trainer.reset_train_val_dataloaders()
    assert trainer.train_dataloader is None
