"""`prepare_data` and `setup` of datamodules, which up to 1.5 were called once for each stage."""

from __future__ import annotations

import sys
from typing import Any

from fulmen.compat.lightning import versions
from fulmen.compat.lightning.hooks import defines
from fulmen.engine.states import TrainerFn

EVERY_STAGE = {str(stage) for stage in TrainerFn}


class CalledOnce:
    """A method of one datamodule, which is not called again for stages that it was called for."""

    def __init__(self, data: Any, name: str, *, by_anybody: bool) -> None:
        self._call = getattr(data, name)
        self._by_anybody = by_anybody
        """Whether a script's second call is left out as well, not a run's alone."""
        self._stages: set[str] = set()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        stage = next(iter((*args, *kwargs.values())), None)
        stages = EVERY_STAGE if stage is None else {str(stage)}
        by_run = sys._getframe(1).f_globals.get("__name__", "").startswith("fulmen.")
        if stages <= self._stages and (by_run or self._by_anybody):
            return None
        self._stages |= stages
        return self._call(*args, **kwargs)


def set_up_once(data: Any) -> None:
    """Have it so for a datamodule, where a version is declared in which it was."""
    declared = versions.declared()
    whose = "nobody's" if declared is None else versions.era(declared).second_setups_left_out
    for name in ("prepare_data", "setup") if whose != "nobody's" else ():
        if defines(data, name):
            vars(data)[name] = CalledOnce(data, name, by_anybody=whose == "anybody's")
