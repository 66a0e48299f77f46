"""What libraries that are written on Lightning do besides subclassing it."""

from __future__ import annotations

from typing import Any

import pytest

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
