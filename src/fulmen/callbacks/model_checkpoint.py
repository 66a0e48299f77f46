"""When checkpoints are written while training, what they are called, and which of them stay."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from fulmen.base import files
from fulmen.base.report import info, warn, warn_once
from fulmen.callbacks.checkpoint import Checkpoint, try_to_save
from fulmen.callbacks.checkpoint_arguments import check_cadence, check_retention
from fulmen.callbacks.checkpoint_files import default_folder, make_link, same_folder, yaml_number
from fulmen.callbacks.checkpoint_name import check_template, fill_template
from fulmen.callbacks.clock import has_passed
from fulmen.callbacks.monitoring import (
    check_mode,
    decides_at_epoch_end,
    is_better,
    metric_not_found,
    read_score,
    worst_score,
)

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer


class ModelCheckpoint(Checkpoint):
    """Writes checkpoints while training and keeps the newest one or, with `monitor`, the best ones.

    One is due every `every_n_train_steps` updates, every `train_time_interval`, or every `every_n_epochs`
    epochs (the default, with 1). Epochs count at their end where validation runs once per epoch or never,
    else at each validation; `save_on_train_epoch_end` says so explicitly. A validation due at the same step
    comes first.

    Of those that were due, the `save_top_k` best by `mode` stay; -1 keeps all, 0 none. Without `monitor`, 1
    keeps the newest. `save_last` adds `last.ckpt`, the newest one written: True saves it anew, "link" makes
    a link.

    `filename` may hold `{epoch}`, `{step}` and logged names, with formats: `{epoch}-{val_loss:.2f}` gives
    `epoch=3-val_loss=0.25.ckpt`, or `3-0.25.ckpt` without `auto_insert_metric_name`. A name that another
    run took is not overwritten but gets a version, unless `enable_version_counter` is off.
    """

    CHECKPOINT_JOIN_CHAR: str = "-"
    CHECKPOINT_EQUALS_CHAR: str = "="
    CHECKPOINT_NAME_LAST: str = "last"
    FILE_EXTENSION: str = ".ckpt"
    STARTING_VERSION: int = 1

    def __init__(
        self,
        dirpath: files.AnyPath | None = None,
        filename: str | None = None,
        monitor: str | None = None,
        verbose: bool = False,
        save_last: bool | Literal["link"] | None = None,
        save_top_k: int = 1,
        save_on_exception: bool = False,
        save_weights_only: bool = False,
        mode: str = "min",
        auto_insert_metric_name: bool = True,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
        every_n_epochs: int | None = None,
        save_on_train_epoch_end: bool | None = None,
        enable_version_counter: bool = True,
    ) -> None:
        check_mode(mode, "ModelCheckpoint")
        check_retention(save_top_k, monitor, save_last)
        check_cadence(every_n_train_steps, train_time_interval, every_n_epochs)
        if filename is not None:
            check_template(filename)
        if every_n_epochs is None:
            every_n_epochs = 1 if every_n_train_steps is None and train_time_interval is None else 0

        self.dirpath = None if dirpath is None else files.absolute(dirpath)
        self.filename = filename
        self.monitor = monitor
        self.verbose = verbose
        self.save_last = save_last
        self.save_top_k = save_top_k
        self.save_on_exception = save_on_exception
        self.save_weights_only = save_weights_only
        self.mode = mode
        self.auto_insert_metric_name = auto_insert_metric_name
        self._every_n_train_steps = every_n_train_steps or 0
        self._train_time_interval = train_time_interval
        self._every_n_epochs = every_n_epochs
        self._save_on_train_epoch_end = save_on_train_epoch_end
        self._enable_version_counter = enable_version_counter

        self.best_model_path = ""
        """The best checkpoint by `monitor`; without it, the newest."""
        self.best_model_score: Tensor | None = None
        self.best_k_models: dict[str, Tensor] = {}
        """Path and score of those that stay."""
        self.kth_best_model_path = ""
        """The worst of those that stay."""
        self.kth_value = worst_score(mode)
        self.current_score: Tensor | None = None
        """The score of the last one written."""
        self.last_model_path = ""
        """Where `save_last` wrote to."""

        self._due_step: float = math.inf
        self._due_s: float = math.inf
        self._saved_step = 0
        self._has_validated = False

    @property
    def every_n_epochs(self) -> int:
        """After how many epochs a checkpoint is due; 0 where steps or time decide."""
        return self._every_n_epochs

    # ------------------------------------------------------------------------------------------------ state

    @property
    def state_key(self) -> str:
        return self._key_with(
            monitor=self.monitor,
            mode=self.mode,
            every_n_train_steps=self._every_n_train_steps,
            every_n_epochs=self._every_n_epochs,
            train_time_interval=self._train_time_interval,
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "monitor": self.monitor,
            "best_model_score": self.best_model_score,
            "best_model_path": self.best_model_path,
            "current_score": self.current_score,
            "dirpath": self.dirpath,
            "best_k_models": dict(self.best_k_models),
            "kth_best_model_path": self.kth_best_model_path,
            "kth_value": self.kth_value,
            "last_model_path": self.last_model_path,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state; where it speaks of another folder than this run's, only the best path."""
        self.best_model_path = state_dict["best_model_path"]
        if not same_folder(state_dict.get("dirpath"), self.dirpath):
            warn(
                f"Checkpoints go to {self.dirpath}, those of the last run to {state_dict.get('dirpath')}: "
                "the ranking starts anew, and what lies in the old folder stays."
            )
            return
        self.best_model_score = state_dict["best_model_score"]
        self.best_k_models = dict(state_dict.get("best_k_models", {}))
        self.kth_best_model_path = state_dict.get("kth_best_model_path", "")
        self.kth_value = state_dict.get("kth_value", self.kth_value)
        self.current_score = state_dict.get("current_score")
        self.last_model_path = state_dict.get("last_model_path", "")

    # --------------------------------------------------------------------------------------- when it is due

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit" or trainer.fast_dev_run:
            return
        self._saved_step = 0
        self._has_validated = False
        self.dirpath = trainer.strategy.broadcast(self.dirpath or default_folder(trainer))
        resumes = bool(trainer.ckpt_path)
        if trainer.is_global_zero and self.save_top_k != 0 and not resumes and files.list_names(self.dirpath):
            warn(f"The checkpoint folder is not empty: {self.dirpath}")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._plan_next(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._is_due(trainer) and not trainer.accumulating and not trainer.validation_is_due:
            self._decide(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking or trainer.fast_dev_run:
            return
        self._has_validated = True
        if not self._decides_at_epoch_end(trainer) and self._epoch_is_due(trainer):
            if self._misses_monitor(trainer):
                raise metric_not_found(str(self.monitor), self._candidates(trainer), "ModelCheckpoint")
            self._due_step = trainer.global_step  # where a window is open, what is due waits for its end
        if self._is_due(trainer) and not trainer.accumulating:
            self._decide(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fast_dev_run:
            return
        if self._misses_monitor(trainer):
            if self._has_validated:
                raise metric_not_found(str(self.monitor), self._candidates(trainer), "ModelCheckpoint")
            if self._decides_at_epoch_end(trainer):
                warn_once(f"ModelCheckpoint keeps nothing as long as {self.monitor!r} is not logged.")
        if self._decides_at_epoch_end(trainer) and self._epoch_is_due(trainer):
            self._decide(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.save_last and self._saved_step == 0 and self._may_save(trainer):
            self._write(trainer, None, self._candidates(trainer))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self.save_on_exception and self._may_save(trainer):
            try_to_save(trainer, lambda: self._write_unranked(trainer))

    def _write_unranked(self, trainer: Trainer) -> None:
        metrics = self._candidates(trainer)
        self._write(trainer, self._free_path(trainer, metrics), metrics)

    def _is_due(self, trainer: Trainer) -> bool:
        if trainer.global_step >= self._due_step:
            return True
        return self._train_time_interval is not None and has_passed(trainer, self._due_s)

    def _epoch_is_due(self, trainer: Trainer) -> bool:
        return self._every_n_epochs > 0 and (trainer.current_epoch + 1) % self._every_n_epochs == 0

    def _decides_at_epoch_end(self, trainer: Trainer) -> bool:
        explicit = self._save_on_train_epoch_end
        return decides_at_epoch_end(trainer) if explicit is None else explicit

    def _may_save(self, trainer: Trainer) -> bool:
        """Whether there is anything new to save; the state before the first step is not worth a file."""
        if trainer.fast_dev_run or trainer.sanity_checking or trainer.state.fn != "fit":
            return False
        return trainer.global_step != self._saved_step

    def _misses_monitor(self, trainer: Trainer) -> bool:
        return bool(self.monitor and self.save_top_k) and self.monitor not in self._candidates(trainer)

    def _plan_next(self, trainer: Trainer) -> None:
        steps = self._every_n_train_steps
        self._due_step = (trainer.global_step // steps + 1) * steps if steps else math.inf
        if self._train_time_interval is not None:
            self._due_s = monotonic() + self._train_time_interval.total_seconds()

    # ------------------------------------------------------------------------------------------- what stays

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether a checkpoint with this score would stay."""
        if current is None or self.save_top_k == 0:
            return False
        if self.save_top_k == -1 or len(self.best_k_models) < self.save_top_k:
            return True
        return is_better(current, self.kth_value, self.mode)

    def _decide(self, trainer: Trainer) -> None:
        """Save if there is something new and it ranks high enough."""
        self._plan_next(trainer)
        if not self._may_save(trainer):
            return
        metrics = self._candidates(trainer)
        if self.save_top_k == 0:
            if self.save_last:
                self._write(trainer, None, metrics)
        elif self.monitor is None:
            self._keep_newest(trainer, metrics)
        elif self.monitor in metrics:  # what a validation logs is not there before the first one
            self._keep_best(trainer, metrics, self.monitor)

    def _keep_newest(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
        replaced = [self.best_model_path] if self.save_top_k == 1 and self.best_model_path else []
        self.best_model_path = self._free_path(trainer, metrics, reusable=replaced)
        self._write(trainer, self.best_model_path, metrics, replaced)

    def _keep_best(self, trainer: Trainer, metrics: dict[str, Any], monitor: str) -> None:
        score = read_score(trainer, metrics[monitor])
        place = f"epoch {trainer.current_epoch}, step {trainer.global_step}: {monitor} = {score:.5g}"
        if score.isnan():
            warn_once(f"{monitor!r} is NaN; a checkpoint with such a score counts as the worst.")
            score = worst_score(self.mode)
        if not self.check_monitor_top_k(trainer, score):
            if self.verbose:
                info(f"No checkpoint at {place}, which is not among the best {self.save_top_k}.")
            return
        replaced: list[str] = []
        while self.save_top_k != -1 and len(self.best_k_models) >= self.save_top_k:
            replaced.append(self._worst())
            del self.best_k_models[replaced[-1]]
        path = self._free_path(trainer, metrics, reusable=replaced)
        self.current_score = self.best_k_models[path] = score
        self.kth_best_model_path = self._worst()
        self.kth_value = self.best_k_models[self.kth_best_model_path]
        self.best_model_path = self._best()
        self.best_model_score = self.best_k_models[self.best_model_path]
        self._write(trainer, path, metrics, replaced)
        if self.verbose:
            info(f"Checkpoint at {place} (best {self.best_model_score:.5g}): {path}")

    def _best(self) -> str:
        first = min if self.mode == "min" else max
        return first(self.best_k_models, key=lambda path: float(self.best_k_models[path]))

    def _worst(self) -> str:
        last = max if self.mode == "min" else min
        return last(self.best_k_models, key=lambda path: float(self.best_k_models[path]))

    def _candidates(self, trainer: Trainer) -> dict[str, Any]:
        """Everything that can be monitored or stand in a file's name."""
        metrics = trainer.callback_metrics
        counts = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        own = {
            name: metrics[name].int() for name in counts if name in metrics
        }  # logging makes floats of them
        return {**metrics, **counts, **own}

    # ------------------------------------------------------------------------------------------------ files

    def format_checkpoint_name(
        self,
        metrics: Mapping[str, Any],
        filename: str | None = None,
        ver: int | None = None,
        prefix: str | None = None,
    ) -> str:
        """The path of a checkpoint with these values; in `dirpath`, once that is known."""
        join = self.CHECKPOINT_JOIN_CHAR
        template = filename or self.filename or f"{{epoch}}{join}{{step}}"
        equals = self.CHECKPOINT_EQUALS_CHAR if self.auto_insert_metric_name else None
        parts = [fill_template(template, metrics, equals=equals)]
        if prefix:
            parts.insert(0, prefix)
        if ver is not None:
            parts.append(f"v{ver}")
        name = join.join(parts) + self.FILE_EXTENSION
        return files.join(self.dirpath, name) if self.dirpath else name

    def file_exists(self, filepath: files.AnyPath, trainer: Trainer) -> bool:
        """Whether rank 0 sees the file."""
        return trainer.strategy.broadcast(trainer.is_global_zero and files.exists(filepath))

    def to_yaml(self, filepath: files.AnyPath | None = None) -> None:
        """Write path and score of those that stay; to `best_k_models.yaml` beside them by default."""
        if filepath is None:
            filepath = files.join(self.dirpath or ".", "best_k_models.yaml")
        with files.open_file(filepath, "w") as file:
            for path, score in self.best_k_models.items():
                file.write(f"{json.dumps(path)}: {yaml_number(float(score))}\n")

    def _free_path(
        self,
        trainer: Trainer,
        metrics: Mapping[str, Any],
        *,
        filename: str | None = None,
        reusable: Collection[str] = (),
        taken: str | None = None,
    ) -> str:
        """A path that no other run's file has; those of `reusable` are about to go."""
        path = ""
        if trainer.is_global_zero:
            path = self.format_checkpoint_name(metrics, filename)
            version = self.STARTING_VERSION
            while path == taken or (
                self._enable_version_counter and path not in reusable and files.exists(path)
            ):
                path = self.format_checkpoint_name(metrics, filename, ver=version)
                version += 1
        return trainer.strategy.broadcast(path)

    def _write(
        self, trainer: Trainer, path: str | None, metrics: Mapping[str, Any], replaced: Collection[str] = ()
    ) -> None:
        """Save to `path`, and as the last one where that is wanted; only then does what they replace go."""
        previous_last = self.last_model_path
        if self.save_last:  # before anything is saved, so that every file knows it
            self.last_model_path = self._free_path(
                trainer, metrics, filename=self.CHECKPOINT_NAME_LAST, reusable=[previous_last], taken=path
            )
        if path is not None:
            trainer.save_checkpoint(path, self.save_weights_only)
        if self.save_last and not (
            self.save_last == "link" and path and make_link(trainer, self.last_model_path, path)
        ):
            trainer.save_checkpoint(self.last_model_path, self.save_weights_only)
        self._saved_step = trainer.global_step
        for old in (*replaced, previous_last):
            if old and old not in (path, self.last_model_path) and self._may_remove(trainer, old):
                trainer.strategy.remove(old)
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.after_save_checkpoint(self)

    def _may_remove(self, trainer: Trainer, path: str) -> bool:
        """Whether the file is this run's own; what it was resumed from, or lies elsewhere, is not."""
        if trainer.ckpt_path and files.absolute(trainer.ckpt_path) == files.absolute(path):
            return False
        return files.is_url(path) or Path(str(self.dirpath)) in Path(files.absolute(path)).parents
