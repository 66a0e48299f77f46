"""Modules and datamodules that are made again from a checkpoint."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.errors import CheckpointError, ConfigError, UsageError

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def save(module: pl.LightningModule, root: Path, datamodule: pl.LightningDataModule | None = None) -> Path:
    """A checkpoint of a module that has predicted something, so that a Trainer knows it."""
    path = root / "saved.ckpt"
    trainer = pl.Trainer(default_root_dir=root, **QUIET)
    loader = None if datamodule else torch.utils.data.DataLoader(torch.zeros(1, 1))  # pyright: ignore[reportArgumentType]
    trainer.predict(module, loader, datamodule=datamodule)
    trainer.save_checkpoint(path)
    return path


class Net(pl.LightningModule):
    """A layer whose size is a hyperparameter."""

    def __init__(self, width: int, rate: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(width, 1)
        self.rate = rate

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        pass


def same_weights(one: pl.LightningModule, other: pl.LightningModule) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][k], states[1][k]) for k in states[0]
    )


def test_weights_and_hyperparameters(tmp_path: Path) -> None:
    saved = Net(3, rate=0.5)
    made = Net.load_from_checkpoint(save(saved, tmp_path))
    assert same_weights(made, saved)
    assert dict(made.hparams) == {"width": 3, "rate": 0.5}
    assert made.training


def test_path_as_text(tmp_path: Path) -> None:
    assert Net.load_from_checkpoint(str(save(Net(3), tmp_path))).rate == 0.1


def test_arguments_go_before_what_was_saved(tmp_path: Path) -> None:
    made = Net.load_from_checkpoint(save(Net(3), tmp_path), rate=0.7)
    assert made.rate == made.hparams.rate == 0.7


def test_changed_hyperparameters_are_what_is_saved(tmp_path: Path) -> None:
    saved = Net(3)
    saved.hparams.rate = 0.9
    assert Net.load_from_checkpoint(save(saved, tmp_path)).rate == 0.9


def test_hyperparameters_that_the_class_does_not_take(tmp_path: Path) -> None:
    """Saved by a subclass that takes more."""

    class Extended(Net):
        def __init__(self, width: int, extra: int) -> None:
            super().__init__(width)

    saved = Extended(3, 4)
    made = Net.load_from_checkpoint(save(saved, tmp_path))
    assert type(made) is Net
    assert same_weights(made, saved)


def test_class_that_takes_everything_gets_everything(tmp_path: Path) -> None:
    class TakesAll(Net):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(kwargs.pop("width"))
            self.rest = kwargs

    made = TakesAll.load_from_checkpoint(save(Net(3), tmp_path), more=1)
    assert made.rest == {"rate": 0.1, "more": 1}


@pytest.mark.parametrize("kind", [dict, Namespace])
def test_hyperparameters_in_one_argument(tmp_path: Path, kind: Any) -> None:
    """It is passed again under its name, and read by key and by attribute alike."""

    class Packed(Net):
        def __init__(self, conf: Any, other: int = 1) -> None:
            pl.LightningModule.__init__(self)
            self.save_hyperparameters(conf)
            self.layer = torch.nn.Linear(self.hparams.width, 1)
            self.conf, self.other = conf, other

    saved = Packed(kind(width=3, rate=0.5))
    path = save(saved, tmp_path)
    content = torch.load(path, weights_only=True)
    assert (content["hparams_name"], content["hyper_parameters"]) == ("conf", {"width": 3, "rate": 0.5})
    made = Packed.load_from_checkpoint(path, rate=0.6, other=2)
    assert same_weights(made, saved)
    assert (made.conf.rate, made.conf["width"], made.other) == (0.6, 3, 2)


def test_class_that_kept_nothing(tmp_path: Path) -> None:
    class Forgetful(Net):
        def __init__(self, width: int) -> None:
            pl.LightningModule.__init__(self)
            self.layer = torch.nn.Linear(width, 1)

    path = save(Forgetful(3), tmp_path)
    with pytest.raises(CheckpointError, match=r"(?s)Forgetful.*width.*save_hyperparameters"):
        Forgetful.load_from_checkpoint(path)
    assert Forgetful.load_from_checkpoint(path, width=3).layer.in_features == 3


def test_errors_of_init_come_through(tmp_path: Path) -> None:
    """Those that have nothing to do with missing arguments are not explained away."""

    class Picky(Net):
        def __init__(self, width: int, rate: float = 0.1) -> None:
            if rate > 0.5:
                raise ValueError("too fast")
            super().__init__(width, rate)

    with pytest.raises(ValueError, match="too fast"):
        Picky.load_from_checkpoint(save(Net(3), tmp_path), rate=0.6)


@pytest.mark.parametrize("kind", ["yaml", "yml", "csv"])
def test_hyperparameters_from_a_file(tmp_path: Path, kind: str) -> None:
    path, file = save(Net(3), tmp_path), tmp_path / f"hparams.{kind}"
    file.write_text("key,value\nwidth,3\nrate,0.25\n" if kind == "csv" else "width: 3\nrate: 0.25\n")
    assert Net.load_from_checkpoint(path, hparams_file=file).rate == 0.25
    assert Net.load_from_checkpoint(path, hparams_file=str(file), rate=0.75).rate == 0.75


@pytest.mark.parametrize(
    ("text", "value"),
    [("True", True), ("False", False), ("None", None), ("3", 3), ("0.5", 0.5), ("1e-3", 1e-3),
     ("text", "text"), ('"[1, 2]"', [1, 2]), ("\"('a', 1)\"", ("a", 1))],
)  # fmt: skip
def test_values_of_a_csv_file(tmp_path: Path, text: str, value: Any) -> None:
    path, file = save(Net(3), tmp_path), tmp_path / "hparams.csv"
    file.write_text(f"key,value\nwidth,3\nrate,{text}\n")
    assert Net.load_from_checkpoint(path, hparams_file=file).rate == value


def test_hyperparameter_file_of_the_csv_logger(tmp_path: Path) -> None:
    """What a logger of ours writes is what is read."""
    logger = pl.loggers.CSVLogger(tmp_path)
    logger.log_hyperparams({"width": 3, "rate": 0.25})
    logger.save()
    file = Path(logger.log_dir) / "hparams.yaml"
    assert Net.load_from_checkpoint(save(Net(3), tmp_path), hparams_file=file).rate == 0.25


def test_hyperparameter_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.yaml"):
        Net.load_from_checkpoint(save(Net(3), tmp_path), hparams_file=tmp_path / "nowhere.yaml")


def test_hyperparameter_file_of_another_kind(tmp_path: Path) -> None:
    file = tmp_path / "hparams.toml"
    file.write_text("width = 3")
    with pytest.raises(ConfigError, match=r"(?s)hparams\.toml.*\.csv"):
        Net.load_from_checkpoint(save(Net(3), tmp_path), hparams_file=file)


def test_strictness(tmp_path: Path) -> None:
    class Bigger(Net):
        def __init__(self, width: int) -> None:
            super().__init__(width)
            self.head = torch.nn.Linear(1, 1)

    path = save(Net(3), tmp_path)
    with pytest.raises(CheckpointError, match=r"(?s)Bigger.*head\.weight"):
        Bigger.load_from_checkpoint(path)
    made = Bigger.load_from_checkpoint(path, strict=False)
    assert torch.equal(made.layer.weight, torch.load(path, weights_only=True)["state_dict"]["layer.weight"])

    class Lenient(Bigger):
        strict_loading = False  # pyright: ignore[reportAssignmentType]

    Lenient.load_from_checkpoint(path)
    with pytest.raises(CheckpointError):
        Lenient.load_from_checkpoint(path, strict=True)


def test_where_the_weights_go(tmp_path: Path) -> None:
    path = save(Net(3), tmp_path)
    locations: list[str] = []

    def locate(storage: Any, location: str) -> Any:
        locations.append(location)
        return storage

    assert Net.load_from_checkpoint(path, map_location=locate).device.type == "cpu"
    assert set(locations) == {"cpu"}
    for location in ("cpu", torch.device("cpu"), {"cuda:0": "cpu"}):
        assert Net.load_from_checkpoint(path, map_location=location).device.type == "cpu"


def test_hooks_are_called(tmp_path: Path) -> None:
    """Layers are made, and the checkpoint may be changed, before weights are loaded."""
    calls: list[str] = []

    class Late(Net):
        def __init__(self, width: int, rate: float = 0.1) -> None:
            pl.LightningModule.__init__(self)
            self.save_hyperparameters()
            self.layer = None

        def configure_model(self) -> None:
            calls.append("configure_model")
            if self.layer is None:
                self.layer = torch.nn.Linear(self.hparams.width, 1)

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            calls.append("on_load_checkpoint")
            checkpoint["state_dict"]["layer.bias"] = torch.tensor([5.0])

    made = Late.load_from_checkpoint(save(Net(3), tmp_path))
    assert calls == ["configure_model", "on_load_checkpoint"]
    assert made.layer.bias.item() == 5


def test_called_on_an_instance(tmp_path: Path) -> None:
    """It would make a new module and leave the old one as it is."""
    path = save(Net(3), tmp_path)
    for error in (UsageError, TypeError):
        with pytest.raises(error, match=r"Net\.load_from_checkpoint"):
            Net(3).load_from_checkpoint(path)  # pyright: ignore[reportAttributeAccessIssue]


def test_file_with_nothing_but_weights(tmp_path: Path) -> None:
    path, saved = tmp_path / "weights.ckpt", Net(3)
    torch.save({"state_dict": saved.state_dict()}, path)
    assert same_weights(Net.load_from_checkpoint(path, width=3), saved)


def test_hyperparameters_are_plain_data_in_the_file(tmp_path: Path) -> None:
    """Also where they were kept in classes of ours, which other tools do not know."""
    content = torch.load(save(Net(3), tmp_path), weights_only=True)
    assert type(content["hyper_parameters"]) is dict
    assert json.loads(json.dumps(content["hyper_parameters"])) == {"width": 3, "rate": 0.1}


class Data(pl.LightningDataModule):
    """Has hyperparameters and a state."""

    def __init__(self, size: int, folder: str = "here") -> None:
        super().__init__()
        self.save_hyperparameters()
        self.count = 0

    def predict_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(torch.zeros(1, 1))  # pyright: ignore[reportArgumentType]

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.count = state_dict["count"]


def test_datamodule_is_made_again(tmp_path: Path) -> None:
    saved = Data(3)
    saved.count = 7
    path = save(Net(3), tmp_path, saved)
    made = Data.load_from_checkpoint(path, folder="there")
    assert dict(made.hparams) == {"size": 3, "folder": "there"}
    assert made.count == 7
    assert Net.load_from_checkpoint(path).hparams.width == 3
    with pytest.raises(UsageError, match=r"Data\.load_from_checkpoint"):
        made.load_from_checkpoint(path)


def test_datamodule_from_a_file_that_knows_nothing_of_it(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"(?s)Data.*size"):
        Data.load_from_checkpoint(save(Net(3), tmp_path))
