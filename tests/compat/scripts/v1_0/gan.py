"""A GAN with two optimizers in automatic optimization, one of them stepping every other batch."""

import json
from argparse import ArgumentParser
from collections import OrderedDict

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.lightning import LightningModule
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class GAN(LightningModule):
    def __init__(self, latent_dim=8, every=1):
        super().__init__()
        self.save_hyperparameters()
        self.generator = nn.Sequential(nn.Linear(latent_dim, 32), nn.ReLU(), nn.Linear(32, 64))
        self.discriminator = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
        self.order = []

    def noise(self, batch_idx, count):
        return torch.randn(count, self.hparams.latent_dim, generator=torch.Generator().manual_seed(batch_idx))

    def training_step(self, batch, batch_idx, optimizer_idx):
        (real,) = batch
        fake = self.generator(self.noise(batch_idx, len(real)))
        self.order.append(optimizer_idx)
        if optimizer_idx == 0:
            assert not any(p.requires_grad for p in self.discriminator.parameters())
            loss = F.softplus(-self.discriminator(fake)).mean()
        if optimizer_idx == 1:
            assert not any(p.requires_grad for p in self.generator.parameters())
            loss = F.softplus(self.discriminator(fake.detach())).mean()
            loss = loss + F.softplus(-self.discriminator(real)).mean()
        self.log(f"loss_{optimizer_idx}", loss, prog_bar=True)
        return OrderedDict({"loss": loss})

    def configure_optimizers(self):
        g = torch.optim.Adam(self.generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
        d = torch.optim.Adam(self.discriminator.parameters(), lr=1e-3, betas=(0.5, 0.999))
        if self.hparams.every > 1:
            return {"optimizer": g, "frequency": 1}, {"optimizer": d, "frequency": self.hparams.every}
        return [g, d], []

    def train_dataloader(self):
        data = torch.tensor(load_digits().data, dtype=torch.float32) / 16
        return DataLoader(TensorDataset(data[:640]), batch_size=64)


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("--folder")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--accumulate", type=int, default=1)
    args = parser.parse_args()
    pl.seed_everything(3)
    model = GAN(every=args.every)
    trainer = pl.Trainer(
        max_epochs=2, gpus=0, logger=False, checkpoint_callback=False, progress_bar_refresh_rate=0,
        weights_summary=None, accumulate_grad_batches=args.accumulate,
    )  # fmt: skip
    trainer.fit(model)
    result = {
        "weights": [float(p.detach().double().sum()) for p in model.parameters()],
        "order": model.order,
        "steps": trainer.global_step,
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
    }
    with open(args.folder + "/result.json", "w") as file:
        json.dump(result, file)
