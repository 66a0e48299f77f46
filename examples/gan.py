"""Two networks against each other: one draws digits, the other tells them from real ones.

    ./run gan

Manual optimization: `training_step` decides when which optimizer steps.
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl


class GAN(pl.LightningModule):
    def __init__(self, noise_size: int = 16, hidden_size: int = 256, learning_rate: float = 1e-3):
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.generator = nn.Sequential(
            nn.Linear(noise_size, hidden_size),
            nn.BatchNorm1d(hidden_size),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden_size, hidden_size),
            nn.BatchNorm1d(hidden_size),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden_size, 64),
            nn.Sigmoid(),
        )
        self.critic = nn.Sequential(
            nn.Linear(64, hidden_size),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.3),
            nn.Linear(hidden_size, hidden_size),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.3),
            nn.Linear(hidden_size, 1),
        )

    def forward(self, count: int) -> Tensor:
        return self.generator(torch.randn(count, self.hparams.noise_size, device=self.device))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        (real,) = batch
        optimize_generator, optimize_critic = self.optimizers()

        self.toggle_optimizer(optimize_generator)
        drawn = self(len(real))
        generator_loss = F.softplus(-self.critic(drawn)).mean()
        optimize_generator.zero_grad()
        self.manual_backward(generator_loss)
        optimize_generator.step()
        self.untoggle_optimizer(optimize_generator)

        self.toggle_optimizer(optimize_critic)
        critic_loss = F.softplus(self.critic(drawn.detach())).mean() + F.softplus(-self.critic(real)).mean()
        optimize_critic.zero_grad()
        self.manual_backward(critic_loss)
        optimize_critic.step()
        self.untoggle_optimizer(optimize_critic)

        self.log_dict({"generator_loss": generator_loss, "critic_loss": critic_loss}, prog_bar=True)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        rate, betas = self.hparams.learning_rate, (0.5, 0.99)
        return [
            torch.optim.Adam(self.generator.parameters(), rate, betas),
            torch.optim.Adam(self.critic.parameters(), rate, betas),
        ]


def main(options: argparse.Namespace) -> None:
    pl.seed_everything(options.seed)
    torch.set_num_threads(1)  # as fast for so small a network, whatever the number of cores
    pixels, _ = load_digits(return_X_y=True)
    real = torch.tensor(pixels).float() / 16
    model = GAN()
    trainer = pl.Trainer(max_epochs=options.max_epochs, logger=False, enable_checkpointing=False)
    trainer.fit(model, DataLoader(TensorDataset(real), batch_size=64, shuffle=True, drop_last=True))

    model.eval()
    with torch.no_grad():
        drawn = model(500)
    print("\nDrawn:")
    draw(drawn[:7])
    distance, of_noise = (torch.cdist(x, real).amin(dim=1).mean() for x in (drawn, torch.rand_like(drawn)))
    print(f"Distance to the nearest real digit: {distance:.2f} ({of_noise:.2f} for noise)")


def draw(images: Tensor) -> None:
    """Print images of 64 pixels side by side."""
    drawn = [[2 * " .:+#@"[round(5 * pixel)] for pixel in image] for image in images.tolist()]
    for row in range(0, 64, 8):
        print("  ".join("".join(image[row : row + 8]) for image in drawn))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--max-epochs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
