"""How a value is to be logged."""

from __future__ import annotations

from typing import Any, NamedTuple


class LogArguments(NamedTuple):
    """The arguments of `LightningModule.log` that have to be the same in each call for one name."""

    prog_bar: bool = False
    logger: bool | None = None
    on_step: bool | None = None
    on_epoch: bool | None = None
    reduce_fx: Any = "mean"
    enable_graph: bool = False
    sync_dist: bool = False
    add_dataloader_idx: bool = True
    rank_zero_only: bool = False

    def __str__(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
