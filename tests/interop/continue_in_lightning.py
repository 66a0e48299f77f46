"""Go on from checkpoints in Lightning: `python continue_in_lightning.py FOLDER`; each one is a NAME.ckpt.

Writes NAME.json for each: where the run began, and what it came to.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import lightning.pytorch as pl  # pyright: ignore[reportMissingImports]
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from make_lightning_checkpoints import scaling  # pyright: ignore[reportMissingImports]
from models import QUIET, SETTINGS, define, make, outcome  # pyright: ignore[reportMissingImports]


class Looks(pl.Callback):
    """Notes where the run begins."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.begun = (trainer.current_epoch, trainer.global_step)


def main(folder: Path) -> None:
    for path in folder.glob("*.ckpt"):
        name = path.stem
        kind, callbacks = make(name, pl)
        model, data, looks = kind(), define(pl).Data(same=True), Looks()
        plugins = [scaling()] if name == "scaled" else None
        trainer = pl.Trainer(
            default_root_dir=folder, callbacks=[*callbacks, looks], plugins=plugins, **QUIET, **SETTINGS[name]
        )
        trainer.fit(model, datamodule=data, ckpt_path=path)
        made_again = kind.load_from_checkpoint(path)
        found = outcome(trainer, model, data) | {
            "begun": looks.begun,
            "waits": getattr(trainer.early_stopping_callback, "wait_count", None),
            "made_again": {key: value.tolist() for key, value in made_again.state_dict().items()},
            "hparams": dict(made_again.hparams),
        }
        path.with_suffix(".json").write_text(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
