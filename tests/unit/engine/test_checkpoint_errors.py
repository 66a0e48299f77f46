"""Files that cannot be taken up, and files that would run code."""

from __future__ import annotations

import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.errors import CheckpointError

from .small import Remembers, Small, batches, fit, make_trainer


def saved(trainer: pl.Trainer, root: Path, **options: Any) -> tuple[Path, dict[str, Any]]:
    """The path and the content of a checkpoint of this moment, read as nothing but plain data."""
    path = root / "saved.ckpt"
    trainer.save_checkpoint(path, **options)
    return path, torch.load(path, weights_only=True)


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
