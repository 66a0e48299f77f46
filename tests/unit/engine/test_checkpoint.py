"""What is in a checkpoint, and what is said of files that cannot be taken up."""

from __future__ import annotations

import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fulmen as pl
from fulmen.errors import CheckpointError, ConfigError, UsageError
from fulmen.strategies import CheckpointIO

from .small import Small, TrainsOnly, batches, callback, fit, make_trainer

TRAINING_KEYS = {"callbacks", "optimizer_states", "lr_schedulers", "fulmen"}
KEYS = {"epoch", "global_step", "pytorch-lightning_version", "state_dict", "loops"}
HPARAMS_KEYS = {"hparams_name", "hyper_parameters"}
DATA_HPARAMS_KEYS = {"datamodule_hparams_name", "datamodule_hyper_parameters"}


class Remembers(pl.Callback):
    """Has a state."""

    def __init__(self, state: Any = 1) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.state = state_dict["state"]


class Data(pl.LightningDataModule):
    """Has a state, and hyperparameters."""

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.state = 5

    def train_dataloader(self) -> Any:
        return batches(self.hparams.size)

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.state = state_dict["state"]


class WithHyperparameters(TrainsOnly):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters()


def saved(trainer: pl.Trainer, root: Path, **options: Any) -> tuple[Path, dict[str, Any]]:
    """The path and the content of a checkpoint of this moment, read as nothing but plain data."""
    path = root / "saved.ckpt"
    trainer.save_checkpoint(path, **options)
    return path, torch.load(path, weights_only=True)


# ----------------------------------------------------------------------------------------------- content


def test_parts(tmp_path: Path) -> None:
    trainer = fit(tmp_path, TrainsOnly(), train=3, max_epochs=2)
    _, content = saved(trainer, tmp_path)
    assert set(content) == KEYS | TRAINING_KEYS
    assert (content["epoch"], content["global_step"]) == (2, 6)
    assert content["pytorch-lightning_version"].split(".")[0] == "2"
    assert list(content["state_dict"]) == ["w"]
    assert content["state_dict"]["w"].item() == -0.5 * 2 * 6
    assert len(content["optimizer_states"]) == 1
    assert content["lr_schedulers"] == []
    assert content["callbacks"] == {}


def test_parts_of_everything_that_has_a_state(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, callbacks=[Remembers(7), callback()])
    trainer.fit(WithHyperparameters(), datamodule=Data())
    _, content = saved(trainer, tmp_path)
    assert set(content) == KEYS | TRAINING_KEYS | HPARAMS_KEYS | DATA_HPARAMS_KEYS | {"Data"}
    assert content["callbacks"] == {"Remembers": {"state": 7}}
    assert content["Data"] == {"state": 5}
    assert (content["hparams_name"], content["hyper_parameters"]) == ("kwargs", {"width": 3})
    assert (content["datamodule_hparams_name"], content["datamodule_hyper_parameters"]) == (
        "kwargs",
        {"size": 2},
    )


def test_weights_only_leaves_out_what_training_needs(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, callbacks=[Remembers()])
    trainer.fit(WithHyperparameters(), datamodule=Data())
    _, content = saved(trainer, tmp_path, weights_only=True)
    assert set(content) == KEYS | HPARAMS_KEYS | DATA_HPARAMS_KEYS | {"Data"}


@pytest.mark.parametrize("weights_only", [False, True])
def test_hooks_may_add_to_it_and_take_from_it(tmp_path: Path, weights_only: bool) -> None:
    class Edits(TrainsOnly):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["mine"] = [1, 2]
            del checkpoint["state_dict"]["w"]

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            assert checkpoint["mine"] == [1, 2]
            checkpoint["state_dict"]["w"] = torch.tensor(40.0)

    path, content = saved(fit(tmp_path, Edits()), tmp_path, weights_only=weights_only)
    assert content["mine"] == [1, 2]
    assert content["state_dict"] == {}
    model = Edits()
    make_trainer(tmp_path).predict(model, batches(1), ckpt_path=path)
    assert model.w.item() == 40


