"""A small GPT that learns to write Python from Python's own standard library, character by character.

    ./run char_gpt
    ./run char_gpt --max-steps 5000 --layers 6 --width 384 --heads 6 --context 256 --learning-rate 0.001

The text comes with Python, so there is nothing to download.
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import fulmen as pl

CHARACTERS = 128  # ASCII


class Windows(Dataset):
    """The text cut into windows of `context` characters, each with the character after every one of them."""

    def __init__(self, text: Tensor, context: int):
        self.text, self.context = text, context

    def __len__(self) -> int:
        return (len(self.text) - 1) // self.context

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        window = self.text[index * self.context :][: self.context + 1]
        return window[:-1], window[1:]


class Block(nn.Module):
    """Attention to what came before, then a thought about it; each added to what was there."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.mlp(self.mlp_norm(x))


class CharGPT(pl.LightningModule):
    def __init__(self, context: int, width: int, heads: int, layers: int, learning_rate: float):
        super().__init__()
        self.save_hyperparameters()
        self.what, self.where = nn.Embedding(CHARACTERS, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CHARACTERS, bias=False)
        self.head.weight = self.what.weight
        for embedding in (self.what, self.where):
            nn.init.normal_(embedding.weight, std=0.02)  # so that all characters begin about equally likely

    def forward(self, text: Tensor) -> Tensor:
        """The logits of what follows each character of `text` (batch, length)."""
        x = self.what(text) + self.where(torch.arange(text.shape[1], device=text.device))
        return self.head(self.norm(self.blocks(x)))

    def loss(self, batch: list[Tensor]) -> Tensor:
        text, following = batch
        return F.cross_entropy(self(text).flatten(0, 1), following.flatten())

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch), prog_bar=True)

    def configure_optimizers(self):
        rate, steps = self.hparams.learning_rate, self.trainer.estimated_stepping_batches
        optimizer = torch.optim.AdamW(self.parameters(), rate, betas=(0.9, 0.95), weight_decay=0.1)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, int(steps), pct_start=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @torch.no_grad()
    def write(self, start: str, length: int, temperature: float = 0.7) -> str:
        """Go on with a text, one character after the other."""
        text = torch.tensor([list(start.encode())], device=self.device)
        for _ in range(length):
            logits = self(text[:, -self.hparams.context :])[:, -1]
            following = torch.multinomial(F.softmax(logits / temperature, dim=-1), num_samples=1)
            text = torch.cat([text, following], dim=1)
        return bytes(text[0].tolist()).decode()


def main(options: argparse.Namespace) -> None:
    pl.seed_everything(options.seed)
    sources = sorted(Path(os.__file__).parent.glob("*.py"))
    text = "\n".join(path.read_text(encoding="ascii", errors="ignore") for path in sources)
    encoded = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).long()
    train, val = (Windows(part, options.context) for part in encoded.tensor_split([len(encoded) * 9 // 10]))

    model = CharGPT(options.context, options.width, options.heads, options.layers, options.learning_rate)
    trainer = pl.Trainer(
        max_steps=options.max_steps,
        val_check_interval=max(1, options.max_steps // 4),
        check_val_every_n_epoch=None,
        limit_val_batches=20,
        gradient_clip_val=1.0,
        accelerator=options.accelerator,
        precision=options.precision,
        logger=False,
        enable_checkpointing=False,
    )
    train_loader = DataLoader(train, batch_size=options.batch_size, shuffle=True)
    trainer.fit(model, train_loader, DataLoader(val, batch_size=options.batch_size))

    print(model.eval().write("def ", length=400))
    loss = trainer.callback_metrics["val_loss"].item()
    print(f"\nValidation loss: {loss:.3f}, which is {loss / math.log(2):.2f} bits a character")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--max-steps", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--context", type=int, default=64, help="characters that the network sees at once")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
