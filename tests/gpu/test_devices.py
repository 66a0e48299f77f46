"""Which device a run gets on a machine with a GPU, and what is put there."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.errors import ConfigError
from fulmen.runtime.device import CPUAccelerator, CUDAAccelerator

from .cuda import QUIET, Regression, batches, make_trainer, needs_cuda

pytestmark = needs_cuda

FIRST = torch.device("cuda", 0)


def name_of(accelerator: Any) -> str:
    return accelerator if isinstance(accelerator, str) else type(accelerator).__name__


@pytest.mark.parametrize("accelerator", ["auto", "gpu", "cuda", CUDAAccelerator()], ids=name_of)
@pytest.mark.parametrize("devices", [1, "1", [0], "0,"], ids=repr)
def test_the_first_gpu(accelerator: Any, devices: Any) -> None:
    trainer = pl.Trainer(accelerator=accelerator, devices=devices, **QUIET)
    assert isinstance(trainer.accelerator, CUDAAccelerator)
    assert trainer.strategy.root_device == FIRST
    assert (trainer.device_ids, trainer.num_devices) == ([0], 1)


@pytest.mark.skipif(torch.cuda.device_count() != 1, reason="means all GPUs, and there are several")
@pytest.mark.parametrize("devices", ["auto", -1, "-1"])
def test_all_gpus(devices: Any) -> None:
    assert pl.Trainer(accelerator="gpu", devices=devices, **QUIET).strategy.root_device == FIRST
    assert pl.Trainer(devices=devices, **QUIET).strategy.root_device == FIRST


def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"no cuda device of this index(.|\n)*received: \[99\]"):
        pl.Trainer(accelerator="gpu", devices=[99])
    with pytest.raises(ConfigError, match=r"More devices(.|\n)*received: 99"):
        pl.Trainer(accelerator="gpu", devices=99)


def test_what_is_put_on_the_device() -> None:
    seen: dict[str, Any] = {}

    class Looks(Regression):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("shift", torch.zeros(1))

        def configure_optimizers(self) -> Any:
            seen["parameters when optimizers are made"] = self.net[0].weight.device
            return super().configure_optimizers()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen["batch"] = batch[0].device
            seen["buffer"] = self.shift.device
            seen["module"] = self.device
            seen["current"] = torch.device("cuda", torch.cuda.current_device())
            return super().training_step(batch, batch_idx)

    module = Looks()
    trainer = make_trainer()
    trainer.fit(module, batches(2))
    assert set(seen.values()) == {FIRST}, seen
    assert module.on_gpu
    assert all(
        value.device == FIRST
        for state in trainer.optimizers[0].state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )


def test_the_processor_on_a_machine_with_a_gpu() -> None:
    module = Regression()
    trainer = pl.Trainer(accelerator="cpu", max_epochs=1, **QUIET)
    trainer.fit(module, batches(2))
    assert isinstance(trainer.accelerator, CPUAccelerator)
    assert not any(parameter.is_cuda for parameter in module.parameters())
    assert not module.on_gpu


def test_one_module_on_both_in_turn() -> None:
    module = Regression()
    for accelerator, kind in (("gpu", "cuda"), ("cpu", "cpu"), ("gpu", "cuda")):
        pl.Trainer(accelerator=accelerator, devices=1, max_epochs=1, **QUIET).fit(module, batches(2))
        assert module.device.type == kind


@pytest.mark.parametrize(("precision", "dtype"), [(None, torch.float32), ("bf16-true", torch.bfloat16)])
def test_modules_made_in_place(precision: str | None, dtype: torch.dtype) -> None:
    trainer = make_trainer(precision=precision)
    with trainer.init_module():
        module = Regression()
    assert {(p.device, p.dtype) for p in module.parameters()} == {(FIRST, dtype)}
    assert torch.ones(1).device.type == "cpu"


@pytest.mark.parametrize(
    ("precision", "made"),
    [
        ("32-true", torch.float32),
        ("64-true", torch.float64),
        ("16-true", torch.float16),
        ("bf16-true", torch.bfloat16),
        ("16-mixed", torch.float16),
        ("bf16-mixed", torch.bfloat16),
    ],
)
def test_each_precision_trains_validates_and_predicts(precision: str, made: torch.dtype) -> None:
    types = set()

    class Looks(Regression):
        def forward(self, batch: Any) -> torch.Tensor:
            output = self.net(batch[0])
            types.add(output.dtype)
            return output

        def loss_of(self, batch: Any) -> torch.Tensor:
            return (self(batch) - batch[0][:, :1]).square().mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    module, trainer = Looks(), make_trainer(precision=precision)
    trainer.fit(module, batches(4), batches(2))
    [result] = trainer.validate(module, batches(2), verbose=False)
    predicted = trainer.predict(module, batches(2))
    assert types == {made}
    assert result["val_loss"] > 0
    assert predicted is not None
    assert len(predicted) == 2
    assert all(torch.isfinite(loss) for loss in module.losses)


def test_stats() -> None:
    kept = torch.ones(1, device=FIRST)
    stats = CUDAAccelerator().stats(kept.device)
    assert stats["allocated_bytes.all.current"] > 0
    assert all(type(value) is float for value in stats.values())
