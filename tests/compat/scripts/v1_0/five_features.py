"""The five features of 1.0: metrics, manual optimization, logging, data flow, checkpoints."""

import argparse
import json

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.metrics import Accuracy, Metric
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split


class MeanConfidence(Metric):
    """A metric of one's own, as 1.0 had it."""

    def __init__(self, compute_on_step=True, dist_sync_on_step=False, process_group=None):
        super().__init__(
            compute_on_step=compute_on_step, dist_sync_on_step=dist_sync_on_step, process_group=process_group
        )
        self.add_state("confidence", default=torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("total", default=torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, logits):
        self.confidence += logits.softmax(1).max(1).values.sum()
        self.total += len(logits)

    def compute(self):
        return self.confidence / self.total


class Digits(pl.LightningDataModule):
    def __init__(self, batch_size=64):
        super().__init__(dims=(64,))
        self.batch_size = batch_size

    def prepare_data(self):
        load_digits()

    def setup(self, stage=None):
        digits = load_digits()
        data = TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target))
        sizes = [1400, 200, len(data) - 1600]
        self.train, self.val, self.test = random_split(data, sizes, torch.Generator().manual_seed(1))

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=self.batch_size)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=self.batch_size)

    def test_dataloader(self):
        return DataLoader(self.test, batch_size=self.batch_size)


class Classifier(pl.LightningModule):
    def __init__(self, hparams):
        super().__init__()
        self.hparams = hparams
        self.net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        self.train_acc = Accuracy()
        self.valid_acc = Accuracy()
        self.confidence = MeanConfidence()
        self.seen = {}

    def forward(self, x):
        return self.net(x)

    # x_step / x_step_end / x_epoch_end
    def training_step(self, batch, batch_idx):
        x, y = batch
        return {"logits": self(x), "y": y}

    def training_step_end(self, outputs):
        loss = F.cross_entropy(outputs["logits"], outputs["y"])
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True, logger=True)
        self.log("train_acc", self.train_acc(outputs["logits"].softmax(1), outputs["y"]), on_step=True)
        return {"loss": loss, "size": len(outputs["y"])}

    def training_epoch_end(self, outputs):
        self.seen["train"] = sum(output["size"] for output in outputs)
        self.seen["mean_of_losses"] = float(torch.stack([output["loss"] for output in outputs]).mean())
        self.log("train_acc_epoch", self.train_acc.compute())

    def validation_step(self, batch, batch_idx):
        x, y = batch
        return {"logits": self(x), "y": y}

    def validation_step_end(self, outputs):
        loss = F.cross_entropy(outputs["logits"], outputs["y"])
        self.valid_acc(outputs["logits"].softmax(1), outputs["y"])
        self.confidence(outputs["logits"])
        self.log("valid_acc", self.valid_acc, on_step=False, on_epoch=True)
        self.log("confidence", self.confidence, on_step=False, on_epoch=True)
        return {"loss": loss, "size": len(outputs["y"])}

    def validation_epoch_end(self, outputs):
        sizes = torch.tensor([float(output["size"]) for output in outputs])
        losses = torch.stack([output["loss"] for output in outputs])
        self.seen["val"] = int(sizes.sum())
        self.log("val_loss", (losses * sizes).sum() / sizes.sum())

    def test_step(self, batch, batch_idx):
        x, y = batch
        return {"right": (self(x).argmax(1) == y).sum(), "size": len(y)}

    def test_epoch_end(self, outputs):
        right = sum(int(output["right"]) for output in outputs)
        self.log("test_acc", right / sum(output["size"] for output in outputs))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


class Manual(Classifier):
    """Manual optimization, asked for at the Trainer."""

    def training_step(self, batch, batch_idx, optimizer_idx=0):
        optimizer = self.optimizers()
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.manual_backward(loss, optimizer)
        optimizer.step()
        optimizer.zero_grad()
        return {"loss": loss, "size": len(y)}

    def training_step_end(self, outputs):
        return outputs

    def training_epoch_end(self, outputs):
        pass


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser = pl.Trainer.add_argparse_args(parser)
    parser.add_argument("--lr", type=float, default=0.5)
    parser.add_argument("--folder", default=".")
    args = parser.parse_args(arguments)
    results = {}
    for kind in (Classifier, Manual):
        pl.seed_everything(7)
        model, data = kind(args), Digits()
        checkpoint = ModelCheckpoint(
            filepath=args.folder + f"/{kind.__name__}" + "-{epoch}-{val_loss:.2f}",
            monitor="val_loss",
            save_top_k=1,
            mode="auto",
            period=1,
        )
        trainer = pl.Trainer.from_argparse_args(
            args,
            checkpoint_callback=checkpoint,
            callbacks=[EarlyStopping("val_loss", patience=2)],
            automatic_optimization=kind is Classifier,
            default_root_dir=args.folder,
            progress_bar_refresh_rate=0,
            weights_summary=None,
        )
        returned = trainer.fit(model, data)
        tested = trainer.test(datamodule=data)
        results[kind.__name__] = {
            "fitted": bool(returned),
            "weights": float(sum(p.detach().double().abs().sum() for p in model.parameters())),
            "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
            "tested": tested,
            "seen": model.seen,
            "best": checkpoint.best_model_path,
            "lr": model.hparams.lr,
            "steps": trainer.global_step,
        }
    with open(args.folder + "/result.json", "w") as file:
        json.dump(results, file)


if __name__ == "__main__":
    main()
