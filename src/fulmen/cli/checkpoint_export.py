"""The weights of a checkpoint in a file of their own, which needs no fulmen to be read."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from fulmen.base import files
from fulmen.base.extras import require
from fulmen.base.safe_load import demand_restored, load_tensors
from fulmen.errors import CheckpointError, ConfigError, did_you_mean

SUFFIXES = (".safetensors", ".pt", ".pth")


def export(path: str, out: str, *, submodule: str | None = None) -> list[str]:
    """Write the weights of `path` to `out`; returns what there is to tell about it."""
    if not out.endswith(SUFFIXES):
        raise ConfigError(
            "The kind of file to export to is unknown.", received=out, expected=" or ".join(SUFFIXES)
        )
    if files.absolute(path) == files.absolute(out):
        raise ConfigError("The weights would take the place of the checkpoint.", received=out)
    checkpoint = load_tensors(path, map_location="cpu", mmap=True)
    weights = weights_of(checkpoint, path)
    if submodule is not None:
        weights = _below(submodule, weights)
    if not out.endswith(".safetensors"):
        files.write_whole(out, lambda file: torch.save(weights, file))
        return [f"{len(weights)} tensors in {out}"]

    safetensors: Any = require("safetensors.torch", extra="safetensors")
    tensors = {name: value for name, value in weights.items() if isinstance(value, Tensor)}
    kept, aliases = _without_aliases(tensors)
    metadata = {"format": "pt", "source": os.path.basename(path), **_position(checkpoint), **aliases}
    try:
        content = safetensors.save(kept, metadata=metadata)
    except Exception as error:  # sparse or quantized tensors; which error depends on the version
        raise CheckpointError(
            "safetensors cannot hold these weights.", received=error, fix="export to .pt"
        ) from error
    files.write_whole(out, lambda file: file.write(content))
    told = [f"{len(kept)} tensors in {out}"]
    told += [f"left out: {name}, which is no tensor" for name in weights.keys() - tensors.keys()]
    told += [f"tied: {alias} is {name}" for alias, name in aliases.items()]
    return told


def weights_of(checkpoint: Any, path: str) -> dict[str, Any]:
    """The state dict in a checkpoint, or the file's content where that is one itself."""
    weights = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not any(isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(f"There are no weights in {path}.")
    demand_restored(weights, path=path, part="state_dict")
    return dict(weights)


def _below(submodule: str, weights: dict[str, Any]) -> dict[str, Any]:
    prefix = f"{submodule}."
    found = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if not found:
        modules = sorted({name.rpartition(".")[0] for name in weights} - {""})
        raise ConfigError(
            "There is no such submodule among the weights.",
            received=submodule,
            expected=", ".join(modules[:12]) + ", ..." * (len(modules) > 12),
            fix=did_you_mean(submodule, modules),
        )
    return found


def _without_aliases(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Each tensor once, in memory of its own; and the names left out, with the name that is kept for each.

    The same choice as `safetensors.torch.save_model` makes, whose `load_model` ties them again.
    """
    names: dict[Any, str] = {}
    aliases: dict[str, str] = {}
    for name in sorted(tensors):
        value = tensors[name]
        if value.layout is torch.strided and value.numel():
            kept = names.setdefault((value.data_ptr(), value.dtype, value.shape, value.stride()), name)
            if kept != name:
                aliases[name] = kept
    # A copy, unless it has its storage to itself: safetensors refuses tensors that overlap.
    return {name: _alone(value) for name, value in tensors.items() if name not in aliases}, aliases


def _alone(value: Tensor) -> Tensor:
    if value.layout is not torch.strided:
        return value  # safetensors says what it thinks of it
    fills_storage = value.untyped_storage().nbytes() == value.nbytes
    return (
        value
        if fills_storage and value.is_contiguous()
        else value.clone(memory_format=torch.contiguous_format)
    )


def _position(checkpoint: dict[str, Any]) -> dict[str, str]:
    return {
        key: str(checkpoint[key]) for key in ("epoch", "global_step") if isinstance(checkpoint.get(key), int)
    }
