"""When checkpoints are written while training, what they are called, and which of them stay."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from fulmen.base import files
from fulmen.base.report import info, warn, warn_once
from fulmen.base.seams import outer, understood, understood_hook
from fulmen.callbacks.checkpoint import Checkpoint, try_to_save
from fulmen.callbacks.checkpoint_arguments import check_cadence, check_on_save_error, check_retention
from fulmen.callbacks.checkpoint_files import (
    common_folder,
    lies_below,
    make_link,
    same_folder,
    visible_names,
    write_scores,
)
from fulmen.callbacks.checkpoint_name import check_template, fill_template
from fulmen.callbacks.clock import has_passed
from fulmen.callbacks.monitoring import (
    best_of,
    candidates,
    check_mode,
    decides_at_epoch_end,
    is_better,
    metric_not_found,
    read_score,
    worst_of,
    worst_score,
)
from fulmen.errors import CheckpointError

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer


class ModelCheckpoint(Checkpoint):
    """Writes checkpoints while training and keeps the newest one or, with `monitor`, the best ones.

    One is due every `every_n_train_steps` updates, `train_time_interval`, or `every_n_epochs` epochs (the
    default, with 1). Epochs count at their end where validation runs once per epoch or never, else at each
    validation, unless `save_on_train_epoch_end` says so. A validation due at the same step comes first.

    Of those that were due, the `save_top_k` best by `mode` stay; -1 keeps all, 0 none. Without `monitor`, 1
    keeps the newest. `save_last` adds `last.ckpt`, the newest one: True writes it anew, "link" links to it.

    `filename` may hold `{epoch}`, `{step}` and logged names, with formats: `{epoch}-{val_loss:.2f}` gives
    `epoch=3-val_loss=0.25.ckpt`, or `3-0.25.ckpt` without `auto_insert_metric_name`. A name that another
    run took is not overwritten but gets a version, unless `enable_version_counter` is off.

    A save that fails ends the run with a `CheckpointError`; with `on_save_error="warn"` it is counted in
    `failed_saves`, and training goes on. Either way the files of before stay, and so does the ranking.
    """

    CHECKPOINT_JOIN_CHAR: str = "-"
    CHECKPOINT_EQUALS_CHAR: str = "="
    CHECKPOINT_NAME_LAST: str = "last"
    FILE_EXTENSION: str = ".ckpt"
    STARTING_VERSION: int = 1

    @understood
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
        *,
        on_save_error: Literal["raise", "warn"] = "raise",
    ) -> None:
        check_mode(mode, "ModelCheckpoint")
        check_retention(save_top_k, monitor, save_last)
        check_on_save_error(on_save_error)
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
        self._on_save_error = on_save_error
        self.handles_failed_saves = on_save_error == "warn"

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
        self.outdated: list[str] = []
        """What goes as soon as the checkpoint that replaces it is complete."""
        self.own_start: str | None = None
        """What the run goes on from without being told its name: it may be removed in its turn."""
        self.failed_saves = 0
        """How many saves failed and were passed over, with `on_save_error="warn"`."""

        self.due_step = self._due_s = math.inf
        self.saved_step = 0
        self._has_validated = False
        self._written = ""
        self._before: dict[str, Any] = {}  # has to come back if `_written` turns out not to be there

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
            "outdated": list(self.outdated),
            "due_step": self.due_step,
            "saved_step": self.saved_step,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state of the same metric; where it speaks of another folder, only the best path."""
        if state_dict.get("monitor", self.monitor) != self.monitor:
            return
        self.best_model_path = state_dict["best_model_path"]
        folder = state_dict.get("dirpath")
        if not same_folder(folder, self.dirpath):
            if self.dirpath is not None:  # else nothing is to be saved
                warn(f"Checkpoints go to {self.dirpath}, not to {folder}, so that the ranking starts anew.")
            return
        ranking = ("best_model_score", "kth_best_model_path", "kth_value", "current_score", "last_model_path")
        vars(self).update({name: state_dict[name] for name in ranking if name in state_dict})
        self.best_k_models = dict(state_dict.get("best_k_models", {}))
        self.outdated = list(state_dict.get("outdated", [])) if self.own_start else []
        self.due_step, self.saved_step = state_dict.get("due_step", math.inf), state_dict.get("saved_step", 0)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit" or trainer.fast_dev_run:
            return
        self.due_step, self.saved_step, self._has_validated = math.inf, 0, False
        self.dirpath = common_folder(trainer, self.dirpath)
        begins = trainer.is_global_zero and self.save_top_k != 0 and not trainer.ckpt_path
        if begins and any(name.endswith(self.FILE_EXTENSION) for name in visible_names(self.dirpath)):
            warn(f"The checkpoint folder is not empty: {self.dirpath}")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._remove_outdated(trainer)  # which a process that was killed has left

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._plan_next(trainer, at_most=self.due_step)

    @understood_hook
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._learn_of_failure(trainer)
        if self._is_due(trainer) and not trainer.accumulating and not trainer.validation_is_due:
            self._decide(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking or trainer.fast_dev_run:
            return
        self._has_validated = True
        if not self._decides_at_epoch_end(trainer) and self._epoch_is_due(trainer):
            if self._misses_monitor(trainer):
                raise metric_not_found(str(self.monitor), candidates(trainer), "ModelCheckpoint")
            self.due_step = trainer.global_step  # where a window is open, what is due waits for its end
        if self._is_due(trainer) and not trainer.accumulating:
            self._decide(trainer)

    @understood_hook
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fast_dev_run:
            return
        if self._misses_monitor(trainer):
            if self._has_validated:
                raise metric_not_found(str(self.monitor), candidates(trainer), "ModelCheckpoint")
            if self._decides_at_epoch_end(trainer):
                warn_once(f"ModelCheckpoint keeps nothing as long as {self.monitor!r} is not logged.")
        if self._decides_at_epoch_end(trainer) and self._epoch_is_due(trainer):
            self._decide(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.save_last and self.saved_step == 0 and self._may_save(trainer):
            self._try(trainer, lambda: self._write(trainer, None, candidates(trainer)))
        self._learn_of_failure(trainer, wait=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self.save_on_exception and self._may_save(trainer):
            try_to_save(trainer, lambda: self._try(trainer, lambda: self._write_unranked(trainer)))

    def _write_unranked(self, trainer: Trainer) -> None:
        metrics = candidates(trainer)
        self._write(trainer, self._free_path(trainer, metrics), metrics)

    def _is_due(self, trainer: Trainer) -> bool:
        is_timed = self._train_time_interval is not None
        return trainer.global_step >= self.due_step or (is_timed and has_passed(trainer, self._due_s))

    def _epoch_is_due(self, trainer: Trainer) -> bool:
        return self._every_n_epochs > 0 and (trainer.current_epoch + 1) % self._every_n_epochs == 0

    def _decides_at_epoch_end(self, trainer: Trainer) -> bool:
        explicit = self._save_on_train_epoch_end
        return decides_at_epoch_end(trainer) if explicit is None else explicit

    def _may_save(self, trainer: Trainer) -> bool:
        """Whether there is anything new to save; the state before the first step is not worth a file."""
        trains = trainer.state.fn == "fit" and not (trainer.fast_dev_run or trainer.sanity_checking)
        return trains and trainer.global_step != self.saved_step

    def _misses_monitor(self, trainer: Trainer) -> bool:
        return bool(self.monitor and self.save_top_k) and self.monitor not in candidates(trainer)

    def _plan_next(self, trainer: Trainer, *, at_most: float = math.inf) -> None:
        steps = self._every_n_train_steps
        self.due_step = min((trainer.global_step // steps + 1) * steps if steps else math.inf, at_most)
        if self._train_time_interval is not None:
            self._due_s = monotonic() + self._train_time_interval.total_seconds()

    # ------------------------------------------------------------------------------------------- what stays

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether a checkpoint with this score would stay."""
        if current is None or self.save_top_k == 0:
            return False
        has_room = self.save_top_k == -1 or len(self.best_k_models) < self.save_top_k
        return has_room or is_better(current, self.kth_value, self.mode)

    def _decide(self, trainer: Trainer) -> None:
        """Save if there is something new and it ranks high enough."""
        self._plan_next(trainer)
        if not self._may_save(trainer) or not (self.save_top_k or self.save_last):
            return
        metrics = candidates(trainer)
        if self.save_top_k == 0:
            self._try(trainer, lambda: self._write(trainer, None, metrics))
        elif self.monitor is None:
            self._try(trainer, lambda: self._keep_newest(trainer, metrics))
        elif self.monitor in metrics:  # what a validation logs is not there before the first one
            self._consider(trainer, metrics, self.monitor)

    def _keep_newest(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
        replaced = [self.best_model_path] if self.save_top_k == 1 and self.best_model_path else []
        self.best_model_path = self._free_path(trainer, metrics, reusable=replaced)
        self._write(trainer, self.best_model_path, metrics, replaced)

    def _consider(self, trainer: Trainer, metrics: dict[str, Any], monitor: str) -> None:
        score = read_score(trainer, metrics[monitor])
        place = f"epoch {trainer.current_epoch}, step {trainer.global_step}: {monitor} = {score:.5g}"
        if score.isnan():
            warn_once(f"{monitor!r} is NaN; a checkpoint with such a score counts as the worst.")
            score = worst_score(self.mode)
        if self.check_monitor_top_k(trainer, score):
            self._try(trainer, lambda: self._keep_best(trainer, metrics, score, place))
        elif self.verbose:
            info(f"No checkpoint at {place}, which is not among the best {self.save_top_k}.")

    def _keep_best(self, trainer: Trainer, metrics: dict[str, Any], score: Tensor, place: str) -> None:
        replaced: list[str] = []
        while self.save_top_k != -1 and len(self.best_k_models) >= self.save_top_k:
            replaced.append(worst_of(self.best_k_models, self.mode))
            del self.best_k_models[replaced[-1]]
        path = self._free_path(trainer, metrics, reusable=replaced)
        self.current_score = self.best_k_models[path] = score
        self.kth_best_model_path = worst_of(self.best_k_models, self.mode)
        self.kth_value = self.best_k_models[self.kth_best_model_path]
        self.best_model_path = best_of(self.best_k_models, self.mode)
        self.best_model_score = self.best_k_models[self.best_model_path]
        self._write(trainer, path, metrics, replaced)
        if self.verbose:
            info(f"Checkpoint at {place} (best {self.best_model_score:.5g}): {path}")

    # ------------------------------------------------------------------------------------------------ files

    def format_checkpoint_name(
        self, metrics: Mapping[str, Any], filename: str | None = None, ver: int | None = None,
        prefix: str | None = None,
    ) -> str:  # fmt: skip
        """The path of a checkpoint with these values; in `dirpath`, once that is known."""
        if not isinstance(metrics, Mapping):
            given = {"metrics": metrics, "filename": filename, "ver": ver, "prefix": prefix}
            return self.format_checkpoint_name(**outer().call(self, "format_checkpoint_name", {}, given))
        join = self.CHECKPOINT_JOIN_CHAR
        template = filename or self.filename or f"{{epoch}}{join}{{step}}"
        equals = self.CHECKPOINT_EQUALS_CHAR if self.auto_insert_metric_name else None
        parts = [prefix, fill_template(template, metrics, equals=equals), None if ver is None else f"v{ver}"]
        name = join.join(part for part in parts if part) + self.FILE_EXTENSION
        return files.join(self.dirpath, name) if self.dirpath else name

    def file_exists(self, filepath: files.AnyPath, trainer: Trainer) -> bool:
        """Whether rank 0 sees the file."""
        return trainer.strategy.broadcast(files.exists(filepath))

    def to_yaml(self, filepath: files.AnyPath | None = None) -> None:
        """Write path and score of those that stay; to `best_k_models.yaml` beside them by default."""
        write_scores(filepath or files.join(self.dirpath or ".", "best_k_models.yaml"), self.best_k_models)

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
        if trainer.strategy.world.is_global_zero:
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
        """Save to `path`, and as the last one where that is wanted."""
        previous_last = self.last_model_path
        if self.save_last:  # before anything is saved, so that every file knows it
            self.last_model_path = self._free_path(
                trainer, metrics, filename=self.CHECKPOINT_NAME_LAST, reusable=[previous_last], taken=path
            )
        self._written = path or self.last_model_path
        stays = ("", path, self.last_model_path)
        self.outdated += [old for old in (*replaced, previous_last) if old not in stays]
        self.saved_step = trainer.global_step
        if path is not None:
            trainer.save_checkpoint(path, self.save_weights_only)
        try:
            if self.save_last and not (
                self.save_last == "link" and path and make_link(trainer, self.last_model_path, path)
            ):
                trainer.save_checkpoint(self.last_model_path, self.save_weights_only)
        except (CheckpointError, OSError) as error:
            if path is None:
                raise
            self.last_model_path = previous_last
            self._report(error)

    def _may_remove(self, trainer: Trainer, path: str) -> bool:
        """Whether the file is this run's own, unlike what the user had it resume from, and not in use."""
        stays = [self.best_model_path, self.last_model_path, *self.best_k_models]
        if trainer.ckpt_path and trainer.ckpt_path != self.own_start:
            stays.append(files.absolute(trainer.ckpt_path))
        return path not in stays and lies_below(self.dirpath, path)

    # ------------------------------------------------------------------------------------- when saving fails

    def _try(self, trainer: Trainer, save: Callable[[], None]) -> None:
        """Save, and only then remove what is outdated; where saving fails, this object is as before."""
        self._learn_of_failure(trainer, wait=True)
        self._before = ModelCheckpoint.state_dict(self)
        try:
            save()
        except BaseException as error:
            vars(self).update(self._before)
            if not isinstance(error, (CheckpointError, OSError)):
                raise
            self._report(error)
            return
        self._remove_outdated(trainer)
        for logger in trainer.loggers if trainer.is_global_zero else ():
            logger.after_save_checkpoint(self)

    def _remove_outdated(self, trainer: Trainer) -> None:
        while self.outdated:
            path = self.outdated.pop(0)
            try:
                if self._may_remove(trainer, path):
                    trainer.strategy.remove(path)
            except (CheckpointError, OSError) as error:
                self._report(error)

    def _learn_of_failure(self, trainer: Trainer, *, wait: bool = False) -> None:
        """See whether what was written in the background has failed, and be as before it."""
        if wait:
            trainer.strategy.checkpoint_io.finish()
        try:
            trainer.strategy.checkpoint_io.raise_pending_error()
        except CheckpointError as error:
            if not files.exists(self._written):
                vars(self).update(self._before)
            self._report(error)

    def _report(self, error: CheckpointError | OSError) -> None:
        if self._on_save_error == "raise":
            raise error
        self.failed_saves += 1
        warn(f"Training goes on, with {self.failed_saves} saves that failed so far. {error}")
