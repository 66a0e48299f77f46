"""The model summary with colours and boxes."""

from __future__ import annotations

from typing import Any

from fulmen.base.extras import available, require
from fulmen.callbacks.model_summary import ModelSummary, SummaryCallback
from fulmen.core.model_summary import Columns, total_lines


class RichModelSummary(SummaryCallback):
    """Prints the table with rich. Of `summarize_kwargs`, `header_style` is used."""

    def __init__(self, max_depth: int = 1, **summarize_kwargs: Any) -> None:
        require("rich", extra="rich")
        super().__init__(max_depth, **summarize_kwargs)

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
        console = require("rich.console", extra="rich").Console()
        if not (console.is_terminal or console.is_jupyter):  # a log file: no boxes, and nothing cut off
            ModelSummary.summarize(summary_data, *totals)
            return
        tables = require("rich.table", extra="rich")
        table = tables.Table(header_style=summarize_kwargs.get("header_style", "bold magenta"))
        numeric = ("Params", "FLOPs", "In sizes", "Out sizes")
        for header, _ in summary_data:
            justify = "right" if header in numeric else "left"
            table.add_column(header, justify=justify, no_wrap=header != "Name")
        table.columns[0].style = "dim"
        for row in zip(*(cells for _, cells in summary_data), strict=True):
            table.add_row(*row)
        below = tables.Table.grid(padding=(0, 1))
        for value, what in total_lines(*totals):
            below.add_row(f"[bold]{what}[/]:", value)
        console.print(table, below)


def default_model_summary(max_depth: int = 1) -> SummaryCallback:
    """The summary of a Trainer that was given none: rich's where it is installed."""
    return RichModelSummary(max_depth) if available("rich") else ModelSummary(max_depth)
