"""What a checkpoint holds of a logbook: an epoch taken up in its middle comes to the same values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fulmen.base.tree import map_leaves
from fulmen.core.log_arguments import LogArguments
from fulmen.engine.logbook import Logbook
from fulmen.engine.slots import Slot


def logbook_state(logbook: Logbook) -> dict[str, Any]:
    """The tables, and what was logged in the epoch under way, as plain data and tensors."""
    logbook.settle()
    return {
        "callback": dict(logbook.callback_table),
        "logged": dict(logbook.logged_table),
        "progress_bar": dict(logbook.progress_bar_table),
        "slots": [
            {
                "hook": table.hook,
                "loader": table.loader,
                "name": name,
                "arguments": list(slot.arguments._replace(reduce_fx=slot.reduction)),
                "state": slot.state_dict(),
            }
            for table in logbook.tables
            for name, slot in table.items()
            if isinstance(slot, Slot) and slot.used and isinstance(slot.reduction, str)
        ],
    }


def load_logbook_state(logbook: Logbook, state: dict[str, Any], device: torch.device) -> None:
    """Take up a state that `logbook_state` gave."""
    state = map_leaves(state, Tensor, lambda tensor: tensor.to(device))
    logbook.callback_table.update(state["callback"])
    logbook.logged_table.update(state["logged"])
    logbook.progress_bar_table.update(state["progress_bar"])
    for entry in state["slots"]:
        logbook.slots = logbook.scope(entry["hook"], entry["loader"])
        slot = logbook.open_slot(entry["name"], 0.0, LogArguments(*entry["arguments"]))
        slot.provisional = True
        assert isinstance(slot, Slot)
        slot.load_state_dict(entry["state"])
    logbook.slots = {}
