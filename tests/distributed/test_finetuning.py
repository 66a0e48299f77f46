"""What two processes unfreeze trains as in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import fulmen as pl
from fulmen.callbacks import BackboneFinetuning

from .ranks import Ranks
from .test_ddp import FEATURES, QUIET, loader_of


class TwoParts(pl.LightningModule):
    """A backbone and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.backbone = nn.Sequential(nn.Linear(FEATURES, 4), nn.Tanh())
        self.head = nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return (self.head(self.backbone(batch[0])).squeeze(1) - batch[1]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.1, momentum=0.9)


def train(rank: int, devices: int, epochs: int, saved: str | None, save_as: str) -> dict[str, Tensor]:
    strategy = "ddp" if devices > 1 else "auto"
    trainer = pl.Trainer(
        **QUIET, strategy=strategy, devices=devices, max_epochs=epochs, callbacks=[BackboneFinetuning(1)]
    )
    module = TwoParts()
    trainer.fit(module, loader_of("in order", 16, 8 // devices), ckpt_path=saved)
    trainer.save_checkpoint(save_as)
    return {name: weight.detach() for name, weight in module.named_parameters()}


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-5, atol=1e-6)


def test_what_is_unfrozen_is_averaged(two_ranks: Ranks, tmp_path: Path) -> None:
    expected = train(0, 1, 3, None, str(tmp_path / "one.ckpt"))
    for found in two_ranks(train, 2, 3, None, str(tmp_path / "two.ckpt")):
        assert_close(found, expected)


def test_so_it_is_after_a_resume(two_ranks: Ranks, tmp_path: Path) -> None:
    expected = train(0, 1, 4, None, str(tmp_path / "one.ckpt"))
    two_ranks(train, 2, 2, None, str(tmp_path / "half.ckpt"))
    for found in two_ranks(train, 2, 4, str(tmp_path / "half.ckpt"), str(tmp_path / "two.ckpt")):
        assert_close(found, expected)
