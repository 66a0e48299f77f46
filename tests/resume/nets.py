"""What is trained: nets that draw random numbers, and write into a journal all that happens to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, OneCycleLR, ReduceLROnPlateau

import fulmen as pl

from .feeds import FEATURES, samples_of
from .journal import Journal, bits

Configure = Callable[["Net"], Any]
Log = Callable[["Net", Tensor], None]


def adam(net: nn.Module, lr: float = 0.01) -> Optimizer:
    return torch.optim.Adam(net.parameters(), lr=lr)


def adam_with_decay(net: Net) -> Any:
    """A scheduler that steps once per epoch."""
    optimizer = adam(net)
    return [optimizer], [ExponentialLR(optimizer, 0.5)]


def sgd_in_one_cycle(net: Net) -> Any:
    """A scheduler that steps with each update, and changes the momentum too."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    scheduler = OneCycleLR(optimizer, 0.1, total_steps=int(net.trainer.estimated_stepping_batches))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def adam_every_third_step(net: Net) -> Any:
    optimizer = adam(net)
    scheduler = LambdaLR(optimizer, lambda step: 1 / (1 + step))
    return [optimizer], [{"scheduler": scheduler, "interval": "step", "frequency": 3}]


def sgd_on_plateau(monitor: str, **options: Any) -> Configure:
    """A learning rate that falls whenever `monitor` does not."""

    def configure(net: Net) -> Any:
        optimizer = torch.optim.SGD(net.parameters(), lr=0.2)
        scheduler = ReduceLROnPlateau(optimizer, factor=0.7, patience=0)
        return [optimizer], [{"scheduler": scheduler, "monitor": monitor, **options}]

    return configure


def log_both(net: Net, loss: Tensor) -> None:
    net.log("loss", loss, on_step=True, on_epoch=True)


class Net(pl.LightningModule):
    """Regression with dropout and batch norm; dropout in validation, too."""

    def __init__(
        self,
        journal: Journal,
        *,
        configure: Configure = adam,
        log: Log = log_both,
        norm: bool = True,
        explodes: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.journal, self.configure, self.log_train, self.explodes = journal, configure, log, explodes
        self.body = nn.Linear(FEATURES, 8)
        self.norm = nn.BatchNorm1d(8) if norm else nn.LayerNorm(8)
        self.head = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The prediction, and the mask that was drawn for it."""
        hidden = torch.relu(self.norm(self.body(x)))
        mask = nn.functional.dropout(torch.ones_like(hidden), 0.3)
        return self.head(hidden * mask), mask

    def loss_of(self, batch: Any) -> tuple[Tensor, Tensor, list[int], list[float]]:
        """The loss, the mask, which samples they were, and what was drawn for these."""
        parts = samples_of(batch)
        x = torch.cat([part["x"].reshape(-1, FEATURES) for part in parts])
        y = torch.cat([part["y"].reshape(-1, 1) for part in parts])
        ids = torch.cat([part["id"].reshape(-1) for part in parts]).tolist()
        drawn = torch.cat([part["drawn"].reshape(-1) for part in parts]).tolist()
        prediction, mask = self(x)
        return nn.functional.mse_loss(prediction, y), mask, ids, drawn

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss, mask, ids, drawn = self.loss_of(batch)
        lrs = [group["lr"] for group in self.trainer.optimizers[0].param_groups]
        self.journal.add("batch", self.current_epoch, batch_idx, ids, drawn, mask, loss, lrs)
        self.log_train(self, loss)
        return loss * 1e38 if batch_idx in self.explodes else loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss, _, ids, drawn = self.loss_of(batch)
        if not self.trainer.sanity_checking:
            self.journal.add("validate", self.current_epoch, batch_idx, ids, drawn, loss)
        self.log("val_loss", loss)

    def configure_optimizers(self) -> Any:
        return self.configure(self)


class AveragesItself(Net):
    """Keeps a moving average of its weights, and steps a coin, in its own hooks."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal)
        self.register_buffer("average", torch.zeros(FEATURES))
        self.register_buffer("coins", torch.zeros(()))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.average = 0.9 * self.average + 0.1 * self.body.weight.detach().mean(0)
        self.coins = self.coins + torch.rand(())

    def on_train_epoch_end(self) -> None:
        self.coins = self.coins + 10
        self.log("coins", self.coins)


class Rivals(pl.LightningModule):
    """Two nets with an optimizer and a scheduler each, trained against one another by hand."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.journal = journal
        self.maker = nn.Sequential(
            nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, FEATURES)
        )
        self.judge = nn.Sequential(nn.Linear(FEATURES, 8), nn.LeakyReLU(), nn.Dropout(0.2), nn.Linear(8, 1))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        judges, makers = self.optimizers()
        [real] = samples_of(batch)
        noise = torch.randn(len(real["x"]), 2, dtype=real["x"].dtype)
        loss = (
            torch.relu(1 - self.judge(real["x"])).mean()
            + torch.relu(1 + self.judge(self.maker(noise))).mean()
        )
        self.step(judges, loss)
        self.log("judged", loss, on_step=True, on_epoch=True)
        made = None
        if batch_idx % 2 == 0:
            made = -self.judge(self.maker(noise)).mean()
            self.step(makers, made)
            self.log("made", made)
            self.lr_schedulers()[1].step()  # pyright: ignore[reportIndexIssue, reportOptionalSubscript]
        lrs = [optimizer.param_groups[0]["lr"] for optimizer in (judges, makers)]
        ids, drawn = real["id"].tolist(), real["drawn"].tolist()
        self.journal.add("batch", self.current_epoch, batch_idx, ids, drawn, noise, loss, made, lrs)

    def step(self, optimizer: Any, loss: Tensor) -> None:
        self.toggle_optimizer(optimizer)
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(optimizer, gradient_clip_val=0.5)
        optimizer.step()
        self.untoggle_optimizer(optimizer)

    def on_train_epoch_end(self) -> None:
        self.lr_schedulers()[0].step()  # pyright: ignore[reportIndexIssue, reportOptionalSubscript]

    def configure_optimizers(self) -> Any:
        optimizers = [torch.optim.Adam(part.parameters(), lr=0.02) for part in (self.judge, self.maker)]
        return optimizers, [ExponentialLR(optimizer, 0.9) for optimizer in optimizers]


class Average(pl.Callback):
    """A moving average of the weights, and a count of what it has seen."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self.seen = {"batches": 0, "epochs": 0, "validations": 0}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.seen["batches"] += 1
        for name, weight in pl_module.named_parameters():
            weight = weight.detach()
            self.weights[name] = (
                self.weights[name] * 0.9 + weight * 0.1 if name in self.weights else weight.clone()
            )

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.seen["validations"] += not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.seen["epochs"] += 1

    def state_dict(self) -> dict[str, Any]:
        return {"weights": dict(self.weights), "seen": dict(self.seen)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.weights, self.seen = dict(state_dict["weights"]), dict(state_dict["seen"])


def end_of(trainer: pl.Trainer) -> dict[str, Any]:
    """All that a training leaves behind in the process."""
    return {
        "weights": bits(trainer.lightning_module.state_dict()),
        "optimizers": [bits(optimizer.state_dict()) for optimizer in trainer.optimizers],
        "schedulers": [bits(config.scheduler.state_dict()) for config in trainer.lr_scheduler_configs],
        "precision": bits(trainer.precision_plugin.state_dict()),
        "callbacks": {c.state_key: bits(c.state_dict()) for c in trainer.callbacks if c.state_dict()},
        "metrics": bits(trainer.callback_metrics),
        "counts": (trainer.global_step, trainer.current_epoch),
    }
