"""Transfer learning as of 1.5: a finetuning callback, `strategy`, state hooks, resume by `ckpt_path`."""

import json
import os
from argparse import ArgumentParser

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.callbacks.finetuning import BaseFinetuning
from pytorch_lightning.loggers import CSVLogger
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Unfreeze(BaseFinetuning):
    def __init__(self, at_epoch=1):
        super().__init__()
        self.at_epoch = at_epoch

    def freeze_before_training(self, pl_module):
        self.freeze(modules=pl_module.backbone, train_bn=True)

    def finetune_function(self, pl_module, epoch, optimizer, opt_idx):
        if epoch == self.at_epoch:
            self.unfreeze_and_add_param_group(modules=pl_module.backbone, optimizer=optimizer, lr=0.05)


class State(Callback):
    def __init__(self):
        self.seen = 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, unused=0):
        self.seen += 1

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        return {"seen": self.seen}

    def on_load_checkpoint(self, trainer, pl_module, callback_state):
        self.seen = callback_state["seen"]


class Transfer(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(64, 32)
        self.head = nn.Linear(32, 10)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self.head(torch.relu(self.backbone(x))), y)
        self.log("loss", loss, batch_size=len(x))
        return {"loss": loss}

    def training_epoch_end(self, outputs):
        self.log("epoch_loss", torch.stack([output["loss"] for output in outputs]).mean())

    def configure_optimizers(self):
        return torch.optim.SGD(filter(lambda p: p.requires_grad, self.parameters()), lr=0.2)

    def train_dataloader(self):
        digits = load_digits()
        x = torch.tensor(digits.data, dtype=torch.float32) / 16
        return DataLoader(TensorDataset(x[:1280], torch.tensor(digits.target)[:1280]), batch_size=64)


def trainer(folder, epochs, **more):
    callbacks = [Unfreeze(), State(), LearningRateMonitor("epoch"), *more.pop("callbacks", [])]
    return callbacks[1], pl.Trainer(
        max_epochs=epochs, callbacks=callbacks, logger=CSVLogger(folder, flush_logs_every_n_steps=5),
        enable_progress_bar=False, weights_summary=None, strategy=None, accelerator="cpu", devices=1,
        num_processes=1, gpus=None, log_every_n_steps=5, **more,
    )  # fmt: skip


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("--folder")
    parser.add_argument("--stop_at", type=int, default=0)
    args = parser.parse_args()
    pl.seed_everything(9)
    model = Transfer()
    path = None
    if args.stop_at:
        checkpoint = ModelCheckpoint(args.folder, "half", save_on_train_epoch_end=True)
        trainer(args.folder, args.stop_at, callbacks=[checkpoint])[1].fit(model)
        path, model = os.path.join(args.folder, "half.ckpt"), Transfer()
    state, last = trainer(args.folder, 3, enable_checkpointing=False)
    last.fit(model, ckpt_path=path)
    result = {
        "weights": [float(p.detach().double().sum()) for p in model.parameters()],
        "seen": state.seen,
        "groups": [group["lr"] for group in last.optimizers[0].param_groups],
        "metrics": {name: float(value) for name, value in last.callback_metrics.items()},
    }
    with open(os.path.join(args.folder, "result.json"), "w") as file:
        json.dump(result, file)
