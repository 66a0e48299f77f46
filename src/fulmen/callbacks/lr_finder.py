"""Finds a learning rate when training begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.base.report import info
from fulmen.core.callback import Callback
from fulmen.tuner.attributes import set_attribute
from fulmen.tuner.lr_finder import LRFinder, find_lr, name_of_lr, use_suggestion

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer


class LearningRateFinder(Callback):
    """Sets the learning rate to what a range test suggests, before the first epoch.

    The arguments are those of `Tuner.lr_find`. A run that is taken up goes on with what was found. For a
    search at another moment, call `lr_find` in a hook of a subclass: later in training, the learning rate of
    the optimizer is replaced and nothing else.
    """

    def __init__(
        self,
        min_lr: float = 1e-8,
        max_lr: float = 1,
        num_training_steps: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> None:
        LRFinder(mode, min_lr, max_lr, num_training_steps)  # which checks them
        self._search: dict[str, Any] = {
            "min_lr": min_lr,
            "max_lr": max_lr,
            "num_training": num_training_steps,
            "mode": mode,
            "early_stop_threshold": early_stop_threshold,
        }
        self._update_attr = update_attr
        self._attr_name = attr_name
        self.optimal_lr: LRFinder | None = None
        """What the last search came to."""
        self._found: float | None = None
        self._resumes = False

    def lr_find(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Search, and set what was found."""
        rehearsal = trainer.rehearsal
        name = name_of_lr(rehearsal, self._attr_name) if self._update_attr else ""
        self.optimal_lr = find_lr(rehearsal, **self._search)
        if not self._update_attr:
            return
        self._found = use_suggestion(rehearsal, name, self.optimal_lr)
        if self._found is None:
            return
        if rehearsal.has_begun:
            for group in rehearsal.optimizers[0].param_groups:
                group["lr"] = self._found
        else:
            rehearsal.renew_optimizers()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._resumes = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fast_dev_run:
            info("No learning rate is searched for under `fast_dev_run`.")
        elif not self._resumes:
            self.lr_find(trainer, pl_module)
        elif self._found is not None:
            rehearsal = trainer.rehearsal
            set_attribute(rehearsal, name_of_lr(rehearsal, self._attr_name), self._found)

    def state_dict(self) -> dict[str, Any]:
        return {"found": self._found}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._found, self._resumes = state_dict["found"], True
