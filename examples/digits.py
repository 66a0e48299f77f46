"""Teach a small convolutional network to read handwritten digits, test it, and use it.

    ./run digits
    ./run digits --max-epochs 10 --precision bf16-mixed
    ./run digits --version 0 --ckpt-path last        to go on with version 0, if it was interrupted

The data are scikit-learn's: 1797 real digits of 8 x 8 pixels, so there is nothing to download.
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from fulmen.loggers import CSVLogger, TensorBoardLogger


class Digits(pl.LightningDataModule):
    """Images and labels in three parts, each with the same share of every digit."""

    def __init__(self, batch_size: int = 64, num_workers: int = 0):
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage: str) -> None:
        pixels, digits = load_digits(return_X_y=True)
        images = torch.tensor(pixels).float().view(-1, 1, 8, 8) / 16
        labels = torch.tensor(digits)
        rest, test = train_test_split(range(len(labels)), test_size=0.2, stratify=labels, random_state=0)
        train, val = train_test_split(rest, test_size=0.2, stratify=labels[rest], random_state=0)
        self.train, self.val, self.test = (TensorDataset(images[i], labels[i]) for i in (train, val, test))

    def loader(self, data: TensorDataset, shuffle: bool = False) -> DataLoader:
        return DataLoader(data, shuffle=shuffle, **self.hparams)

    def train_dataloader(self) -> DataLoader:
        return self.loader(self.train, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return self.loader(self.val)

    def test_dataloader(self) -> DataLoader:
        return self.loader(self.test)

    def predict_dataloader(self) -> DataLoader:
        return self.loader(self.test)

    def on_after_batch_transfer(self, batch: list[Tensor], dataloader_idx: int) -> list[Tensor]:
        images, labels = batch
        return [augment(images) if self.trainer.training else images, labels]


def augment(images: Tensor) -> Tensor:
    """Turn, stretch and shift each image a little, and add noise: no two epochs show the same pixels."""
    angle, zoom, right, down = images.new_empty(4, len(images)).uniform_(-1, 1)
    cos, sin = torch.cos(0.25 * angle), torch.sin(0.25 * angle)
    scale = 1 + 0.1 * zoom
    rows = [scale * cos, -scale * sin, 0.2 * right, scale * sin, scale * cos, 0.2 * down]
    grid = F.affine_grid(torch.stack(rows, dim=1).view(-1, 2, 3), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, align_corners=False)
    return moved + 0.05 * torch.randn_like(moved)


class DigitReader(pl.LightningModule):
    """Three convolutions, the mean over what is left of the image, and a linear layer."""

    def __init__(self, channels: int = 32, dropout: float = 0.1, learning_rate: float = 0.01):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            *self.block(1, channels),
            *self.block(channels, 2 * channels),
            nn.MaxPool2d(2),
            *self.block(2 * channels, 4 * channels),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(4 * channels, 10),
        )

    @staticmethod
    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def score(self, batch: list[Tensor], stage: str) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        self.log_dict({f"{stage}_loss": loss, f"{stage}_accuracy": accuracy}, prog_bar=True)
        return loss

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.score(batch, "train")

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.score(batch, "val")

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.score(batch, "test")

    def predict_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        images, _ = batch
        return self(images).softmax(dim=1)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.hparams.learning_rate, total_steps=int(self.trainer.estimated_stepping_batches)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main(options: argparse.Namespace) -> None:
    pl.seed_everything(options.seed)
    torch.set_num_threads(1)  # as fast for so small a network, whatever the number of cores
    data = Digits(options.batch_size, options.num_workers)
    model = DigitReader(learning_rate=options.learning_rate)

    tensorboard = TensorBoardLogger(options.output, name="digits", version=options.version)
    csv = CSVLogger(options.output, name="digits", version=tensorboard.version)
    best = ModelCheckpoint(
        monitor="val_accuracy", mode="max", filename="{epoch}-{val_accuracy:.4f}", save_last=True
    )
    trainer = pl.Trainer(
        max_epochs=options.max_epochs,
        accelerator=options.accelerator,
        precision=options.precision,
        callbacks=[best, EarlyStopping("val_loss", patience=15), LearningRateMonitor("step")],
        logger=[tensorboard, csv],
        log_every_n_steps=5,
        fast_dev_run=options.fast_dev_run,
    )
    trainer.fit(model, data, ckpt_path=options.ckpt_path)
    if options.fast_dev_run:
        return

    (result,) = trainer.test(model, data, ckpt_path="best")
    probabilities = torch.cat(trainer.predict(model, data, ckpt_path="best"))
    show_hardest(data.test, probabilities)
    print(f"Test accuracy: {result['test_accuracy']:.4f} on {len(data.test)} digits that training never saw")
    print(f"Best checkpoint: {best.best_model_path}")
    print(f"Logs: {tensorboard.log_dir} (to look at them: tensorboard --logdir {options.output})")


def show_hardest(data: TensorDataset, probabilities: Tensor, count: int = 5) -> None:
    """Draw the digits that the network is least sure of, side by side."""
    images, labels = data.tensors
    confidence, reading = probabilities.max(dim=1)
    hardest = confidence.argsort()[:count]
    print(f"\nThe {count} hardest:")
    print("  ".join(f"{labels[i]} read as {reading[i]}".ljust(16) for i in hardest))
    draw(images[hardest].flatten(1))
    print()


def draw(images: Tensor) -> None:
    """Print images of 64 pixels side by side."""
    drawn = [[2 * " .:+#@"[round(5 * pixel)] for pixel in image] for image in images.tolist()]
    for row in range(0, 64, 8):
        print("  ".join("".join(image[row : row + 8]) for image in drawn))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--max-epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-workers", type=int, default=0, help="processes that load the data")
    parser.add_argument("--accelerator", default="auto", help="cpu, gpu, mps, ...")
    parser.add_argument("--precision", default="32-true", help="32-true, bf16-mixed, 16-mixed, 64-true, ...")
    parser.add_argument("--output", default="logs", help="folder for logs and checkpoints")
    parser.add_argument("--version", type=int, help="number of the run's folder in there; new by default")
    parser.add_argument("--ckpt-path", help="a checkpoint to go on from; 'last' finds that of the version")
    parser.add_argument("--fast-dev-run", action="store_true", help="one batch of everything")
    main(parser.parse_args())
