"""What a run asks of torch, and that it is put back; what runs without the usual surroundings do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fulmen as pl

from .engine.small import QUIET, Rows, Small, TrainsOnly, batches, callback, make_trainer


def settings() -> dict[str, Any]:
    return {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warns": torch.is_deterministic_algorithms_warn_only_enabled(),
        "benchmark": torch.backends.cudnn.benchmark,
        "anomaly": torch.is_anomaly_enabled(),
        "default dtype": torch.get_default_dtype(),
    }


def during(root: Path, method: str = "fit", **options: Any) -> dict[str, Any]:
    """The settings in a step, and in `setup`, which has to have the same."""
    seen: list[dict[str, Any]] = []

    class Looks(Small):
        def setup(self, stage: str) -> None:
            seen.append(settings())

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            seen.append(settings())
            return super().training_step(batch, batch_idx)

        def test_step(self, batch: Tensor, batch_idx: int) -> Any:
            seen.append(settings())

    trainer = make_trainer(root, limit_val_batches=0, **options)
    getattr(trainer, method)(Looks(), batches(1))
    in_setup, in_step = seen
    in_setup["default dtype"] = in_step["default dtype"]
    assert in_setup == in_step
    return in_step


PLAIN = settings()


@pytest.mark.parametrize("method", ["fit", "test"])
@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({}, {}),
        ({"deterministic": True}, {"deterministic": True}),
        ({"deterministic": "warn"}, {"deterministic": True, "warns": True}),
        ({"deterministic": False}, {}),
        ({"benchmark": True}, {"benchmark": True}),
        ({"benchmark": False}, {}),
        ({"deterministic": True, "benchmark": True}, {"deterministic": True, "benchmark": True}),
        ({"detect_anomaly": True}, {"anomaly": True}),
        ({"precision": "64-true"}, {"default dtype": torch.float64}),
        ({"precision": "bf16-true"}, {"default dtype": torch.bfloat16}),
        ({"precision": "bf16-mixed"}, {}),
    ],
    ids=str,
)
def test_settings_in_a_run_and_after_it(
    tmp_path: Path, options: dict[str, Any], changed: dict[str, Any], method: str
) -> None:
    assert during(tmp_path, method, **options) == PLAIN | changed
    assert settings() == PLAIN


@pytest.mark.parametrize(("deterministic", "during_run"), [(None, True), (True, True), (False, False)])
def test_determinism_of_the_script_itself(
    tmp_path: Path, deterministic: bool | None, during_run: bool
) -> None:
    """What the script set holds unless the Trainer is told otherwise, and holds again afterwards."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        found = during(tmp_path, deterministic=deterministic)
        assert found["deterministic"] is during_run
        assert (settings()["deterministic"], settings()["warns"]) == (True, True)
    finally:
        torch.use_deterministic_algorithms(False)


def test_environment_is_left_alone(tmp_path: Path) -> None:
    before = dict(os.environ)
    during(tmp_path, deterministic=True)
    assert dict(os.environ) == before


def test_anomalies_are_found(tmp_path: Path) -> None:
    class Breaks(TrainsOnly):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return (self.w * 0).sqrt() * 0 + torch.sqrt(self.w * 0 - 1)

    with pytest.raises(RuntimeError, match="SqrtBackward"), pytest.warns(UserWarning, match="Error detected"):
        make_trainer(tmp_path, detect_anomaly=True).fit(Breaks(), batches(1))


@pytest.mark.parametrize("inference_mode", [True, False])
@pytest.mark.parametrize("method", ["validate", "test", "predict"])
def test_evaluation_without_gradients(tmp_path: Path, method: str, inference_mode: bool) -> None:
    seen: list[tuple[bool, bool]] = []

    class Looks(Small):
        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            seen.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled()))

        test_step = predict_step = validation_step

    getattr(make_trainer(tmp_path, inference_mode=inference_mode), method)(Looks(), batches(1))
    assert seen == [(inference_mode, False)]


def test_gradients_in_an_evaluation_that_asks_for_them(tmp_path: Path) -> None:
    class Differentiates(Small):
        def test_step(self, batch: Tensor, batch_idx: int) -> None:
            with torch.enable_grad():
                x = batch.clone().requires_grad_()
                self.log("gradient", torch.autograd.grad((3 * x).sum(), x)[0])

    trainer = make_trainer(tmp_path, inference_mode=False)
    assert trainer.test(Differentiates(), batches(1), verbose=False) == [{"gradient": 3.0}]


def test_tensors_of_a_validation_can_be_used_in_training(tmp_path: Path) -> None:
    """Within a fit there is no inference mode, whatever was asked for."""

    class Keeps(Small):
        scale: Tensor = torch.ones(())

        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            assert not torch.is_inference_mode_enabled()
            self.scale = batch.mean() * 2

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx) * self.scale

    module = Keeps()
    make_trainer(tmp_path, inference_mode=True, num_sanity_val_steps=1).fit(module, batches(1), batches(1))
    assert module.w.item() == -1


def test_modes_within_a_fit(tmp_path: Path) -> None:
    """A layer that the user put in evaluation mode stays in it; validation gives back to each what it had."""
    seen: list[tuple[bool, bool, bool]] = []

    class Layers(Small):
        def __init__(self) -> None:
            super().__init__()
            self.free, self.frozen = torch.nn.Dropout(), torch.nn.BatchNorm1d(1)
            self.frozen.eval()

        def look(self) -> None:
            seen.append((self.training, self.free.training, self.frozen.training))

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            self.look()
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            self.look()

    trainer = make_trainer(tmp_path, num_sanity_val_steps=1, max_epochs=2)
    trainer.fit(Layers(), batches(1), batches(1))
    training, evaluating = (True, True, False), (False, False, False)
    assert seen == [evaluating, training, evaluating, training, evaluating]


def test_barebones_trains_all_the_same(tmp_path: Path) -> None:
    class Logs(Small):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            self.log("x", 1.0)
            return super().training_step(batch, batch_idx)

    bare, usual = Logs(), Logs()
    options = {name: value for name, value in QUIET.items() if name in ("accelerator", "max_epochs")}
    trainer = pl.Trainer(barebones=True, default_root_dir=tmp_path, **options)
    result = trainer.fit(bare, batches(3), batches(1))
    make_trainer(tmp_path).fit(usual, batches(3), batches(1))
    assert bare.w.item() == usual.w.item()
    assert result.steps == 3
    assert list(tmp_path.iterdir()) == []


def test_fast_dev_run_keeps_callbacks_and_writes_nothing(tmp_path: Path) -> None:
    """User callbacks run; checkpoints, early stopping and loggers rest."""
    calls: list[str] = []
    own = callback(on_train_end=lambda self, *args: calls.append("on_train_end"))
    saver = pl.callbacks.ModelCheckpoint(dirpath=tmp_path / "saved")
    stopping = pl.callbacks.EarlyStopping("nothing_like_it")
    logger = Rows()
    trainer = pl.Trainer(
        accelerator="cpu", fast_dev_run=2, callbacks=[own, saver, stopping], logger=logger,
        default_root_dir=tmp_path, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Small(), batches(5), batches(5))
    assert calls == ["on_train_end"]
    assert trainer.global_step == 2
    assert (logger.rows, logger.calls) == ([], [])
    assert list(tmp_path.iterdir()) == []
