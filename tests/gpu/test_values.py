"""What is logged on a GPU, and what can be gone on from."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.callbacks import ModelCheckpoint
from fulmen.loggers import CSVLogger

from .cuda import Regression, batches, make_trainer, needs_cuda

pytestmark = needs_cuda

BATCHES = 6


class Logs(Regression):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log("most", loss, on_step=False, on_epoch=True, reduce_fx="max")
        return loss

    def on_train_epoch_start(self) -> None:
        self.losses.clear()


def test_logged_values(tmp_path: Path) -> None:
    module = Logs()
    trainer = make_trainer(logger=CSVLogger(tmp_path, name="", version=""), log_every_n_steps=2, max_epochs=2)
    trainer.fit(module, batches(BATCHES))

    losses = [loss.item() for loss in module.losses]
    metrics = trainer.callback_metrics
    assert metrics["loss_step"].item() == losses[-1]
    assert metrics["loss"].item() == pytest.approx(sum(losses) / len(losses), rel=1e-6)
    assert metrics["loss_epoch"].item() == metrics["loss"].item()
    assert metrics["most"].item() == max(losses)
    assert trainer.progress_bar_metrics["loss_epoch"] == pytest.approx(metrics["loss"].item())
    with open(next(tmp_path.rglob("*.csv"))) as file:
        rows = list(csv.DictReader(file))
    steps = {int(row["step"]): float(row["loss_step"]) for row in rows if row.get("loss_step")}
    second_epoch = {step: value for step, value in steps.items() if step >= BATCHES}
    assert second_epoch == {step: pytest.approx(losses[step - BATCHES], rel=1e-6) for step in (7, 9, 11)}


def test_metrics_are_tensors_on_the_device() -> None:
    seen = []

    class Looks(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            seen.append(trainer.callback_metrics["loss"])

    make_trainer(callbacks=[Looks()]).fit(Logs(), batches(BATCHES))
    assert len(seen) == BATCHES
    assert all(value.is_cuda and value.dim() == 0 for value in seen)


@pytest.mark.parametrize("method", ["validate", "fit"])
def test_validation_is_weighted_by_samples(method: str) -> None:
    module = Regression().eval()
    samples = torch.randn(10, 8)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(samples), batch_size=4)
    trainer = make_trainer(limit_train_batches=1)
    if method == "validate":
        [result] = trainer.validate(module, loader, verbose=False)
        found = result["val_loss"]
    else:
        trainer.fit(module, batches(1), loader)
        found = trainer.callback_metrics["val_loss"].item()
    module.eval()
    with torch.no_grad():
        expected = module.to("cuda").loss_of([samples.to("cuda")]).item()
    assert found == pytest.approx(expected, rel=1e-5)


# ----------------------------------------------------------------------------------------------------- resume


def fit(folder: Path, precision: str, *, ckpt_path: Path | None = None) -> tuple[Any, pl.Trainer]:
    pl.seed_everything(3, verbose=False)
    module = Regression()
    every_step = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = make_trainer(
        callbacks=[every_step],
        enable_checkpointing=True,
        max_epochs=2,
        limit_val_batches=0,
        precision=precision,
    )
    if ckpt_path is not None:
        torch.manual_seed(99)  # what a checkpoint does not hold is other than it was
    trainer.fit(module, batches(BATCHES, shuffle=True), ckpt_path=ckpt_path)
    return module, trainer


@pytest.mark.parametrize("precision", ["32-true", "16-mixed", "bf16-true"])
@pytest.mark.parametrize(
    "step", [BATCHES, 2, BATCHES + 2], ids=["between epochs", "in the first", "in the second"]
)
def test_a_run_goes_on_to_the_same_bits(step: int, precision: str, tmp_path: Path) -> None:
    """Weights, optimizer, scale, dropout and the order of the data."""
    whole, whole_trainer = fit(tmp_path, precision)
    resumed, trainer = fit(tmp_path, precision, ckpt_path=tmp_path / f"step={step}.ckpt")

    assert trainer.global_step == whole_trainer.global_step == 2 * BATCHES
    assert torch.stack(resumed.losses).equal(torch.stack(whole.losses[step:]))
    for name, weight in whole.state_dict().items():
        assert resumed.state_dict()[name].equal(weight), name
    assert trainer.precision_plugin.state_dict() == whole_trainer.precision_plugin.state_dict()


def test_a_checkpoint_of_a_gpu_is_read_on_the_host(tmp_path: Path) -> None:
    module, _ = fit(tmp_path, "32-true")
    path = tmp_path / f"step={2 * BATCHES}.ckpt"
    again = Regression.load_from_checkpoint(path, map_location="cpu")
    assert all(not weight.is_cuda for weight in again.parameters())
    assert again.net[0].weight.equal(module.net[0].weight.detach().cpu())
    on_the_processor = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    [result] = on_the_processor.validate(again, batches(2), ckpt_path=path, verbose=False)
    [expected] = make_trainer().validate(module, batches(2), verbose=False)
    assert result["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-4)
