"""One table runs every callback, logger, profiler, precision and strategy, found by introspection."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen import callbacks, loggers, precision, profilers, strategies
from fulmen.core.profiler import Profiler
from fulmen.precision import Precision
from fulmen.strategies import Strategy

Make = Callable[[Path], Any]


class Writer(callbacks.BasePredictionWriter):
    """The least that a prediction writer has to define."""

    def write_on_batch_end(self, *args: Any) -> None: ...


class FreezesLater(callbacks.BaseFinetuning):
    """The least that a finetuning callback has to define."""

    def freeze_before_training(self, pl_module: Any) -> None: ...

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None: ...


MAKE: dict[str, Make] = {
    "BackboneFinetuning": lambda root: callbacks.BackboneFinetuning(1),
    "BaseFinetuning": lambda root: FreezesLater(),
    "BatchSizeFinder": lambda root: callbacks.BatchSizeFinder(max_trials=2),
    "BasePredictionWriter": lambda root: Writer(),
    "DeviceStatsMonitor": lambda root: callbacks.DeviceStatsMonitor(cpu_stats=True),
    "EarlyStopping": lambda root: callbacks.EarlyStopping("val_loss", patience=2),
    "GradientAccumulationScheduler": lambda root: callbacks.GradientAccumulationScheduler({1: 2}),
    "LearningRateFinder": lambda root: callbacks.LearningRateFinder(
        num_training_steps=15, early_stop_threshold=None
    ),
    "StochasticWeightAveraging": lambda root: callbacks.StochasticWeightAveraging(0.1),
    "LambdaCallback": lambda root: callbacks.LambdaCallback(on_train_start=nothing),
    "ModelCheckpoint": lambda root: callbacks.ModelCheckpoint(
        root / "saved", monitor="val_loss", save_top_k=2
    ),
    "ModelPruning": lambda root: callbacks.ModelPruning("l1_unstructured"),
    "OnExceptionCheckpoint": lambda root: callbacks.OnExceptionCheckpoint(root),
    "Timer": lambda root: callbacks.Timer("01:00:00:00"),
    "CSVLogger": lambda root: loggers.CSVLogger(root),
    "TensorBoardLogger": lambda root: loggers.TensorBoardLogger(root),
    "AdvancedProfiler": lambda root: profilers.AdvancedProfiler(dirpath=root, filename="report"),
    "PyTorchProfiler": lambda root: profilers.PyTorchProfiler(dirpath=root, filename="report"),
    "SimpleProfiler": lambda root: profilers.SimpleProfiler(dirpath=root, filename="report"),
}
"""How to make those that need arguments; the others are made without."""


def nothing(*args: Any) -> None:
    """A hook for LambdaCallback that can be pickled."""


def concrete(package: Any, base: type) -> dict[str, type]:
    """The public classes of a package that a user can make, or has to complete."""
    found = {name: getattr(package, name) for name in package.__all__}
    kinds = {name: kind for name, kind in found.items() if inspect.isclass(kind) and issubclass(kind, base)}
    interfaces = {base, callbacks.Checkpoint, callbacks.ProgressBar}
    return {name: kind for name, kind in kinds.items() if kind not in interfaces and name != "Logger"}


PLUGINS: dict[str, tuple[str, type]] = {
    name: (argument, kind)
    for argument, package, base in (
        ("callbacks", callbacks, pl.Callback),
        ("logger", loggers, loggers.Logger),
        ("profiler", profilers, Profiler),
        ("precision", precision, Precision),
        ("strategy", strategies, Strategy),
    )
    for name, kind in concrete(package, base).items()
}


class Science(pl.LightningModule):
    """Logs, validates and predicts, so that every plug-in has something to do."""

    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.backbone = torch.nn.Linear(4, 4)
        self.layer = torch.nn.Linear(4, 1)
        self.lr = 0.1
        self.batch_size = 4

    def loader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(torch.randn(12, 4)), batch_size=self.batch_size)

    train_dataloader = val_dataloader = predict_dataloader = loader

    def forward(self, batch: Any) -> torch.Tensor:
        return self.layer(self.backbone(batch[0]))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self(batch).square().mean()
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self(batch).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=self.lr)


def make(name: str, root: Path) -> Any:
    return MAKE[name](root) if name in MAKE else PLUGINS[name][1]()


def run(name: str, plugin: Any, root: Path) -> pl.Trainer:
    """A fit with the plug-in, and a prediction."""
    argument, kind = PLUGINS[name]
    options: dict[str, Any] = {
        "logger": loggers.CSVLogger(root),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        argument: [plugin] if argument == "callbacks" else plugin,
    }
    if issubclass(kind, callbacks.ProgressBar):
        options["enable_progress_bar"] = True
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=3, log_every_n_steps=1, default_root_dir=root, **options
    )
    model = Science()
    assert trainer.fit(model).epochs == 3
    trainer.predict(model)
    return trainer


def test_the_table_names_nobody_who_is_not_there() -> None:
    assert set(MAKE) <= set(PLUGINS)


@pytest.mark.parametrize("name", sorted(PLUGINS))
def test_it_runs_and_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    """What it might leave behind (threads, files, settings) is looked for after every test."""
    run(name, make(name, tmp_path), tmp_path)


@pytest.mark.parametrize("name", sorted(PLUGINS))
def test_it_can_be_pickled_and_copied_before_and_after_a_run(name: str, tmp_path: Path) -> None:
    plugin = make(name, tmp_path)
    assert type(pickle.loads(pickle.dumps(plugin))) is type(plugin)
    assert type(copy.deepcopy(plugin)) is type(plugin)
    run(name, plugin, tmp_path)
    assert type(pickle.loads(pickle.dumps(plugin))) is type(plugin)
    assert type(copy.deepcopy(plugin)) is type(plugin)


@pytest.mark.parametrize(
    "name", sorted(n for n, (kind, _) in PLUGINS.items() if kind in ("callbacks", "precision"))
)
def test_its_state_goes_round(name: str, tmp_path: Path) -> None:
    """Through a file that is read without running code, into one that was just made."""
    plugin = make(name, tmp_path)
    run(name, plugin, tmp_path)
    state = plugin.state_dict()
    torch.save(state, tmp_path / "state.pt")
    again = make(name, tmp_path)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    if name == "Timer":  # goes on with the time of training only
        assert again.state_dict()["time_elapsed"]["train"] == state["time_elapsed"]["train"]
    else:
        assert same(again.state_dict(), state)


def same(one: Any, other: Any) -> bool:
    """Equality of states that may hold tensors."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


@pytest.mark.parametrize("name", sorted(n for n, (kind, _) in PLUGINS.items() if kind == "callbacks"))
def test_two_of_different_classes_never_share_a_key(name: str, tmp_path: Path) -> None:
    keys = {
        other: make(other, tmp_path).state_key for other, (kind, _) in PLUGINS.items() if kind == "callbacks"
    }
    assert sum(key == keys[name] for key in keys.values()) == 1
