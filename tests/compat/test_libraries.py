"""What libraries that are written on Lightning do besides subclassing it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fulmen
from fulmen.compat.lightning import install, uninstall
from fulmen.compat.lightning.demos import BoringModel

QUIET: dict[str, Any] = {
    "accelerator": "cpu", "max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1, "logger": False,
    "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
}  # fmt: skip


def test_a_method_that_has_an_old_hooks_name_by_chance_is_not_called() -> None:
    class Forecaster(BoringModel):  # as in pytorch-forecasting
        def on_epoch_end(self, outputs: Any) -> None:
            pytest.fail("it was called")

    fulmen.Trainer(**QUIET).fit(Forecaster())


@pytest.mark.parametrize("validates", [True, False])
def test_whether_there_is_validation_can_be_asked_early(validates: bool) -> None:
    class Estimator(BoringModel):  # as in GluonTS
        def configure_optimizers(self) -> Any:
            loop = self.trainer.fit_loop.epoch_loop.val_loop
            assert loop._data_source.is_defined() is validates
            return super().configure_optimizers()

    model = Estimator()
    if validates:
        fulmen.Trainer(**QUIET).fit(model)
    else:
        model.val_dataloader = None  # pyright: ignore[reportAttributeAccessIssue]
        fulmen.Trainer(**QUIET).fit(model, BoringModel().train_dataloader())


def test_classes_are_found_by_dotted_names() -> None:
    """As in Hydra's `_target_` and jsonargparse's `class_path`."""
    hydra = pytest.importorskip("hydra.utils")
    install()
    try:
        callback = hydra.instantiate(
            {"_target_": "pytorch_lightning.callbacks.EarlyStopping", "monitor": "a"}
        )
    finally:
        uninstall()
    assert type(callback) is fulmen.callbacks.EarlyStopping


def test_names_of_ours_that_a_users_classes_have_too(tmp_path: Path) -> None:
    """`load_weights` and the like are what people call methods of their own; these are not called for us."""

    class Module(BoringModel):
        def __init__(self) -> None:
            super().__init__()
            self.steps: list[Tensor] = []

        def _run(self, batch: Any) -> Any:
            return super().training_step(batch, 0)

        def _logbook(self, loss: Any) -> None:
            self.steps.append(loss)

        def attach(self, *heads: Any) -> None:
            raise AssertionError(heads)

        load_weights = load_checkpoint = attach

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            returned = self._run(batch)
            self._logbook(returned["loss"].detach())
            self.log("loss", returned["loss"])
            return returned

    class Probe(fulmen.Callback):
        def attach(self, *layers: Any) -> None:
            raise AssertionError(layers)

        def on_train_batch_end(self, *args: Any) -> None:
            self.log("probe", 1.0)

    def trainer(epochs: int) -> fulmen.Trainer:
        steps = {"max_epochs": epochs, "limit_train_batches": 2, "enable_checkpointing": True}
        return fulmen.Trainer(**{**QUIET, **steps}, callbacks=[Probe()], default_root_dir=tmp_path)

    module, first = Module(), trainer(1)
    first.fit(module)
    path = first.checkpoint_callback.best_model_path
    assert len(module.steps) == 2
    assert first.callback_metrics["loss"] == module.steps[-1]
    assert first.callback_metrics["probe"] == 1.0
    again = Module.load_from_checkpoint(path)
    assert torch.equal(again.layer.weight, module.layer.weight)
    second = trainer(2)
    second.fit(again, ckpt_path=path)
    assert second.global_step == 4
    assert len(copy.deepcopy(again).steps) == 2
