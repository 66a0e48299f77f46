"""Ways of working of old versions in two processes, against one process with the same batches."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.compat import OldSpelling

from .ranks import Ranks

X = torch.randn(32, 3, generator=torch.Generator().manual_seed(1))


class TwoNets(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(3, 2), nn.Linear(2, 1)
        self.ends: list[int] = []

    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Tensor:
        out = self.second(self.first(batch[0])).squeeze(1)
        loss = out.square().mean() if optimizer_idx == 0 else (out - 1).square().mean()
        self.log(f"loss_{optimizer_idx}", loss, sync_dist=True, on_step=False, on_epoch=True)
        return loss

    def training_epoch_end(self, outputs: Any) -> None:
        self.ends.append(len(outputs))

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(net.parameters(), lr=0.1) for net in (self.first, self.second)]


def train(rank: int, batch_size: int, arguments: dict[str, Any]) -> Any:
    model = TwoNets()
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **arguments,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OldSpelling)
        trainer.fit(model, DataLoader(TensorDataset(X), batch_size=batch_size))
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return [p.detach() for p in model.parameters()], metrics, model.ends


@pytest.mark.parametrize("accumulate", [1, 2])
def test_several_optimizers_in_automatic_optimization(two_ranks: Ranks, accumulate: int) -> None:
    ways: dict[str, Any] = {"strategy": "ddp", "devices": 2, "accumulate_grad_batches": accumulate}
    shared = two_ranks(train, 4, ways)
    parameters, metrics, _ = train(0, 8, {"devices": 1, "accumulate_grad_batches": accumulate})
    for of_rank, logged, ends in shared:
        for parameter, expected in zip(of_rank, parameters, strict=True):
            torch.testing.assert_close(parameter, expected, rtol=1e-6, atol=1e-6)
        assert logged == pytest.approx(metrics, rel=1e-5)
        assert ends == [4, 4]
