"""The methods of a Trainer, one after the other, and with the wrong arguments."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fulmen as pl
from fulmen.callbacks import ModelCheckpoint
from fulmen.errors import ConfigError, UsageError

from .engine.small import Small, TrainsOnly, batches, callback, fit, make_trainer


class Scores(Small):
    """Logs its weight where it is evaluated, and predicts it."""

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val", self.w)

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("test", self.w)

    def predict_step(self, batch: Tensor, batch_idx: int) -> float:
        return self.w.item()


def score(trainer: pl.Trainer, method: str, *args: Any, **kwargs: Any) -> float:
    """The weight with which the method worked."""
    if method == "predict":
        predictions: Any = trainer.predict(*args, dataloaders=batches(1), **kwargs)
        return predictions[0]
    evaluate = getattr(trainer, method)
    (metrics,) = evaluate(*args, dataloaders=batches(1), verbose=False, **kwargs)
    return metrics["val" if method == "validate" else "test"]


METHODS = ("validate", "test", "predict")


@pytest.mark.parametrize("method", METHODS)
def test_after_fit_with_the_model(tmp_path: Path, method: str) -> None:
    """The present weights, whatever was saved."""
    model = Scores()
    saver = ModelCheckpoint(monitor="val", save_top_k=1, mode="max")
    trainer = fit(tmp_path, model, val=1, max_epochs=2, callbacks=[saver], enable_checkpointing=True)
    assert score(trainer, method, model) == model.w.item() == -3


@pytest.mark.parametrize("method", METHODS)
def test_after_fit_without_the_model(tmp_path: Path, method: str) -> None:
    """The best weights that were saved, in the model of the fit."""
    model = Scores()
    saver = ModelCheckpoint(monitor="val", save_top_k=1, mode="max")
    trainer = fit(tmp_path, model, val=1, max_epochs=2, callbacks=[saver], enable_checkpointing=True)
    assert score(trainer, method) == -1.5
    assert model.w.item() == -1.5
    assert trainer.ckpt_path == saver.best_model_path


@pytest.mark.parametrize("method", METHODS)
def test_after_fit_without_the_model_and_without_checkpoints(tmp_path: Path, method: str) -> None:
    model = Scores()
    trainer = fit(tmp_path, model, val=1, max_epochs=2)
    with pytest.warns(UserWarning, match="present weights"):
        assert score(trainer, method) == -3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ckpt_path", ["best", "last"])
def test_after_fit_with_a_name(tmp_path: Path, method: str, ckpt_path: str) -> None:
    saver = ModelCheckpoint(monitor="val", save_top_k=-1, mode="max")
    trainer = fit(tmp_path, Scores(), val=1, max_epochs=2, callbacks=[saver], enable_checkpointing=True)
    expected = -1.5 if ckpt_path == "best" else -3
    assert score(trainer, method, ckpt_path=ckpt_path) == expected
    assert score(trainer, method, Scores(), ckpt_path=ckpt_path) == expected


@pytest.mark.parametrize("method", METHODS)
def test_path_of_a_file(tmp_path: Path, method: str) -> None:
    trainer = fit(tmp_path, Scores())
    trainer.save_checkpoint(path := tmp_path / "x.ckpt")
    for given in (path, str(path)):
        assert score(make_trainer(tmp_path), method, Scores(), ckpt_path=given) == -1.5


@pytest.mark.parametrize("method", ["fit", *METHODS])
def test_best_where_nothing_was_saved(tmp_path: Path, method: str) -> None:
    trainer = make_trainer(tmp_path, enable_checkpointing=method == "test")
    with pytest.raises(ConfigError, match=r"(?s)'best'.*ModelCheckpoint"):
        getattr(trainer, method)(Scores(), batches(1), ckpt_path="best")


@pytest.mark.parametrize("method", METHODS)
def test_last_where_nothing_was_saved(tmp_path: Path, method: str) -> None:
    with pytest.raises(ConfigError, match="'last'"):
        getattr(make_trainer(tmp_path, enable_checkpointing=True), method)(
            Scores(), batches(1), ckpt_path="last"
        )


def test_fit_from_the_last_where_nothing_was_saved(tmp_path: Path) -> None:
    """The first of a row of jobs begins at the beginning."""
    trainer = make_trainer(tmp_path, enable_checkpointing=True)
    with pytest.warns(UserWarning, match="from the beginning"):
        trainer.fit(TrainsOnly(), batches(2), ckpt_path="last")
    assert trainer.global_step == 2


def test_fit_from_the_last(tmp_path: Path) -> None:
    """The second one goes on; the newest file counts, whatever its name."""
    fit(tmp_path, TrainsOnly(), max_epochs=2, enable_checkpointing=True)
    trainer = make_trainer(tmp_path, max_epochs=3, enable_checkpointing=True)
    model = TrainsOnly()
    trainer.fit(model, batches(2), ckpt_path="last")
    assert (trainer.current_epoch, trainer.global_step, model.w.item()) == (3, 6, -4.5)


@pytest.mark.parametrize("name", ["hpc", "registry"])
def test_names_that_are_not_supported(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s){name}.*'last' or 'best'"):
        make_trainer(tmp_path).fit(TrainsOnly(), batches(1), ckpt_path=name)


# -------------------------------------------------------------------------------------------- fit, again


def test_fit_again_has_nothing_left(tmp_path: Path) -> None:
    model = TrainsOnly()
    trainer = fit(tmp_path, model, max_epochs=2)
    result = trainer.fit(model, batches(2))
    assert model.w.item() == -3
    assert (trainer.current_epoch, trainer.global_step) == (2, 4)
    assert (result.epochs, result.steps, result.stopped_because) == (2, 4, "max_epochs=2 reached")


def test_fit_again_with_a_new_trainer_begins_anew(tmp_path: Path) -> None:
    """From the weights that the model has, with new optimizers."""
    model = TrainsOnly()
    fit(tmp_path, model)
    trainer = fit(tmp_path, model)
    assert model.w.item() == -3
    assert trainer.global_step == 2


def test_fit_goes_on_where_more_epochs_are_allowed(tmp_path: Path) -> None:
    """The usual way to train in rounds."""
    model = TrainsOnly()
    trainer = fit(tmp_path, model, max_epochs=1)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(model, batches(2))
    assert (trainer.current_epoch, trainer.global_step, model.w.item()) == (3, 6, -4.5)


def test_runs_one_after_the_other_do_not_add_callbacks(tmp_path: Path) -> None:
    calls: list[str] = []

    class Own(pl.Callback):
        def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            calls.append("fit")

        def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            calls.append("test")

    class Brings(Scores):
        def configure_callbacks(self) -> Any:
            return [Own()]

    model, trainer = Brings(), make_trainer(tmp_path)
    trainer.fit(model, batches(1), batches(1))
    for _ in range(2):
        trainer.test(model, batches(1), verbose=False)
    assert calls == ["fit", "test", "test"]


def test_other_models_in_one_trainer(tmp_path: Path) -> None:
    trainer = fit(tmp_path, Scores())
    other = Scores()
    assert score(trainer, "test", other) == 0
    assert trainer.lightning_module is other


def test_evaluation_leaves_modes_and_gradients_alone(tmp_path: Path) -> None:
    class Layers(Scores):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.norm = torch.nn.Dropout(), torch.nn.BatchNorm1d(1)
            self.norm.eval()

        def test_step(self, batch: Tensor, batch_idx: int) -> None:
            assert not any(module.training for module in self.modules())
            assert not torch.is_grad_enabled()

    model = Layers()
    model.w.grad = torch.tensor(3.0)
    make_trainer(tmp_path).test(model, batches(1), verbose=False)
    assert (model.training, model.drop.training, model.norm.training) == (True, True, False)
    assert model.w.grad.item() == 3
    assert model.w.requires_grad


@pytest.mark.parametrize("verbose", [True, False])
def test_results_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str], verbose: bool) -> None:
    class Logs(Small):
        def test_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.log("acc", 0.25 + dataloader_idx)

    make_trainer(tmp_path).test(Logs(), [batches(1), batches(1)], verbose=verbose)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert (["acc", "0.25", "1.25"] in lines) == verbose


def test_results_of_a_run_that_logged_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make_trainer(tmp_path).test(Small(), batches(1)) == [{}]
    assert capsys.readouterr().out == ""


# ----------------------------------------------------------------------------------- the wrong arguments


@pytest.mark.parametrize("method", ["fit", *METHODS])
@pytest.mark.parametrize(
    ("model", "said"),
    [(Small, r"Small, the class.*Small\(\)"), (torch.nn.Linear(1, 1), "Linear"), (3, "int"), ("path", "str")],
    ids=["class", "torch module", "number", "text"],
)
def test_what_is_no_model(tmp_path: Path, method: str, model: Any, said: str) -> None:
    with pytest.raises(UsageError, match=rf"(?s)`{method}` takes a LightningModule.*{said}"):
        getattr(make_trainer(tmp_path), method)(model, batches(1))


@pytest.mark.parametrize("method", METHODS)
def test_no_model_at_all(tmp_path: Path, method: str) -> None:
    with pytest.raises(UsageError, match=rf"(?s)No model.*trainer\.{method}\(model\)"):
        getattr(make_trainer(tmp_path), method)(dataloaders=batches(1))


@pytest.mark.parametrize("missing", ["training_step", "configure_optimizers"])
def test_fit_of_a_module_that_is_not_complete(tmp_path: Path, missing: str) -> None:
    incomplete = type("Incomplete", (Small,), {missing: getattr(pl.LightningModule, missing)})()
    with pytest.raises(UsageError, match=rf"(?s)Incomplete has no `{missing}`.*def {missing}"):
        make_trainer(tmp_path).fit(incomplete, batches(1), batches(1))


@pytest.mark.parametrize(("method", "step"), [("validate", "validation_step"), ("test", "test_step")])
def test_evaluation_of_a_module_without_the_step(tmp_path: Path, method: str, step: str) -> None:
    with pytest.raises(UsageError, match=rf"(?s)TrainsOnly has no `{step}`.*def {step}"):
        getattr(make_trainer(tmp_path), method)(TrainsOnly(), batches(1))


def test_prediction_by_a_module_that_cannot(tmp_path: Path) -> None:
    class Nothing(pl.LightningModule):
        pass

    with pytest.raises(UsageError, match="Nothing has no `predict_step`"):
        make_trainer(tmp_path).predict(Nothing(), batches(1))


def test_misuse_is_found_before_anything_is_done(tmp_path: Path) -> None:
    """No hook was called, and the Trainer can be used."""
    calls: list[str] = []
    trainer = make_trainer(
        tmp_path, callbacks=[callback(setup=lambda self, *args, **kwargs: calls.append("setup"))]
    )
    with pytest.raises(UsageError):
        trainer.fit(TrainsOnly())
    with pytest.raises(UsageError):
        trainer.test(TrainsOnly(), batches(1))
    assert calls == []
    trainer.fit(TrainsOnly(), batches(1))
    assert calls == ["setup"]


@pytest.mark.parametrize("argument", ["train_loader", "val_dataloader", "model_path"])
def test_unknown_argument_of_a_method(tmp_path: Path, argument: str) -> None:
    trainer: Any = make_trainer(tmp_path)
    with pytest.raises(TypeError, match=argument):
        trainer.fit(TrainsOnly(), **{argument: batches(1)})


def test_a_quiet_run_warns_of_nothing(tmp_path: Path) -> None:
    """Everything in order: neither the first run nor the next ones have anything to say."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer, model = make_trainer(tmp_path, num_sanity_val_steps=1, enable_checkpointing=True), Scores()
        trainer.fit(model, batches(2), batches(1))
        trainer.test(model, batches(1), verbose=False)
        trainer.predict(model, batches(1))
    assert [str(warning.message) for warning in caught] == []
