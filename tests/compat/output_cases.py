"""Small trainings whose hooks write down what they are given of what `training_step` returned.

They run in old versions too, and so in the Python that those need.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

CASES: dict[str, dict[str, Any]] = {
    "one": {},
    "a bare loss": {"bare": True},
    "skipped": {"skipped": (0,)},
    "manual": {"manual": True},
    "manual, skipped": {"manual": True, "skipped": (0,), "bare": True},
    "two": {"optimizers": 2},
    "two, skipped": {"optimizers": 2, "skipped": (0, 1)},
    "two, the second skipped": {"optimizers": 2, "skipped": (1,)},
    "by frequency": {"optimizers": 2, "by_frequency": True},
    "truncated": {"truncated": True},
    "truncated two": {"optimizers": 2, "truncated": True},
}
"""By what is trained: arguments of `observe`."""

HOOKS = ("on_train_batch_end", "on_train_epoch_end", "training_epoch_end")


def observe(
    pl: Any, version: str, *, optimizers: int = 1, bare: bool = False, skipped: Any = (),
    manual: bool = False, by_frequency: bool = False, truncated: bool = False, **trainer: Any,
) -> dict[str, list[str]]:  # fmt: skip
    """What the hooks of `HOOKS` are given in an epoch, by hook; `version` says how they are written.

    In the second batch, the optimizers whose indices are in `skipped` have no loss.
    """
    seen: dict[str, list[str]] = {hook: [] for hook in HOOKS}
    number = tuple(int(part) for part in version.split("."))

    class Model(pl.LightningModule):
        automatic_optimization = not manual

        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList([nn.Linear(3, 1) for _ in range(optimizers)])
            if truncated and number >= (1, 3):
                self.truncated_bptt_steps = 2
            if manual and number >= (1, 2):
                self.automatic_optimization = False

        def step(self, batch: Any, batch_idx: int, index: int = 0) -> Any:
            loss = self.parts[index](batch[0]).sum()
            if manual:
                optimizer = self.optimizers()
                optimizer.zero_grad()
                self.manual_backward(loss, *([optimizer] if number < (1, 2) else []))
                optimizer.step()
            if batch_idx == 1 and index in skipped:
                return None
            if bare:
                return loss
            return {"loss": loss, "x": (index, batch_idx), **({"hiddens": loss[None]} if truncated else {})}

        def training_epoch_end(self, outputs: Any) -> None:
            seen["training_epoch_end"].append(shown(outputs))

        def configure_optimizers(self) -> Any:
            made = [torch.optim.SGD(part.parameters(), lr=0.01) for part in self.parts]
            if by_frequency:
                return [{"optimizer": own, "frequency": n} for n, own in enumerate(made, start=1)]
            return made

    if truncated and optimizers > 1:
        Model.training_step = lambda self, batch, batch_idx, optimizer_idx, hiddens: self.step(
            batch, batch_idx, optimizer_idx
        )
    elif truncated:
        Model.training_step = lambda self, batch, batch_idx, hiddens: self.step(batch, batch_idx)
    elif optimizers > 1:
        Model.training_step = lambda self, batch, batch_idx, optimizer_idx: self.step(
            batch, batch_idx, optimizer_idx
        )
    else:
        Model.training_step = lambda self, batch, batch_idx: self.step(batch, batch_idx)

    class Batches(pl.Callback):
        def on_train_batch_end(
            self,
            trainer: Any,
            pl_module: Any,
            outputs: Any,
            batch: Any,
            batch_idx: int,
            dataloader_idx: int = 0,
        ) -> None:
            seen["on_train_batch_end"].append(shown(outputs))

    if number < (1, 5):  # the module's own comes after that of callbacks, and makes that be given anything
        Batches.on_train_epoch_end = lambda self, trainer, pl_module, outputs: seen[
            "on_train_epoch_end"
        ].append(shown(outputs))
        Model.on_train_epoch_end = lambda self, outputs: seen["on_train_epoch_end"].append(shown(outputs))

    quiet: dict[str, Any] = {"checkpoint_callback": False, "progress_bar_refresh_rate": 0,
                             "weights_summary": None}  # fmt: skip
    if number >= (1, 5):
        quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    if truncated and number < (1, 3):
        quiet["truncated_bptt_steps"] = 2
    if manual and number < (1, 1):
        quiet["automatic_optimization"] = False
    data = torch.ones(4 if truncated else 10 if by_frequency else 4, *([4, 3] if truncated else [3]))
    loader = DataLoader(TensorDataset(data), 2)
    pl.Trainer(max_epochs=1, logger=False, callbacks=[Batches()], **quiet, **trainer).fit(Model(), loader)
    return seen


def shown(value: Any) -> str:
    """Nested lists and dicts, with a T for each tensor; an object that holds results is an R."""
    if isinstance(value, dict):
        kind = "" if type(value) is dict else "R"
        names = sorted(name for name in value if name != "meta")
        return kind + "{" + ", ".join(name + ": " + shown(value[name]) for name in names) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    return "T" if isinstance(value, Tensor) else repr(value)
