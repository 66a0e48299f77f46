"""What a search leaves behind: the number that it has found, and nothing else."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.callbacks import EarlyStopping, LambdaCallback, ModelCheckpoint
from fulmen.loggers import CSVLogger
from fulmen.metrics import MeanMetric
from fulmen.tuner import Tuner

from .models import Regression, make_trainer


def bits(value: Any) -> Any:
    """Something that is equal only where all bits are."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), value.shape, value.detach().cpu().numpy().tobytes()
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, dict):
        return {str(key): bits(item) for key, item in value.items()}
    return [bits(item) for item in value] if isinstance(value, (list, tuple)) else value


def generators() -> Any:
    return bits([random.getstate(), np.random.get_state(), torch.get_rng_state()])


def state_of(module: Regression) -> dict[str, Any]:
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {
        "tensors": bits(tensors),
        "identities": {name: id(tensor) for name, tensor in module.named_parameters()},
        "gradients": bits({name: p.grad for name, p in module.named_parameters()}),
        "modes": [part.training for part in module.modules()],
        "frozen": [p.requires_grad for p in module.parameters()],
        "steps": module.steps,
        "generator": bits(module.generator.get_state()),
        "trainer": id(module._trainer),
    }


def state_of_trainer(trainer: pl.Trainer) -> dict[str, Any]:
    own = {name: value for name, value in vars(trainer).items() if name not in ("callbacks", "loggers")}
    return {
        "own": {name: id(value) for name, value in own.items()},
        "parts": [*map(id, trainer.callbacks), *map(id, trainer.loggers)],
        "callbacks": bits([callback.state_dict() for callback in trainer.callbacks]),
        "progress": trainer._progress.state_dict(),
        "seen": (trainer.current_epoch, trainer.global_step, trainer.state, trainer.should_stop),
    }


def search(kind: str, trainer: pl.Trainer, module: pl.LightningModule, **options: Any) -> None:
    if kind == "lr":
        Tuner(trainer).lr_find(module, num_training=13, update_attr=False, min_lr=1e-2, **options)
    else:
        size = module.batch_size
        Tuner(trainer).scale_batch_size(module, max_trials=3, **options)
        module.batch_size = module.hparams["batch_size"] = size


@pytest.mark.parametrize("kind", ["lr", "batch"])
def test_before_the_first_fit(kind: str, tmp_path: Path) -> None:
    calls: list[str] = []
    watcher = LambdaCallback(
        setup=lambda *args: calls.append("setup"), on_train_batch_end=lambda *args: calls.append("batch")
    )
    trainer = make_trainer(tmp_path, watcher, ModelCheckpoint(tmp_path), logger=CSVLogger(tmp_path))
    module = Regression()
    module.net[0].requires_grad_(False)
    module.net[2].eval()
    module.net[3].bias.grad = torch.ones(1)
    before = state_of(module), state_of_trainer(trainer), generators()
    search(kind, trainer, module)
    assert (state_of(module), state_of_trainer(trainer), generators()) == before
    assert not calls
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["lr", "batch"])
def test_a_fit_after_it_is_the_fit_without_it(kind: str, tmp_path: Path) -> None:
    def train(folder: Path, *, searches: bool) -> Any:
        torch.manual_seed(11)
        stopping = EarlyStopping("val_loss", patience=5)
        trainer = make_trainer(folder, stopping, ModelCheckpoint(folder), logger=CSVLogger(folder))
        module = Regression()
        if searches:
            search(kind, trainer, module)
        trainer.fit(module)
        rows = (folder / "lightning_logs" / "version_0" / "metrics.csv").read_text()
        names = sorted(path.name for path in folder.glob("*.ckpt"))
        end = bits(
            [module.state_dict(), trainer.optimizers[0].state_dict()["state"], dict(trainer.callback_metrics)]
        )
        return end, rows, names, module.steps, generators(), bits(module.generator.get_state())

    assert train(tmp_path / "a", searches=True) == train(tmp_path / "b", searches=False)


