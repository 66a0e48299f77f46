"""Show what the model is made of when a fit begins."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from fulmen.base.report import info
from fulmen.core.callback import Callback
from fulmen.core.model_summary import Columns, check_depth, format_summary
from fulmen.core.model_summary import ModelSummary as Summary

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer


class SummaryCallback(Callback, ABC):
    """Shows the modules down to `max_depth`: 1 shows the model's children, -1 everything, 0 nothing.

    `summarize_kwargs` go to `summarize`, which a subclass may replace to show the table in its own way.
    """

    def __init__(self, max_depth: int = 1, **summarize_kwargs: Any) -> None:
        self._max_depth = check_depth(max_depth)
        self._summarize_kwargs = summarize_kwargs

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._max_depth == 0:
            return
        # On every rank: where the model is spread over them, sending the example through takes them all.
        summary = Summary(pl_module, self._max_depth, precision=trainer.precision_plugin)
        if trainer.is_global_zero:
            self.summarize(
                summary.columns(),
                summary.total_parameters,
                summary.trainable_parameters,
                summary.model_size,
                summary.total_training_modes,
                total_flops=summary.total_flops,
                **self._summarize_kwargs,
            )

    @staticmethod
    @abstractmethod
    def summarize(
        summary_data: Columns,
        total_parameters: int,
        trainable_parameters: int,
        model_size: float,
        total_training_modes: dict[str, int],
        total_flops: int,
        **summarize_kwargs: Any,
    ) -> None:
        """Show the table: `summary_data` is header and cells of each column, `model_size` is in MB."""


class ModelSummary(SummaryCallback):
    """Logs the table as plain text."""

    @staticmethod
    def summarize(
        summary_data: Columns,
        total_parameters: int,
        trainable_parameters: int,
        model_size: float,
        total_training_modes: dict[str, int],
        total_flops: int,
        **summarize_kwargs: Any,
    ) -> None:
        totals = (total_parameters, trainable_parameters, model_size, total_training_modes, total_flops)
        info("\n" + format_summary(summary_data, *totals))
