"""The same trainings through a Trainer."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

import fulmen as pl

from . import science
from .bare import Case
from .outcome import Outcome

QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "exact_data": False,  # the bare loops draw all random numbers from one stream
}


class Science(pl.LightningModule):
    """The net of the bare loop, trained as the case says."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case
        self.net = science.Net()
        self.losses: list[Tensor] = []
        self.validation_losses: list[Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = science.loss_of(self.net, batch)
        self.losses.append(loss.detach())
        if self.case.follows == "train_loss":
            self.log("train_loss", loss)
        if batch_idx in self.case.explodes:
            loss = loss * float("inf")
        return None if batch_idx in self.case.skips else loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss = science.loss_of(self.net, batch)
        if not self.trainer.sanity_checking:
            self.validation_losses.append(loss)
        self.log("val_loss", loss)

    def configure_optimizers(self) -> Any:
        optimizer = self.case.optimizer(self.net.parameters())
        if self.case.scheduler is None:
            return optimizer
        scheduler = self.case.scheduler(optimizer, int(self.trainer.estimated_stepping_batches))
        config = {"scheduler": scheduler, "interval": self.case.scheduler_interval}
        if isinstance(scheduler, ReduceLROnPlateau):
            config["monitor"] = self.case.follows
        return {"optimizer": optimizer, "lr_scheduler": config}


def train(case: Case, module: type[Science] = Science, **options: Any) -> Outcome:
    """Train as `case` says; `options` are further arguments of the Trainer."""
    science.seed_generators()
    model = module(case)
    trainer = pl.Trainer(
        **{
            **QUIET,
            "accelerator": case.device,
            "devices": 1,
            "max_epochs": case.epochs,
            "limit_train_batches": case.limit,
            "limit_val_batches": None if case.validates_every else 0,
            "accumulate_grad_batches": case.accumulate,
            "gradient_clip_val": case.clip,
            "gradient_clip_algorithm": case.clip_by,
            "val_check_interval": case.validates_every,
            "precision": case.precision,
            **options,
        }
    )
    trainer.fit(model, case.loader(), science.validation_data())
    return outcome_of(trainer, model)


def outcome_of(trainer: pl.Trainer, model: Any) -> Outcome:
    """What a fit left behind; the scaler's state is brought up to date, which happens with the next step."""
    return Outcome(
        losses=model.losses,
        validation_losses=model.validation_losses,
        weights=model.net.state_dict(),
        optimizers=[optimizer.state_dict() for optimizer in trainer.optimizers],
        schedulers=[config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        scaler=trainer.precision_plugin.state_dict(),
        generators=science.generator_states(),
    )