@pytest.mark.parametrize("kind", ["lr", "batch"])
def test_between_two_fits(kind: str, tmp_path: Path) -> None:
    trainer, module = make_trainer(tmp_path), Regression()
    trainer.fit(module)
    metrics = bits(dict(trainer.callback_metrics))
    before = state_of(module), state_of_trainer(trainer), generators()
    optimizers = bits([copy.deepcopy(o.state_dict()) for o in trainer.optimizers])
    search(kind, trainer, module)
    assert (state_of(module), state_of_trainer(trainer), generators()) == before
    assert bits([o.state_dict() for o in trainer.optimizers]) == optimizers
    assert bits(dict(trainer.callback_metrics)) == metrics


@pytest.mark.parametrize("kind", ["lr", "batch"])
def test_an_error_in_the_middle_leaves_nothing_either(kind: str, tmp_path: Path) -> None:
    class Fails(Regression):
        def on_train_batch_end(self, *args: Any) -> None:
            if self.steps == 3:
                raise RuntimeError("in the third step")

    module = Fails()
    before = state_of(module), generators()
    with pytest.raises(RuntimeError, match="third step"):
        search(kind, make_trainer(tmp_path), module)
    assert (state_of(module), generators()) == before


def test_the_loss_scale_is_as_before(tmp_path: Path) -> None:
    scales: list[dict[str, Any]] = []
    trainer = make_trainer(tmp_path, precision="16-mixed")
    for _ in range(2):
        trainer.fit(module := Regression())
        scales.append(bits(trainer.precision_plugin.state_dict()))
        search("lr", trainer, module)
        assert bits(trainer.precision_plugin.state_dict()) == scales[-1]


def test_the_interval_of_validations_does_not_limit_the_batch(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, val_check_interval=10)
    assert Tuner(trainer).scale_batch_size(Regression(), max_trials=4) == 16


def test_a_metric_forgets_the_search(tmp_path: Path) -> None:
    class Scores(Regression):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.fresh = MeanMetric(), MeanMetric()

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            loss = super().training_step(batch, batch_idx)
            self.mean.update(loss)
            self.fresh.update(loss)
            return loss

    module = Scores()
    module.mean.update(5.0)
    search("lr", make_trainer(tmp_path), module)
    assert module.mean.compute() == 5.0
    assert module.fresh.update_count == 0


def test_a_module_that_writes_to_its_logger_can_be_searched_with(tmp_path: Path) -> None:
    class Writes(Regression):
        def on_train_batch_end(self, *args: Any) -> None:
            logger: Any = self.logger
            logger.experiment.add_scalar("x", 1.0, 0)
            logger.log_metrics({"x": 1.0})

    search("lr", make_trainer(tmp_path, logger=CSVLogger(tmp_path)), Writes())
    assert not list(tmp_path.iterdir())


def test_a_module_that_stops_its_trainer_stops_the_search_alone(tmp_path: Path) -> None:
    class Stops(Regression):
        def on_train_batch_end(self, *args: Any) -> None:
            if self.trainer.global_step == 3:
                self.trainer.should_stop = True

    trainer, module = make_trainer(tmp_path), Stops()
    found = Tuner(trainer).lr_find(module, num_training=30, update_attr=False)
    assert found is not None
    assert len(found.results["lr"]) == 3
    assert not trainer.should_stop


def test_workers_that_persist_end_with_the_search(tmp_path: Path) -> None:
    """Processes that stay are looked for after every test."""

    class Workers(Regression):
        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(self.data(), 4, num_workers=1, persistent_workers=True)

    Tuner(make_trainer(tmp_path)).lr_find(Workers(), num_training=3, update_attr=False)


def test_what_it_sees_of_the_trainer_is_the_search(tmp_path: Path) -> None:
    seen: list[tuple[int, int, int]] = []

    class Looks(Regression):
        def look(self) -> None:
            seen.append((self.trainer.global_step, self.current_epoch, len(self.trainer.callbacks)))

        on_train_start = on_train_end = look

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            raise AssertionError("a search does not validate")

    module = Looks()
    trainer = make_trainer(tmp_path, LambdaCallback(), LambdaCallback())
    Tuner(trainer).lr_find(module, num_training=25, update_attr=False)
    assert seen == [(0, 0, 1), (25, 3, 1)]


def test_a_run_that_is_not_under_way_cannot_be_rehearsed(tmp_path: Path) -> None:
    with pytest.raises(pl.errors.UsageError, match="no run is under way"):
        _ = make_trainer(tmp_path).rehearsal