def test_callbacks_may_edit_it_after_everything_else(tmp_path: Path) -> None:
    keys: list[set[str]] = []

    class Edits(pl.Callback):
        def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
            keys.append(set(checkpoint))
            checkpoint["by_callback"] = True

    _, content = saved(fit(tmp_path, TrainsOnly(), callbacks=[Edits()]), tmp_path)
    assert keys == [KEYS | TRAINING_KEYS]
    assert content["by_callback"] is True


def test_saving_changes_nothing(tmp_path: Path) -> None:
    """A run that saves after each batch comes to what one comes to that never saves."""

    class Random(TrainsOnly):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            loss = self(batch).mean() * torch.rand(())
            self.log("loss", loss, on_step=True, on_epoch=True)
            return loss

    def run(**hooks: Any) -> tuple[float, dict[str, float]]:
        torch.manual_seed(0)
        model = Random()
        trainer = fit(
            tmp_path, model, train=5, max_epochs=2, accumulate_grad_batches=2, callbacks=[callback(**hooks)]
        )
        return model.w.item(), {name: value.item() for name, value in trainer.callback_metrics.items()}

    def save(self: Any, trainer: pl.Trainer, *args: Any) -> None:
        trainer.save_checkpoint(tmp_path / "each.ckpt")

    assert run(on_train_batch_end=save, on_train_epoch_end=save, on_train_epoch_start=save) == run()


def test_nothing_to_save_before_the_first_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to save"):
        make_trainer(tmp_path).save_checkpoint(tmp_path / "x.ckpt")


def test_storage_options_mean_nothing_to_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="storage_options"):
        fit(tmp_path, TrainsOnly()).save_checkpoint(tmp_path / "x.ckpt", storage_options={"a": 1})


def test_a_store_of_ones_own(tmp_path: Path) -> None:
    """It gets the content, the path and the options, and gives the content back."""
    store: dict[str, Any] = {}

    class InMemory(CheckpointIO):
        def save_checkpoint(self, checkpoint: dict[str, Any], path: str, storage_options: Any = None) -> None:
            store[path] = (checkpoint, storage_options)

        def load_checkpoint(self, path: str, map_location: Any = None, weights_only: Any = None) -> Any:
            return store[path][0]

        def remove_checkpoint(self, path: str) -> None:
            del store[path]

    path = str(tmp_path / "virtual.ckpt")
    trainer = fit(tmp_path, TrainsOnly(), plugins=InMemory())
    trainer.save_checkpoint(path, storage_options={"fast": True})
    assert store[path][1] == {"fast": True}
    model = TrainsOnly()
    make_trainer(tmp_path, plugins=[InMemory()]).predict(model, batches(1), ckpt_path=path)
    assert model.w.item() == -1.5
    assert list(tmp_path.iterdir()) == []


def test_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.ckpt"
    fit(tmp_path, TrainsOnly()).save_checkpoint(path)
    assert path.exists()


# --------------------------------------------------------------------------------- files that do not fit


def take_up(path: Path, root: Path, how: str, model: pl.LightningModule | None = None) -> None:
    model = model or Small()
    if how == "fit":
        make_trainer(root, limit_val_batches=0).fit(model, batches(1), ckpt_path=path)
    elif how == "predict":
        make_trainer(root).predict(model, batches(1), ckpt_path=path)
    else:
        type(model).load_from_checkpoint(path)


WAYS = ("fit", "predict", "load_from_checkpoint")


@pytest.fixture
def good_file(tmp_path: Path) -> Path:
    return saved(fit(tmp_path, Small()), tmp_path)[0]


@pytest.mark.parametrize("how", WAYS)
def test_file_that_is_not_there(tmp_path: Path, how: str) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.ckpt") as caught:
        take_up(tmp_path / "nowhere.ckpt", tmp_path, how)
    assert isinstance(caught.value, FileNotFoundError)  # what scripts catch


