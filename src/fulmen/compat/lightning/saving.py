"""Files of hyperparameters and checkpoints, as users of Lightning know them."""

from __future__ import annotations

import ast
import csv
import importlib
from argparse import Namespace
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from fulmen.base import files, seams
from fulmen.base.safe_load import load_tensors
from fulmen.core.loading import read_hparams
from fulmen.loggers.hparams import save_yaml


def load(path_or_url: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
    """What a file of `torch.save` holds; no code in it is run, so that objects of other classes are inert."""
    return load_tensors(path_or_url, map_location=map_location, weights_only=weights_only is not False)


def atomic_save(checkpoint: dict[str, Any], filepath: files.AnyPath) -> None:
    """Write a checkpoint, whole or not at all."""
    files.write_whole(filepath, lambda file: torch.save(checkpoint, file))


def get_filesystem(path: files.AnyPath, **kwargs: Any) -> Any:
    """The file system of fsspec's that a path is on."""
    return importlib.import_module("fsspec").core.url_to_fs(str(path), **kwargs)[0]


def migrate_checkpoint(
    checkpoint: dict[str, Any], target_version: str | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A checkpoint as it is written now, of any version's; the second is empty."""
    return seams.outer().migrate(checkpoint, None), {}


def pl_legacy_patch() -> AbstractContextManager[None]:
    """Nothing needs to be done for old files to be read."""
    return nullcontext()


# -------------------------------------------------------------------------------------------- hyperparameters


def convert(val: str) -> Any:
    """The value that a text shows, or the text."""
    try:
        return ast.literal_eval(val)
    except (ValueError, SyntaxError):
        return val


def update_hparams(hparams: dict[str, Any], updates: Mapping[str, Any]) -> None:
    """Put `updates` into `hparams`, those of dicts within them into those."""
    for name, value in updates.items():
        if isinstance(hparams.get(name), dict) and isinstance(value, Mapping):
            update_hparams(hparams[name], value)
        else:
            hparams[name] = value


def load_hparams_from_yaml(config_yaml: files.AnyPath, use_omegaconf: bool = True) -> dict[str, Any]:
    """Hyperparameters from a file; none where it is missing."""
    return read_hparams(config_yaml) if files.exists(config_yaml) else {}


def save_hparams_to_yaml(config_yaml: files.AnyPath, hparams: Any, use_omegaconf: bool = True) -> None:
    """Write hyperparameters into a file."""
    save_yaml(_as_dict(hparams), config_yaml)


def load_hparams_from_tags_csv(tags_csv: files.AnyPath) -> dict[str, Any]:
    """Hyperparameters from a table of names and values; none where it is missing."""
    return read_hparams(tags_csv) if files.exists(tags_csv) else {}


def save_hparams_to_tags_csv(tags_csv: files.AnyPath, hparams: Any) -> None:
    """Write a table of names and values."""
    with files.open_file(tags_csv, "w") as file:
        csv.writer(file).writerows([("key", "value"), *_as_dict(hparams).items()])


def _as_dict(hparams: Any) -> dict[str, Any]:
    return vars(hparams) if isinstance(hparams, Namespace) else dict(hparams)
