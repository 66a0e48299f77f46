"""Models and data that show nothing but that something runs."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from fulmen import Trainer
from fulmen.callbacks import DeviceStatsMonitor
from fulmen.compat.lightning import demos
from fulmen.compat.lightning.callbacks import GPUStatsMonitor
from fulmen.compat.spelling import OldSpelling

QUICK: dict[str, Any] = {
    "accelerator": "cpu", "max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 2, "logger": False,
    "limit_test_batches": 2, "limit_predict_batches": 2, "enable_checkpointing": False,
    "enable_progress_bar": False, "enable_model_summary": False,
}  # fmt: skip


@pytest.mark.parametrize("kind", [demos.BoringModel, demos.ManualOptimBoringModel])
def test_models_go_through_all_stages(kind: type[demos.BoringModel]) -> None:
    model, trainer = kind(), Trainer(**QUICK)
    before = model.layer.weight.detach().clone()

    trainer.fit(model)
    trainer.validate(model, verbose=False)
    trainer.test(model, verbose=False)
    predictions = trainer.predict(model)

    assert not torch.equal(model.layer.weight, before)
    assert len(predictions) == 2


def test_data_come_from_a_datamodule() -> None:
    trainer = Trainer(**QUICK)

    trainer.fit(demos.BoringModel(), datamodule=demos.BoringDataModule())

    assert trainer.global_step == 2


def test_vectors_come_by_index_or_one_by_one() -> None:
    assert demos.RandomDictDataset(3, 5)[0].keys() == {"a", "b"}
    assert [len(vector) for vector in demos.RandomIterableDataset(3, 2)] == [3, 3]
    assert len(demos.RandomIterableDatasetWithLen(3, 2)) == 2
    assert demos.DemoModel(4)(torch.zeros(2, 32)).shape == (2, 4)
    assert demos.Net()(torch.zeros(2, 1, 28, 28)).exp().sum().item() == pytest.approx(2)


def test_a_callback_that_is_gone_says_what_there_is() -> None:
    with pytest.warns(OldSpelling, match="DeviceStatsMonitor"):
        assert isinstance(GPUStatsMonitor(memory_utilization=True), DeviceStatsMonitor)


def test_nothing_is_said_where_it_is_to_be_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULMEN_QUIET", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GPUStatsMonitor()