@pytest.mark.parametrize("how", WAYS)
def test_folder_in_the_place_of_a_file(tmp_path: Path, how: str) -> None:
    with pytest.raises(CheckpointError, match="folder"):
        take_up(tmp_path, tmp_path, how)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("kept", [0, 10, 0.5, -1])
def test_truncated_file(tmp_path: Path, good_file: Path, how: str, kept: float) -> None:
    whole = good_file.read_bytes()
    good_file.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(CheckpointError, match=r"(?s)saved\.ckpt"):
        take_up(good_file, tmp_path, how)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    "text", [b"hello", b"\x80\x04K\x01.", b"PK\x03\x04rubbish"], ids=["text", "pickle", "zip"]
)
def test_something_else_than_a_checkpoint(tmp_path: Path, how: str, text: bytes) -> None:
    path = tmp_path / "other.ckpt"
    path.write_bytes(text)
    with pytest.raises(CheckpointError, match=r"other\.ckpt"):
        take_up(path, tmp_path, how)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    "content", [torch.ones(2), [1, 2], {"weights": 1}, {}], ids=["tensor", "list", "dict", "empty"]
)
def test_torch_file_with_something_else_in_it(tmp_path: Path, how: str, content: Any) -> None:
    path = tmp_path / "other.ckpt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"other\.ckpt"):
        take_up(path, tmp_path, how)


class OtherNames(Small):
    """Another name for the weight."""

    def __init__(self) -> None:
        super().__init__()
        self.v = self.w
        del self.w


class OtherShape(Small):
    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(3))


@pytest.mark.parametrize("how", WAYS)
def test_weights_of_another_model(tmp_path: Path, good_file: Path, how: str) -> None:
    with pytest.raises(CheckpointError, match=r'(?s)OtherNames.*"v".*"w"'):
        take_up(good_file, tmp_path, how, OtherNames())


@pytest.mark.parametrize("how", WAYS)
def test_weights_of_another_shape(tmp_path: Path, good_file: Path, how: str) -> None:
    with pytest.raises(CheckpointError, match=r"(?s)OtherShape.*w.*\[\].*\[3\]"):
        take_up(good_file, tmp_path, how, OtherShape())


@pytest.mark.parametrize("how", WAYS)
def test_module_that_is_not_strict_about_keys(tmp_path: Path, good_file: Path, how: str) -> None:
    class Lenient(OtherNames):
        def __init__(self) -> None:
            super().__init__()
            self.strict_loading = False

    take_up(good_file, tmp_path, how, Lenient())


class TwoOptimizers(Small):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.parameters(), lr=0.1) for _ in range(2)]


class WithScheduler(Small):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


