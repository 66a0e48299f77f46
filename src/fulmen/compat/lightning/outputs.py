"""The shapes in which what `training_step` returned was given to hooks, by version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fulmen.compat.lightning.versions import Era


class Turns(list[list[Any]]):
    """What was returned in one batch: for each optimizer, a list of dicts for the parts of the batch in time.

    Those that were left out have an empty list; so has everything where nothing was returned.
    """

    @property
    def taken(self) -> list[list[Any]]:
        """Those in which something was returned."""
        return [parts for parts in self if parts]


class Output(dict[str, Any]):
    """What `training_step` returned, as up to 1.2: the loss is `minimize`, and the rest `extra`."""

    def __init__(self, returned: Any) -> None:
        if isinstance(returned, Mapping):
            extra = {name: value for name, value in returned.items() if name != "loss"}
            super().__init__(minimize=returned.get("loss"), extra=extra)
        else:
            super().__init__(minimize=returned, extra={})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what copy and pickle look for
            raise AttributeError(name)
        return self.get(name)


def turns_of(outputs: Any) -> Turns:
    """What the step of a run has as its outputs, of one optimizer where it knows of no turns."""
    return outputs if isinstance(outputs, Turns) else Turns([[outputs] if outputs else []])


def last_of_batch(outputs: Any) -> Any:
    """What our own callbacks, which know of no turns, are given: the dict that was returned last."""
    taken = turns_of(outputs).taken
    return taken[-1][-1] if taken else {}


def of_batch(outputs: Any, era: Era) -> Any:
    """What `on_train_batch_end` was given."""
    turns = turns_of(outputs)
    if era.outputs_are_wrapped:
        return [[Output(part) for part in parts] for parts in turns.taken]
    if not turns.taken:
        return era.outputs_of_nothing()
    if era.outputs_by_part and len(turns) > 1 and any(len(parts) > 1 for parts in turns):
        return [list(of_part) for of_part in zip(*turns.taken, strict=False)]
    shaped = [_alone_or_all(parts) for parts in turns.taken]
    count = len(turns) if era.outputs_keep_places else len(shaped)
    return shaped[0] if count == 1 else shaped


def of_epoch(batches: list[Turns], era: Era) -> list[Any]:
    """What `training_epoch_end`, and from 1.3 on `on_train_epoch_end`, was given."""
    in_time = any(len(parts) > 1 for turns in batches for parts in turns)
    if era.epoch_outputs_by_optimizer or (in_time and not era.epoch_outputs_by_part):
        shaped = [[_alone_or_all(parts) for parts in of_one] for of_one in _by_optimizer(batches, era)]
        return shaped[0] if len(shaped) == 1 else shaped
    return [of_batch(turns, era) for turns in batches if turns.taken]


def of_whole_epoch(batches: list[Turns], era: Era) -> list[Any]:
    """What `on_train_epoch_end` was given."""
    if not era.outputs_are_wrapped:
        return of_epoch(batches, era)
    return [[[Output(part) for part in parts] for parts in of_one] for of_one in _by_optimizer(batches, era)]


def _by_optimizer(batches: list[Turns], era: Era) -> list[list[list[Any]]]:
    """By optimizer, then by batch; up to 1.4 by whose turn in the batch it was."""
    rows = batches if era.outputs_keep_places else [turns.taken for turns in batches]
    count = max((len(row) for row in rows), default=1)
    return [[row[index] for row in rows if index < len(row) and row[index]] for index in range(count)]


def _alone_or_all(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else parts
