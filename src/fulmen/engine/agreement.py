"""How processes see to it that all of them train on equally many batches: one alone would wait for ever."""

from __future__ import annotations

import torch

from fulmen.base.report import warn
from fulmen.engine.combined_loader import length_of
from fulmen.engine.data import Loaders
from fulmen.runtime.collectives import Collectives


def agree_on_length(loaders: Loaders, collectives: Collectives) -> None:
    """Let an epoch be as long as that of the rank with the fewest batches, where that is known."""
    own = torch.tensor([loaders.lengths[0], length_of(loaders.loaders[0])], dtype=torch.float64)
    lengths, natural = collectives.all_gather(own).T.tolist()
    loaders.are_counted = max(natural) < float("inf")
    if len(set(lengths)) > 1:
        warn(
            f"The processes have unequal numbers of training batches ({', '.join(map(_words, lengths))}): "
            "each epoch ends when the first of them has none left."
        )
    loaders.lengths = [min(lengths)]


def all_have(one: bool, collectives: Collectives) -> bool:
    """Whether every rank has what this one may have; asked on the host, so that no device waits."""
    return bool(collectives.all_reduce(torch.tensor(int(one)), "min"))


def _words(length: float) -> str:
    return "unknown" if length == float("inf") else f"{length:.0f}"
