"""An autoencoder as of 1.1: epoch outputs in callbacks, a logger of one's own, `test_dataloaders`, resume."""

import argparse
import json
import os

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks.base import Callback
from pytorch_lightning.callbacks.model_checkpoint import ModelCheckpoint
from pytorch_lightning.loggers.base import LightningLoggerBase, rank_zero_experiment
from pytorch_lightning.utilities.distributed import rank_zero_only
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class ListLogger(LightningLoggerBase):
    def __init__(self):
        super().__init__()
        self.rows = []

    @property
    @rank_zero_experiment
    def experiment(self):
        return self.rows

    @property
    def name(self):
        return "list"

    @property
    def version(self):
        return 1

    @rank_zero_only
    def log_hyperparams(self, params):
        self.hparams = dict(params)

    @rank_zero_only
    def log_metrics(self, metrics, step):
        self.experiment.append((step, metrics))


class Counting(Callback):
    def __init__(self):
        self.epochs = []

    def on_train_epoch_end(self, trainer, pl_module, outputs):
        self.epochs.append(len(outputs[0]))

    def on_batch_end(self, trainer, pl_module):
        self.batches = getattr(self, "batches", 0) + 1

    def on_save_checkpoint(self, trainer, pl_module):
        return {"epochs": self.epochs}

    def on_load_checkpoint(self, state):
        self.epochs = state["epochs"]


class AutoEncoder(pl.LightningModule):
    def __init__(self, width=16, lr=0.2):
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(nn.Linear(64, width), nn.ReLU())
        self.decoder = nn.Linear(width, 64)

    def forward(self, x):
        return self.encoder(x)

    def shared_step(self, batch):
        (x,) = batch
        return F.mse_loss(self.decoder(self.encoder(x)), x)

    def training_step(self, batch, batch_idx):
        loss = self.shared_step(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.shared_step(batch))

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self.shared_step(batch))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--stop_at", type=int, default=0)
    args = parser.parse_args()
    x = torch.tensor(load_digits().data, dtype=torch.float32) / 16
    train = DataLoader(TensorDataset(x[:1280]), batch_size=64)
    val = DataLoader(TensorDataset(x[1280:]), batch_size=64)
    pl.seed_everything(11)
    model = AutoEncoder()
    path = None
    if args.stop_at:
        checkpoint = ModelCheckpoint(
            dirpath=args.folder, filename="half", save_top_k=1, monitor="val_loss", mode="min"
        )
        trainer = pl.Trainer(
            max_epochs=args.stop_at, checkpoint_callback=True, callbacks=[checkpoint, Counting()],
            logger=False, progress_bar_refresh_rate=0, weights_summary=None,
        )  # fmt: skip
        trainer.fit(model, train_dataloader=train, val_dataloaders=val)
        path = os.path.join(args.folder, "half.ckpt")
        model = AutoEncoder()
    logger, counting = ListLogger(), Counting()
    trainer = pl.Trainer(
        max_epochs=args.epochs, resume_from_checkpoint=path, callbacks=[counting], logger=logger,
        checkpoint_callback=False, progress_bar_refresh_rate=0, weights_summary=None, row_log_interval=None,
        log_every_n_steps=5,
    )  # fmt: skip
    trainer.fit(model, train_dataloader=train, val_dataloaders=val)
    (tested,) = trainer.test(model, test_dataloaders=val)
    result = {
        "weights": [float(p.detach().double().sum()) for p in model.parameters()],
        "test_loss": tested["test_loss"],
        "epochs": counting.epochs,
        "batches": counting.batches,
        "hparams": logger.hparams,
        "names": sorted({name for _, metrics in logger.rows for name in metrics}),
        "steps": trainer.global_step,
    }
    with open(os.path.join(args.folder, "result.json"), "w") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main()
