"""Classification as of 2.0: `import lightning.pytorch as pl`, outputs kept by the module."""

import json
import os
from argparse import ArgumentParser

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar, TQDMProgressBar
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Cancer(pl.LightningModule):
    def __init__(self, lr=0.05):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Linear(30, 2)
        self.outputs = []

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self.net(x), y)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        x, y = batch
        self.outputs.append((self.net(x).argmax(1) == y).float())

    def on_validation_epoch_end(self):
        self.log("val_acc", torch.cat(self.outputs).mean())
        self.outputs.clear()

    def predict_step(self, batch, batch_idx):
        return self.net(batch[0]).argmax(1)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("--folder")
    parser.add_argument("--stop_at", type=int, default=0)
    args = parser.parse_args()
    cancer = load_breast_cancer()
    x = torch.tensor(cancer.data, dtype=torch.float32)
    x = (x - x.mean(0)) / x.std(0)
    loader = DataLoader(TensorDataset(x, torch.tensor(cancer.target)), batch_size=64)
    pl.seed_everything(17)
    model = Cancer()
    rank_zero_info("begin")
    assert issubclass(RichProgressBar, pl.callbacks.ProgressBar)
    assert issubclass(TQDMProgressBar, pl.callbacks.ProgressBar)
    options = {
        "logger": False, "enable_progress_bar": False, "enable_model_summary": False, "precision": "32-true",
        "strategy": SingleDeviceStrategy(device="cpu"), "use_distributed_sampler": True,
    }  # fmt: skip
    path = None
    if args.stop_at:
        saving = ModelCheckpoint(dirpath=args.folder, filename="half")
        pl.Trainer(max_epochs=args.stop_at, callbacks=saving, **options).fit(model, loader, loader)
        path, model = os.path.join(args.folder, "half.ckpt"), Cancer()
        options["strategy"] = SingleDeviceStrategy(device="cpu")
    trainer = pl.Trainer(max_epochs=3, enable_checkpointing=False, **options)
    trainer.fit(model, loader, loader, ckpt_path=path)
    accuracy = float(trainer.callback_metrics["val_acc"])
    right = torch.cat(trainer.predict(model, loader)) == torch.tensor(cancer.target)
    result = {
        "weights": [float(p.detach().double().sum()) for p in model.parameters()],
        "val_acc": accuracy,
        "right": float(right.float().mean()),
        "precision": trainer.precision,
    }
    with open(os.path.join(args.folder, "result.json"), "w") as file:
        json.dump(result, file)
