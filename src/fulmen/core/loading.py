"""Making a module or datamodule again from a checkpoint."""

from __future__ import annotations

import ast
import csv
import json
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fulmen.base import extras, files
from fulmen.base.safe_load import demand_restored, load_tensors, unrestored_class
from fulmen.base.seams import outer
from fulmen.core.containers import restored
from fulmen.core.hparams import HyperparametersMixin, arguments_from
from fulmen.errors import CheckpointError, ConfigError, UsageError


class CalledOnInstanceError(UsageError, TypeError):
    """A method of the class was called on an object."""


class classmethod_only:
    """A class method that says so when it is called on an instance, whose state it would not touch."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method
        self.__doc__ = method.__doc__

    def __get__(self, instance: Any, owner: type) -> Callable[..., Any]:
        if instance is None:
            return self.method.__get__(owner, type(owner))
        name = self.method.__name__

        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise CalledOnInstanceError(
                f"`{name}` makes a new object and was called on an instance.",
                fix=f"model = {owner.__name__}.{name}(path)",
            )

        return refuse


def read_checkpoint(path: files.AnyPath, *, map_location: Any, weights_only: bool | None) -> dict[str, Any]:
    """A checkpoint as a dict; raises `CheckpointError` where the file holds something else."""
    content = load_tensors(path, map_location=map_location, weights_only=weights_only is not False)
    if not isinstance(content, dict) or unrestored_class(content):
        raise CheckpointError(
            "The file is not a checkpoint.", received=f"{path} holds a {type(content).__name__}"
        )
    content = outer().migrate(content, path)
    demand_plain_parts(content, path)
    return content


_HPARAMS_KEYS = ("hyper_parameters", "datamodule_hyper_parameters", "hparams_type", "datamodule_hparams_type")


def demand_plain_parts(checkpoint: dict[str, Any], path: files.AnyPath) -> None:
    """Raise an error for what could not be restored, except among hyperparameters.

    Those are needed only where a module is made with them, which looks at them itself.
    """
    for part, content in checkpoint.items():
        if part not in _HPARAMS_KEYS:
            demand_restored(content, path=path, part=str(part))
    _demand_dict(checkpoint.get("state_dict", {}), str, path=path, part="state_dict")


def _demand_dict(content: Any, keys: type, *, path: files.AnyPath, part: str) -> None:
    if not isinstance(content, Mapping):
        demand_restored(content, path=path, part=part)
    if not isinstance(content, Mapping) or not all(isinstance(key, keys) for key in content):
        raise CheckpointError(
            f"The part {part!r} of the checkpoint {path} is of another shape.",
            received=f"a {type(content).__name__}",
            expected="a dict with names for keys",
        )


def make_again(
    cls: type,
    owner: type[HyperparametersMixin],
    path: files.AnyPath,
    checkpoint: dict[str, Any],
    hparams_file: files.AnyPath | None,
    overrides: dict[str, Any],
) -> Any:
    """Call `cls` with the hyperparameters of the checkpoint or of a file, and with `overrides`, which win."""
    if hparams_file is not None:
        checkpoint[owner.CHECKPOINT_HYPER_PARAMS_KEY] = read_hparams(hparams_file)
    part = owner.CHECKPOINT_HYPER_PARAMS_KEY
    if part in checkpoint:
        found = restored(checkpoint[part])
        checkpoint[part] = vars(found) if isinstance(found, Namespace) else found
    _demand_dict(checkpoint.get(part) or {}, object, path=path, part=part)
    arguments = arguments_from(cls, checkpoint, owner, overrides)
    demand_restored(arguments, path=path, part=part)
    try:
        return cls(**arguments)
    except TypeError as error:
        if checkpoint.get(owner.CHECKPOINT_HYPER_PARAMS_KEY):
            raise
        raise CheckpointError(
            f"{cls.__name__} could not be made: the checkpoint holds no hyperparameters.",
            received=error,
            fix="pass them to load_from_checkpoint, or call self.save_hyperparameters() in "
            f"{cls.__name__}.__init__",
        ) from error


def read_hparams(path: files.AnyPath) -> dict[str, Any]:
    """Hyperparameters from a `.yaml` file, or from a `.csv` of names and values."""
    if not files.exists(path):
        raise CheckpointError("There is no such hyperparameter file.", received=path)
    suffix = Path(str(path)).suffix
    with files.open_file(path) as file:
        if suffix == ".csv":
            rows = list(csv.reader(file))[1:]
            return {key: _value(text) for key, text in rows}
        if suffix in (".yaml", ".yml"):
            text = file.read()
            try:
                return json.loads(text)  # JSON is YAML, and needs no package
            except json.JSONDecodeError:
                yaml: Any = extras.require("yaml", extra="yaml")
                return yaml.safe_load(text) or {}
    raise ConfigError(
        "The hyperparameter file is of an unknown kind.", received=path, expected=".yaml, .yml or .csv"
    )


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
