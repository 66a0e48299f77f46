"""A character model as of 1.3: truncated backpropagation, `validate`, metrics, a datamodule."""

import json
import this
from argparse import ArgumentParser

import pytorch_lightning as pl
import torch
from pytorch_lightning.metrics.functional import accuracy
from pytorch_lightning.utilities.seed import seed_everything
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

TEXT = "".join(this.d.get(letter, letter) for letter in this.s) * 4
LETTERS = sorted(set(TEXT))


class Text(pl.LightningDataModule):
    def __init__(self, length=24, batch_size=8):
        super().__init__()
        self.length, self.batch_size = length, batch_size

    def setup(self, stage=None):
        codes = torch.tensor([LETTERS.index(letter) for letter in TEXT])
        rows = codes[: (len(codes) - 1) // self.length * self.length].view(-1, self.length)
        after = codes[1 : rows.numel() + 1].view(-1, self.length)
        self.train, self.val = (
            TensorDataset(rows[:96], after[:96]),
            TensorDataset(rows[96:128], after[96:128]),
        )

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=self.batch_size)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=self.batch_size)


class CharModel(pl.LightningModule):
    def __init__(self, size=16, lr=0.5, unused=None):
        super().__init__()
        self.save_hyperparameters(ignore=["unused"])
        self.truncated_bptt_steps = 8
        self.embedding = nn.Embedding(len(LETTERS), size)
        self.rnn = nn.GRU(size, size, batch_first=True)
        self.out = nn.Linear(size, len(LETTERS))

    def forward(self, x, hiddens=None):
        states, hiddens = self.rnn(self.embedding(x), hiddens)
        return self.out(states), hiddens

    def training_step(self, batch, batch_idx, hiddens):
        x, y = batch
        logits, hiddens = self(x, hiddens)
        loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return {"loss": loss, "hiddens": hiddens}

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits, _ = self(x)
        return {"logits": logits.flatten(0, 1), "y": y.flatten()}

    def validation_epoch_end(self, outputs):
        logits = torch.cat([output["logits"] for output in outputs])
        y = torch.cat([output["y"] for output in outputs])
        self.log("val_loss", F.cross_entropy(logits, y))
        self.log("val_acc", accuracy(logits.softmax(1), y))

    def on_epoch_end(self):
        self.ended = getattr(self, "ended", 0) + 1

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("--folder")
    args = parser.parse_args()
    seed_everything(5, workers=True)
    data, model = Text(), CharModel(unused=3)
    trainer = pl.Trainer(
        max_epochs=2, default_root_dir=args.folder, logger=False, checkpoint_callback=False,
        progress_bar_refresh_rate=0, weights_summary=None, num_sanity_val_steps=0, terminate_on_nan=True,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    (validated,) = trainer.validate(model, datamodule=data, verbose=False)
    result = {
        "weights": [float(p.detach().double().sum()) for p in model.parameters()],
        "validated": validated,
        "ended": model.ended,
        "hparams": dict(model.hparams),
    }
    with open(args.folder + "/result.json", "w") as file:
        json.dump(result, file)
