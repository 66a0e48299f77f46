"""Squeeze handwritten digits into a few numbers and draw them again from those.

    ./run autoencoder
    ./run autoencoder --latent-size 2

A LightningModule is more than one network: here an encoder and a decoder are trained as one, and used apart.
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

import fulmen as pl


class AutoEncoder(pl.LightningModule):
    def __init__(self, latent_size: int = 8, hidden_size: int = 128, learning_rate: float = 3e-3):
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(
            nn.Linear(64, hidden_size), nn.GELU(), nn.Linear(hidden_size, latent_size), nn.Tanh()
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_size, hidden_size), nn.GELU(), nn.Linear(hidden_size, 64), nn.Sigmoid()
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder(images)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        (images,) = batch
        code = self.encoder(images)
        code = code + 0.05 * torch.randn_like(code)  # so that near codes have to mean like images
        loss = F.mse_loss(self.decoder(code), images)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        (images,) = batch
        self.log("val_loss", F.mse_loss(self.decoder(self.encoder(images)), images), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams.learning_rate)


def main(options: argparse.Namespace) -> None:
    pl.seed_everything(options.seed)
    torch.set_num_threads(1)  # as fast for so small a network, whatever the number of cores
    pixels, _ = load_digits(return_X_y=True)
    images = torch.tensor(pixels).float() / 16
    train, val = random_split(TensorDataset(images), [0.8, 0.2])

    model = AutoEncoder(options.latent_size)
    trainer = pl.Trainer(max_epochs=options.max_epochs, logger=False, enable_checkpointing=False)
    trainer.fit(model, DataLoader(train, batch_size=64, shuffle=True), DataLoader(val, batch_size=360))

    with torch.no_grad():
        zero, one = model(images[:2])
        print("\nFrom a 0 to a 1 in equal steps of the code:")
        draw(model.decoder(torch.stack([zero.lerp(one, step / 6) for step in range(7)])))
    error, baseline = trainer.callback_metrics["val_loss"], images.var(dim=0).mean()
    print(f"Squared error of a pixel: {error:.4f} ({baseline:.4f} for the mean of all images)")


def draw(images: Tensor) -> None:
    """Print images of 64 pixels side by side."""
    drawn = [[2 * " .:+#@"[round(5 * pixel)] for pixel in image] for image in images.tolist()]
    for row in range(0, 64, 8):
        print("  ".join("".join(image[row : row + 8]) for image in drawn))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--latent-size", type=int, default=8, help="numbers that an image is squeezed into")
    parser.add_argument("--max-epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
