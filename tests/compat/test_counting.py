"""Numbers that were others in some hooks of old versions are named in a warning, there and only there.

Which those are was observed in 1.0.8, 1.2.10, 1.3.8, 1.4.9, 1.5.10 and 1.6.5.
"""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.compat import OldSpelling
from fulmen.compat.lightning import habits

from .small import Small

BATCH_ENDS = ("on_train_batch_end", "on_batch_end")
VALIDATION = (
    "on_validation_start", "on_validation_end", "on_validation_epoch_start", "on_validation_epoch_end",
    "on_validation_batch_start", "on_validation_batch_end",
)  # fmt: skip
OF_MODULES = (
    "validation_step", "validation_step_end", "validation_epoch_end", "on_validation_model_eval",
    "on_validation_model_train",
)  # fmt: skip
EPOCH_ENDS = ("on_train_epoch_end", "on_epoch_end", "training_epoch_end")
COUNTED_OTHERWISE: list[tuple[str, str, str]] = [
    *(("global_step", hook, "1.5") for hook in (*BATCH_ENDS, *VALIDATION, *OF_MODULES)),
    ("global_step", "on_save_checkpoint", "1.5"),
    ("global_step", "on_train_epoch_end", "1.3"),
    ("global_step", "training_epoch_end", "1.3"),
    ("global_step", "on_epoch_end", "1.5"),  # of a validation; of a training epoch up to 1.3
    *(("current_epoch", hook, "1.5") for hook in ("on_train_end", "on_fit_end", "teardown")),
    *(("optimizers().param_groups", hook, "1.3") for hook in EPOCH_ENDS),
    *(("lr_schedulers().get_last_lr", hook, "1.3") for hook in EPOCH_ENDS),
]
COUNTED_THE_SAME: list[tuple[str, str]] = [
    ("global_step", "on_train_batch_start"),
    ("global_step", "training_step"),
    ("global_step", "on_train_epoch_start"),
    ("global_step", "on_train_end"),
    ("global_step", "on_fit_end"),
    ("current_epoch", "on_train_epoch_end"),
    ("current_epoch", "validation_epoch_end"),
    ("current_epoch", "on_train_batch_end"),
    ("optimizers().param_groups", "on_train_epoch_start"),
    ("optimizers().param_groups", "on_train_batch_end"),
]
ONLY_OF_CALLBACKS = ("on_batch_end",)
ONLY_OF_MODULES = (*OF_MODULES, "training_epoch_end", "training_step")
VERSIONS = ("1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7")


class Model(Small):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


def reader(hook: str, number: str, owner: str) -> Any:
    """A hook that reads a number off its owner's trainer, or off the module itself."""
    namespace: dict[str, Any] = {}
    exec(f"def {hook}(self, {'' if owner == 'self' else 'trainer, '}*args): {owner}.{number}", namespace)
    return namespace[hook]


def said(version: str, module: pl.LightningModule, *callbacks: pl.Callback) -> list[str]:
    loader = DataLoader(TensorDataset(torch.ones(2, 3)), 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pl.Trainer(
            compat=version, max_epochs=1, callbacks=list(callbacks), logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        ).fit(module, loader, loader)  # fmt: skip
    return [
        str(w.message)
        for w in caught
        if w.category is OldSpelling and "old spelling. Now: " in str(w.message)
    ]


def named(texts: list[str], number: str, place: str) -> bool:
    return any(text.startswith(f"{number.rpartition('.')[2]} in `{place}`") for text in texts)


@pytest.mark.parametrize(("number", "hook", "last"), COUNTED_OTHERWISE)
def test_what_was_counted_otherwise_is_named(number: str, hook: str, last: str) -> None:
    of_module = type(
        "Module", (Model,), {} if hook in ONLY_OF_CALLBACKS else {hook: reader(hook, number, "self")}
    )
    by_callback = hook not in ONLY_OF_MODULES and "()" not in number
    own = {hook: reader(hook, number, "trainer")} if by_callback else {}
    of_callback = type("Callback", (pl.Callback,), own)
    for version in (last, VERSIONS[VERSIONS.index(last) + 1]):
        texts, is_last = said(version, of_module(), of_callback()), version == last
        assert named(texts, number, f"Module.{hook}") == (is_last and hook not in ONLY_OF_CALLBACKS)
        assert named(texts, number, f"Callback.{hook}") == (is_last and by_callback)


@pytest.mark.parametrize(("number", "hook"), COUNTED_THE_SAME)
def test_what_was_counted_as_today_is_not_named(number: str, hook: str) -> None:
    def training_step(self: Model, batch: Any, batch_idx: int) -> Any:
        return self.line(batch[0]).sum() * self.global_step

    own = training_step if hook == "training_step" else reader(hook, number, "self")
    for version in VERSIONS:
        assert not named(said(version, type("Module", (Model,), {hook: own})()), number, f"Module.{hook}")


@pytest.mark.parametrize("kind", ["ModelCheckpoint", "EarlyStopping", "StochasticWeightAveraging", "Timer"])
def test_what_callbacks_of_ours_read_is_not_named(kind: str) -> None:
    """Also where a user's class is derived from them."""
    arguments = {"EarlyStopping": {"monitor": "x"}, "StochasticWeightAveraging": {"swa_lrs": 0.1}}
    own = type("Own", (getattr(pl.callbacks, kind),), {})(**arguments.get(kind, {}))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for count in habits.COUNTS:
            habits.say_what_counts_otherwise(own, count.last)
    assert not [str(w.message) for w in caught]
