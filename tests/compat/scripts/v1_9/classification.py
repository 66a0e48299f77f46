"""Classification as of 1.9: `*_epoch_end`, indices in optimizer hooks, torchmetrics, resume."""

import json
import os
from argparse import ArgumentParser

import lightning.pytorch as pl
import torch
import torchmetrics
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities.types import EPOCH_OUTPUT, STEP_OUTPUT
from sklearn.datasets import load_wine
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Wine(pl.LightningModule):
    def __init__(self, lr: float = 0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(13, 16), nn.Tanh(), nn.Linear(16, 3))
        self.accuracy = torchmetrics.Accuracy("multiclass", num_classes=3)
        self.calls = []

    def training_step(self, batch, batch_idx) -> STEP_OUTPUT:
        x, y = batch
        return {"loss": F.cross_entropy(self.net(x), y), "count": len(x)}

    def training_epoch_end(self, outputs: EPOCH_OUTPUT) -> None:
        self.log("count", float(sum(output["count"] for output in outputs)))

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self.net(x)
        self.accuracy(logits, y)
        self.log("val_acc", self.accuracy)
        return F.cross_entropy(logits, y, reduction="sum")

    def validation_epoch_end(self, outputs):
        self.log("val_loss", torch.stack(outputs).sum() / 178)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "epoch"}}

    def lr_scheduler_step(self, scheduler, optimizer_idx, metric):
        self.calls.append(optimizer_idx)
        scheduler.step()

    def configure_gradient_clipping(
        self, optimizer, optimizer_idx, gradient_clip_val=None, gradient_clip_algorithm=None
    ):
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_before_optimizer_step(self, optimizer, optimizer_idx):
        self.calls.append(optimizer_idx)


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("--folder")
    parser.add_argument("--stop_at", type=int, default=0)
    args = parser.parse_args()
    wine = load_wine()
    x = torch.tensor(wine.data, dtype=torch.float32)
    x = (x - x.mean(0)) / x.std(0)
    loader = DataLoader(TensorDataset(x, torch.tensor(wine.target)), batch_size=32)
    pl.seed_everything(13)
    model = Wine()
    options = {
        "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
        "gradient_clip_val": 0.5, "num_sanity_val_steps": 0, "replace_sampler_ddp": True,
        "track_grad_norm": -1,
    }  # fmt: skip
    path = None
    if args.stop_at:
        saving = ModelCheckpoint(args.folder, "half", every_n_epochs=1)
        trainer = pl.Trainer(max_epochs=args.stop_at, callbacks=[saving], **options)
        trainer.fit(model, loader, loader)
        path, model = os.path.join(args.folder, "half.ckpt"), Wine()
    trainer = pl.Trainer(
        max_epochs=4, callbacks=[EarlyStopping("val_loss", patience=3)], enable_checkpointing=False, **options
    )
    trainer.fit(model, loader, loader, ckpt_path=path)
    result = {
        "weights": [float(p.detach().double().sum()) for p in model.parameters()],
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
        "calls": sorted(set(model.calls)),
        "steps": trainer.global_step,
    }
    with open(os.path.join(args.folder, "result.json"), "w") as file:
        json.dump(result, file)
