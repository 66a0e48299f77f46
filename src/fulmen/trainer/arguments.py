"""The arguments of a Trainer, as users read them back."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fulmen.engine.options import DataOptions, FitOptions, ReportOptions, StepOptions, ValidationOptions
from fulmen.engine.states import TrainerFn
from fulmen.engine.validation import wants_validation

if TYPE_CHECKING:
    from fulmen.engine.run import Run


class NoLimit(int):
    """A number that is false: `if trainer.max_steps` asks whether there is a limit."""

    def __bool__(self) -> bool:
        return False


NO_LIMIT = NoLimit(-1)


class ArgumentsView:
    """Each property reads one of the option groups."""

    _fit: FitOptions
    _data: DataOptions
    _validation: ValidationOptions
    _step: StepOptions
    _report: ReportOptions
    _run: Run | None

    @property
    def max_epochs(self) -> int | None:
        """Most epochs to train; -1 for no limit."""
        return self._fit.max_epochs

    @max_epochs.setter
    def max_epochs(self, epochs: int | None) -> None:
        self._limit_fit(max_epochs=epochs)

    def _limit_fit(self, **limits: Any) -> None:
        """Set limits of training, of one that is under way as well."""
        self._fit = replace(self._fit, **limits)
        if self._run is not None:
            self._run.fit_options = self._fit

    @property
    def min_epochs(self) -> int | None:
        """Fewest epochs to train."""
        return self._fit.min_epochs

    @property
    def max_steps(self) -> int:
        """Most optimizer steps to take; -1, which is false here, for no limit."""
        return NO_LIMIT if self._fit.max_steps == -1 else self._fit.max_steps

    @max_steps.setter
    def max_steps(self, steps: int) -> None:
        self._limit_fit(max_steps=steps)

    @property
    def min_steps(self) -> int | None:
        """Fewest optimizer steps to take."""
        return self._fit.min_steps

    @property
    def enable_validation(self) -> bool:
        """Whether fits validate: there is a way to, something to do it on, and no limit of 0."""
        if self._run is not None and self._run.fn is TrainerFn.FITTING:
            return wants_validation(self._run)
        return self._data.limit_val_batches > 0

    @property
    def fast_dev_run(self) -> int | bool:
        """How many batches of everything are run, to see whether the code works."""
        return self._data.fast_dev_run

    @property
    def limit_train_batches(self) -> int | float:
        """How many training batches count."""
        return self._data.limit_train_batches

    @property
    def limit_val_batches(self) -> int | float:
        """How many validation batches count."""
        return self._data.limit_val_batches

    @property
    def limit_test_batches(self) -> int | float:
        """How many test batches count."""
        return self._data.limit_test_batches

    @property
    def limit_predict_batches(self) -> int | float:
        """How many batches to predict count."""
        return self._data.limit_predict_batches

    @property
    def overfit_batches(self) -> int | float:
        """How many batches are trained on again and again."""
        return self._data.overfit_batches

    @property
    def num_sanity_val_steps(self) -> int | float:
        """Validation batches before training; infinite for all."""
        steps = self._data.num_sanity_val_steps
        return math.inf if steps == -1 else steps

    @property
    def reload_dataloaders_every_n_epochs(self) -> int:
        """How often loaders are asked for anew; 0 for once."""
        return self._data.reload_dataloaders_every_n_epochs

    @property
    def val_check_interval(self) -> int | float | timedelta:
        """How often within an epoch a validation is due."""
        return self._validation.val_check_interval

    @property
    def check_val_every_n_epoch(self) -> int | None:
        """In which epochs a validation is due."""
        return self._validation.check_val_every_n_epoch

    @property
    def accumulate_grad_batches(self) -> int:
        """Over how many batches gradients are averaged before an update."""
        return self._step.accumulate_grad_batches

    @accumulate_grad_batches.setter
    def accumulate_grad_batches(self, batches: int) -> None:
        self._step = replace(self._step, accumulate_grad_batches=batches)
        if self._run is not None:
            self._run.step_options = self._step

    @property
    def gradient_clip_val(self) -> float | None:
        """Where gradients are clipped."""
        return self._step.gradient_clip_val

    @property
    def gradient_clip_algorithm(self) -> str | None:
        """How gradients are clipped."""
        return self._step.gradient_clip_algorithm

    @property
    def log_every_n_steps(self) -> int:
        """How often step values are flushed."""
        return self._report.log_every_n_steps

    @property
    def enable_autolog_hparams(self) -> bool:
        """Whether hyperparameters go to the loggers by themselves."""
        return self._report.enable_autolog_hparams

    @property
    def barebones(self) -> bool:
        """Whether everything that costs time is off."""
        return self._report.barebones
