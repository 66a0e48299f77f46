"""The parameter groups of optimizers, by name: those that training has added are added when it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.core.optimizers import bare

if TYPE_CHECKING:
    from torch import nn

    from fulmen.engine.run import Run

Groups = list[list[str | None]]
"""Names of one optimizer's parameters, group by group; None for those that are not the module's."""


def group_names(run: Run) -> list[Groups]:
    """What is in the groups of each optimizer."""
    names = {id(parameter): name for name, parameter in run.module.named_parameters()}
    return [
        [
            [names.get(id(parameter)) for parameter in group["params"]]
            for group in bare(optimizer).param_groups
        ]
        for optimizer in run.optimizers
    ]


def saved_groups(checkpoint: dict[str, Any]) -> list[Groups]:
    """What a checkpoint says of the groups; in Lightning's, its finetuning callback does."""
    if own := checkpoint.get("fulmen"):
        return own.get("groups", [])
    for state in checkpoint.get("callbacks", {}).values():
        if isinstance(state, dict) and (noted := state.get("internal_optimizer_metadata")):
            return [[group["params"] for group in noted[number]] for number in sorted(noted)]
    return []


def add_missing_groups(run: Run, saved: list[Groups]) -> None:
    """Add the groups that `configure_optimizers` did not make, and a callback or a hook has added later.

    Their options come with the optimizer's state. Optimizers that begin with other groups are left alone.
    """
    parameters: dict[str | None, nn.Parameter] = dict(run.module.named_parameters())
    for optimizer, present, groups in zip(run.optimizers, group_names(run), saved, strict=False):
        added = groups[len(present) :]
        if groups[: len(present)] == present and all(name in parameters for names in added for name in names):
            for names in added:
                _add_group(optimizer, names, parameters)


def _add_group(
    optimizer: object, names: list[str | None], parameters: dict[str | None, nn.Parameter]
) -> None:
    named = "param_names" in bare(optimizer).param_groups[0]
    members = [(name, parameters[name]) if named else parameters[name] for name in names]
    bare(optimizer).add_param_group({"params": members})
