"""Searches before a run: what is found is set, and nothing else is left of them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from fulmen.base.report import info
from fulmen.engine.rehearsal import Rehearsal
from fulmen.engine.states import TrainerFn
from fulmen.errors import ConfigError, UsageError
from fulmen.runtime.launch import Spawned
from fulmen.tuner.batch_size import BatchSizeSearch
from fulmen.tuner.lr_finder import LRFinder, find_lr, name_of_lr, use_suggestion

if TYPE_CHECKING:
    from fulmen.core.datamodule import LightningDataModule
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer


class Tuner:
    """Finds a learning rate or a batch size for a model, before `trainer` trains it."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def lr_find(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        method: str = "fit",
        min_lr: float = 1e-8,
        max_lr: float = 1,
        num_training: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> LRFinder | None:
        """Train for `num_training` steps while the learning rate rises from `min_lr` to `max_lr`.

        It ends where the loss is `early_stop_threshold` times the least one. With `update_attr`, the model's
        `lr` or `learning_rate`, or what `attr_name` names, is set to what the result suggests. None under
        `fast_dev_run`.
        """
        if method != "fit":
            raise ConfigError("A learning rate is found for `fit`.", received=f"method={method!r}")
        search = partial(
            find_lr, min_lr=min_lr, max_lr=max_lr, num_training=num_training, mode=mode,
            early_stop_threshold=early_stop_threshold,
        )  # fmt: skip
        act = partial(_find_lr, search=search, update_attr=update_attr, attr_name=attr_name)
        loaders = _loaders(method, train_dataloaders, val_dataloaders, dataloaders)
        return self._rehearse(act, method, model, datamodule, loaders)

    def scale_batch_size(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        method: str = "fit",
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int = 8192,
    ) -> int | None:
        """Find the largest batch with which `method` fits into memory, and set `batch_arg_name` to its size.

        "power" doubles the size until it fails; "binsearch" then looks for the last one that does not, and
        takes off a share of `margin`. None under `fast_dev_run`.
        """
        search = BatchSizeSearch(mode, steps_per_trial, init_val, max_trials, batch_arg_name, margin, max_val)
        loaders = _loaders(method, train_dataloaders, val_dataloaders, dataloaders)
        return self._rehearse(search.run, method, model, datamodule, loaders)

    def _rehearse(
        self, act: Any, method: str, model: LightningModule, datamodule: Any, loaders: dict[str, Any]
    ) -> Any:
        if self._trainer.fast_dev_run:
            info("Nothing is tuned under `fast_dev_run`.")
            return None
        if isinstance(self._trainer.strategy.launcher, Spawned):
            raise UsageError(
                "What new processes find out does not come back to this one.",
                received=f"strategy={self._trainer.strategy.name!r}",
                fix="strategy='ddp', or the callback LearningRateFinder",
            )
        return self._trainer.rehearse(act, TrainerFn(method), model, datamodule, **loaders)


def _find_lr(rehearsal: Rehearsal, *, search: Any, update_attr: bool, attr_name: str) -> LRFinder:
    name = name_of_lr(rehearsal, attr_name) if update_attr else ""
    finder = search(rehearsal)
    if update_attr:
        use_suggestion(rehearsal, name, finder)
    return finder


_KINDS = {"fit": "train", "validate": "val", "test": "test", "predict": "predict"}


def _loaders(method: str, train: Any, val: Any, others: Any) -> dict[str, Any]:
    """The loaders by kind, for the Trainer's method of that name."""
    if method not in _KINDS:
        raise ConfigError(
            "The Trainer has no such method.", received=repr(method), expected=", ".join(_KINDS)
        )
    unused = (
        {"dataloaders": others} if method == "fit" else {"train_dataloaders": train, "val_dataloaders": val}
    )
    for name, given in unused.items():
        if given is not None:
            raise ConfigError(f"`{name}` has no meaning here.", received=f"method={method!r}")
    return {"train": train, "val": val} if method == "fit" else {_KINDS[method]: others}
