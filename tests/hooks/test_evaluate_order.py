"""The order of hooks in `validate`, `test` and `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .blocks import LOAD, TRANSFER, evaluated, flat, prepare, teardown
from .recorder import RecordingData, RecordingModule, make_trainer

STAGES = ("validate", "test", "predict")


def evaluate(root: Path, stage: str, ckpt_path: Path | None = None, **data: Any) -> tuple[list[str], Any]:
    """The calls of one run of `stage`, and what it returned."""
    calls: list[str] = []
    run = getattr(make_trainer(calls, root), stage)
    returned = run(RecordingModule(calls), datamodule=RecordingData(calls, **data), ckpt_path=ckpt_path)
    return calls, returned


def loop_of_test(n_batches: int) -> list[str]:
    """The test loop."""
    return flat(
        *("M.on_test_model_eval", "CM.on_test_start", "CM.on_test_epoch_start"),
        flat(TRANSFER, "CM.on_test_batch_start", "M.test_step", "CM.on_test_batch_end") * n_batches,
        *("CM.on_test_epoch_end", "CM.on_test_end", "M.on_test_model_train"),
    )


def loop_of_predict(n_batches: int) -> list[str]:
    """The prediction loop; there is no hook for the way back to training."""
    return flat(
        *("M.on_predict_model_eval", "CM.on_predict_start", "CM.on_predict_epoch_start"),
        flat(TRANSFER, "CM.on_predict_batch_start", "M.predict_step", "CM.on_predict_batch_end") * n_batches,
        *("CM.on_predict_epoch_end", "CM.on_predict_end"),
    )


LOOPS = {"validate": evaluated, "test": loop_of_test, "predict": loop_of_predict}
LOADERS = {"validate": "D.val_dataloader", "test": "D.test_dataloader", "predict": "D.predict_dataloader"}
SPLITS = {"validate": "val", "test": "test", "predict": "predict"}


def test_validate(tmp_path: Path) -> None:
    """The whole contract, spelled out."""
    calls, returned = evaluate(tmp_path, "validate")
    assert calls == [
        "M.configure_callbacks",
        "D.prepare_data",
        "M.prepare_data",
        "D.setup validate",
        "C.setup validate",
        "M.setup validate",
        "M.configure_model",
        "D.val_dataloader",
        "M.on_validation_model_eval",
        "C.on_validation_start",
        "M.on_validation_start",
        "C.on_validation_epoch_start",
        "M.on_validation_epoch_start",
        "M.on_before_batch_transfer",
        "M.transfer_batch_to_device",
        "M.on_after_batch_transfer",
        "C.on_validation_batch_start",
        "M.on_validation_batch_start",
        "M.validation_step",
        "C.on_validation_batch_end",
        "M.on_validation_batch_end",
        "C.on_validation_epoch_end",
        "M.on_validation_epoch_end",
        "C.on_validation_end",
        "M.on_validation_end",
        "M.on_validation_model_train",
        "D.teardown validate",
        "C.teardown validate",
        "M.teardown validate",
    ]
    assert returned == [{}]


def test_test(tmp_path: Path) -> None:
    """The whole contract, spelled out."""
    calls, returned = evaluate(tmp_path, "test")
    assert calls == [
        "M.configure_callbacks",
        "D.prepare_data",
        "M.prepare_data",
        "D.setup test",
        "C.setup test",
        "M.setup test",
        "M.configure_model",
        "D.test_dataloader",
        "M.on_test_model_eval",
        "C.on_test_start",
        "M.on_test_start",
        "C.on_test_epoch_start",
        "M.on_test_epoch_start",
        "M.on_before_batch_transfer",
        "M.transfer_batch_to_device",
        "M.on_after_batch_transfer",
        "C.on_test_batch_start",
        "M.on_test_batch_start",
        "M.test_step",
        "C.on_test_batch_end",
        "M.on_test_batch_end",
        "C.on_test_epoch_end",
        "M.on_test_epoch_end",
        "C.on_test_end",
        "M.on_test_end",
        "M.on_test_model_train",
        "D.teardown test",
        "C.teardown test",
        "M.teardown test",
    ]
    assert returned == [{}]


def test_predict(tmp_path: Path) -> None:
    """The whole contract, spelled out; one loader gives a flat list."""
    calls, returned = evaluate(tmp_path, "predict", predict=1)
    assert calls == [
        "M.configure_callbacks",
        "D.prepare_data",
        "M.prepare_data",
        "D.setup predict",
        "C.setup predict",
        "M.setup predict",
        "M.configure_model",
        "D.predict_dataloader",
        "M.on_predict_model_eval",
        "C.on_predict_start",
        "M.on_predict_start",
        "C.on_predict_epoch_start",
        "M.on_predict_epoch_start",
        "M.on_before_batch_transfer",
        "M.transfer_batch_to_device",
        "M.on_after_batch_transfer",
        "C.on_predict_batch_start",
        "M.on_predict_batch_start",
        "M.predict_step",
        "C.on_predict_batch_end",
        "M.on_predict_batch_end",
        "C.on_predict_epoch_end",
        "M.on_predict_epoch_end",
        "C.on_predict_end",
        "M.on_predict_end",
        "D.teardown predict",
        "C.teardown predict",
        "M.teardown predict",
    ]
    assert returned == [(0, 0)]


@pytest.mark.parametrize("stage", STAGES)
def test_several_loaders_run_one_after_the_other(tmp_path: Path, stage: str) -> None:
    of_split: Any = {SPLITS[stage]: (1, 2)}
    calls, returned = evaluate(tmp_path, stage, **of_split)
    assert calls == flat(prepare(stage), LOADERS[stage], LOOPS[stage](3), teardown(stage))
    if stage == "predict":
        assert returned == [[(0, 0)], [(1, 0), (1, 1)]]
    else:
        assert returned == [{}, {}]


@pytest.mark.parametrize("stage", STAGES)
def test_checkpoint_is_loaded_after_configure_model(tmp_path: Path, stage: str) -> None:
    trainer = make_trainer([], tmp_path)
    trainer.fit(RecordingModule([]), datamodule=RecordingData([]))
    trainer.save_checkpoint(tmp_path / "saved.ckpt")

    calls, _ = evaluate(tmp_path, stage, ckpt_path=tmp_path / "saved.ckpt")
    assert calls == flat(prepare(stage), LOAD, LOADERS[stage], LOOPS[stage](1), teardown(stage))


@pytest.mark.parametrize("stage", STAGES)
def test_limit_of_zero_batches_runs_setup_and_teardown_alone(tmp_path: Path, stage: str) -> None:
    calls: list[str] = []
    no_batches: Any = {f"limit_{SPLITS[stage]}_batches": 0}
    trainer = make_trainer(calls, tmp_path, **no_batches)
    getattr(trainer, stage)(RecordingModule(calls), datamodule=RecordingData(calls))
    assert calls == flat(prepare(stage), teardown(stage))


def test_predictions_may_be_thrown_away(tmp_path: Path) -> None:
    calls: list[str] = []
    trainer = make_trainer(calls, tmp_path)
    returned = trainer.predict(
        RecordingModule(calls), datamodule=RecordingData(calls, predict=2), return_predictions=False
    )
    assert returned is None
    assert calls == flat(prepare("predict"), "D.predict_dataloader", loop_of_predict(2), teardown("predict"))


def test_runs_after_fit_prepare_the_data_again(tmp_path: Path) -> None:
    """`test` loads the best checkpoint on request, `validate` with a module loads none."""
    calls: list[str] = []
    trainer = make_trainer(calls, tmp_path, enable_checkpointing=True)
    module, data = RecordingModule(calls), RecordingData(calls)
    trainer.fit(module, datamodule=data)

    calls.clear()
    trainer.test(datamodule=data, ckpt_path="best")
    assert calls == flat(prepare("test"), LOAD, "D.test_dataloader", loop_of_test(1), teardown("test"))

    calls.clear()
    trainer.validate(module, datamodule=data)
    assert calls == flat(prepare("validate"), "D.val_dataloader", evaluated(1), teardown("validate"))