class OtherGroups(Small):
    def configure_optimizers(self) -> Any:
        extra = torch.nn.Parameter(torch.zeros(1))
        return torch.optim.SGD([{"params": [self.w]}, {"params": [extra]}], lr=0.1)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (TwoOptimizers, r"(?s)other optimizers.*1 in the file.*expected: 2"),
        (WithScheduler, r"(?s)other learning-rate schedulers.*0 in the file.*expected: 1"),
        (OtherGroups, r"(?s)optimizer state.*does not fit SGD"),
    ],
)
def test_training_of_another_kind(tmp_path: Path, good_file: Path, kind: type[Small], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        take_up(good_file, tmp_path, "fit", kind())


def test_training_does_not_go_on_from_weights_alone(tmp_path: Path) -> None:
    path, _ = saved(fit(tmp_path, Small()), tmp_path, weights_only=True)
    with pytest.raises(CheckpointError, match=r"(?s)weights only.*Small\.load_from_checkpoint"):
        take_up(path, tmp_path, "fit")
    model = Small()
    take_up(path, tmp_path, "predict", model)
    assert model.w.item() == -1.5


def test_file_with_nothing_but_weights_can_be_evaluated(tmp_path: Path) -> None:
    """As `torch.save({"state_dict": ...})` writes it."""
    path = tmp_path / "weights.ckpt"
    torch.save({"state_dict": {"w": torch.tensor(3.0)}}, path)
    model = Small()
    take_up(path, tmp_path, "predict", model)
    assert model.w.item() == 3


def test_failure_leaves_the_module_usable(tmp_path: Path, good_file: Path) -> None:
    model = OtherNames()
    with pytest.raises(CheckpointError):
        take_up(good_file, tmp_path, "fit", model)
    assert make_trainer(tmp_path).predict(model, batches(2)) == [1, 2]


# ----------------------------------------------------------------------------- files that would run code


def spring(path: str) -> None:
    Path(path).mkdir()


class Trap:
    """Would make a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return spring, (str(self.path),)


class BlockedTrap(Trap):
    """The same with a function that torch itself is afraid of."""

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


class HiddenTrap(Trap):
    """The same, by way of an attribute that is looked up while unpickling."""

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.path,)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    "part", ["state_dict", "hyper_parameters", "callbacks", "anything", "optimizer_states"]
)
def test_loading_runs_no_code_of_the_file(tmp_path: Path, how: str, part: str) -> None:
    trap, path = tmp_path / "sprung", tmp_path / "trap.ckpt"
    content = saved(fit(tmp_path, Small()), tmp_path)[1]
    torch.save(content | {part: {"x": Trap(trap)}}, path)
    if (
        part == "hyper_parameters" or how == "load_from_checkpoint"
    ):  # a part that nobody reads may stay as it is
        with suppress(CheckpointError):
            take_up(path, tmp_path, how)
    else:
        with pytest.raises(CheckpointError, match=rf"(?s)'{part}'.*spring"):
            take_up(path, tmp_path, how)
    assert not trap.exists()


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("kind", [BlockedTrap, HiddenTrap])
def test_other_traps_are_not_sprung_either(tmp_path: Path, how: str, kind: type[Trap]) -> None:
    trap, path = tmp_path / "sprung", tmp_path / "trap.ckpt"
    torch.save({"state_dict": {}, "x": kind(trap)}, path)
    with pytest.raises(CheckpointError, match=r"trap\.ckpt"):
        take_up(path, tmp_path, how)
    assert not trap.exists()


def test_old_pickle_runs_no_code_either(tmp_path: Path) -> None:
    trap, path = tmp_path / "sprung", tmp_path / "trap.ckpt"
    path.write_bytes(pickle.dumps({"state_dict": Trap(trap)}))
    with pytest.raises(CheckpointError):
        take_up(path, tmp_path, "predict")
    assert not trap.exists()


class Custom:
    """An object of a class of the user's own."""

    def __init__(self, value: int) -> None:
        self.value = value


class TakesObject(Small):
    def __init__(self, thing: Any = None, rate: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()


def test_objects_among_the_hyperparameters_do_not_hinder_training(tmp_path: Path) -> None:
    """The module is there already; whoever makes it again is told which class it takes."""
    path = tmp_path / "saved.ckpt"
    fit(tmp_path, TakesObject(Custom(3))).save_checkpoint(path)
    model = TakesObject(Custom(3))
    take_up(path, tmp_path, "fit", model)
    assert model.w.item() == -1.5
    with pytest.raises(CheckpointError, match=r"(?s)hyper_parameters.*Custom.*weights_only=False"):
        TakesObject.load_from_checkpoint(path)
    made = TakesObject.load_from_checkpoint(path, thing=None)
    assert made.hparams.rate == 0.1
    again = TakesObject.load_from_checkpoint(path, weights_only=False)
    assert again.hparams.thing.value == 3


def test_objects_elsewhere_need_consent(tmp_path: Path) -> None:
    """In a callback's state, for one."""
    path = tmp_path / "saved.ckpt"
    fit(tmp_path, Small(), callbacks=[Remembers(Custom(3))]).save_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"(?s)'callbacks'.*Custom"):
        take_up(path, tmp_path, "fit")
    remembers = Remembers()
    trainer = make_trainer(tmp_path, callbacks=[remembers], limit_val_batches=0)
    trainer.fit(Small(), batches(1), ckpt_path=path, weights_only=False)
    assert remembers.state.value == 3
