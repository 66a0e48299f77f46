"""What the documentation of metrics shows can be run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen import metrics

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


def test_the_code_runs() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(32, 16, generator=generator), torch.randint(4, (32,), generator=generator)
    names: dict[str, Any] = {name: getattr(metrics, name) for name in metrics.__all__}
    names |= {"torch": torch, "nn": nn, "F": nn.functional, "pl": pl, "batches": [(inputs[:, :4], labels)]}
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, names)
    assert names["MeanError"]()(torch.ones(3), torch.zeros(3)) == 1

    class Trained(names["Classifier"]):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    loader = DataLoader(TensorDataset(inputs, labels), 8)
    trainer = pl.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Trained(), loader, loader)
    logged = {"train_accuracy", "val_MulticlassPrecision", "val_MulticlassRecall"}
    assert logged <= trainer.callback_metrics.keys()
