"""The constructors of callbacks, datamodules and profilers, as other versions had them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from fulmen.base.seams import Arguments
from fulmen.compat.lightning import versions
from fulmen.compat.lightning.arguments import UNNAMED
from fulmen.compat.lightning.hooks import CALLBACK, GONE
from fulmen.compat.spelling import say_modern

Given = dict[str, Any]


def _named(arguments: Arguments, *names: str) -> Given:
    """All that was given by name; what came by position has these names."""
    if len(arguments.positional) > len(names):
        raise TypeError(f"takes {len(names)} arguments by position, got {len(arguments.positional)}")
    return {**dict(zip(names, arguments.positional, strict=False)), **arguments.keywords}


def _is_template(path: Any) -> bool:
    return isinstance(path, (str, os.PathLike)) and "{" in str(path)


def _model_checkpoint(arguments: Arguments) -> Arguments:
    """`filepath`, `prefix`, `period`, `mode="auto"` and `save_top_k=None`."""
    declared = versions.declared()
    by_filepath = declared in ("1.0", "1.1") if declared else _is_template((*arguments.positional, "")[0])
    first = (
        "filepath", "monitor", "verbose", "save_last", "save_top_k", "save_weights_only", "mode", "period",
        "prefix",
    )  # fmt: skip
    if arguments.positional and not by_filepath:
        modern = ("dirpath", "filename", "monitor", "verbose", "save_last", "save_top_k")
        given = _named(arguments, *modern) if len(arguments.positional) <= len(modern) else None
        if given is None:
            return arguments
    else:
        given = _named(arguments, *first)
    old = given.keys() & {"filepath", "prefix", "period", "every_n_val_epochs"}
    for name in sorted(old):
        say_modern(f"ModelCheckpoint({name}=...)", {
            "filepath": "dirpath= and filename=", "prefix": "filename=", "period": "every_n_epochs=",
            "every_n_val_epochs": "every_n_epochs=",
        }[name])  # fmt: skip
    filepath, prefix = given.pop("filepath", None), given.pop("prefix", "")
    if filepath:
        folder, name = (filepath, None) if os.path.isdir(filepath) else os.path.split(filepath)
        given.setdefault("dirpath", folder or ".")
        if name:
            given.setdefault("filename", name)
    if prefix:
        given["filename"] = f"{prefix}-{given.get('filename') or '{epoch}-{step}'}"
    for name in ("period", "every_n_val_epochs"):
        if name in given:
            given.setdefault("every_n_epochs", given.pop(name))
    monitor = given.get("monitor")
    if given.get("mode") == "auto":
        given["mode"] = "max" if _is_score(monitor, "acc" in str(monitor)) else "min"
    if "save_top_k" in given and given["save_top_k"] is None:
        say_modern("save_top_k=None", "save_top_k=1")
        given["save_top_k"] = 1
    return Arguments((), given)


def _is_score(monitor: Any, named_so: bool) -> bool:
    """Whether larger was better by the name, with `mode="auto"`."""
    say_modern('mode="auto"', 'mode="min" or mode="max"')
    return named_so or str(monitor).startswith("fmeasure")


def _early_stopping(arguments: Arguments) -> Arguments:
    """No monitor, and `mode="auto"`."""
    given = _named(
        arguments, "monitor", "min_delta", "patience", "verbose", "mode", "strict", "check_finite",
        "stopping_threshold", "divergence_threshold", "check_on_train_epoch_end", "log_rank_zero_only",
    )  # fmt: skip
    if given.get("monitor") is None:
        say_modern("EarlyStopping() without a name", "EarlyStopping(monitor='val_loss')")
        given["monitor"] = UNNAMED
    if given.get("mode") == "auto":
        given["mode"] = "max" if _is_score(given["monitor"], given["monitor"] == "acc") else "min"
    return Arguments((), given)


TRANSFORMS = ("train_transforms", "val_transforms", "test_transforms", "dims")


def _datamodule(arguments: Arguments) -> Arguments:
    """`train_transforms`, `val_transforms`, `test_transforms` and `dims`, kept as attributes."""
    own = {name: arguments.keywords[name] for name in TRANSFORMS if name in arguments.keywords}
    if not own:
        return arguments
    say_modern(f"LightningDataModule({', '.join(own)})", "attributes of your own")
    rest = {name: value for name, value in arguments.keywords.items() if name not in own}

    def keep(data: Any) -> None:
        vars(data).update(own)

    return Arguments(arguments.positional, rest, keep)


def _profiler(arguments: Arguments) -> Arguments:
    """`output_filename`, a path."""
    path = arguments.keywords.get("output_filename")
    if "output_filename" not in arguments.keywords:
        return arguments
    say_modern("output_filename= of a profiler", "dirpath= and filename=")
    rest = {name: value for name, value in arguments.keywords.items() if name != "output_filename"}
    if path:
        folder, name = os.path.split(path)
        rest |= {"dirpath": folder or ".", "filename": os.path.splitext(name)[0]}
    return Arguments(arguments.positional, rest)


def _lambda_callback(arguments: Arguments) -> Arguments:
    """Hooks that are gone."""
    gone = {hook.name for hook in GONE if CALLBACK in hook.owners}
    own = {name: call for name, call in arguments.keywords.items() if name in gone and call is not None}
    rest = {name: call for name, call in arguments.keywords.items() if name not in gone}

    def keep(callback: Any) -> None:
        vars(callback).update(own)

    return Arguments(arguments.positional, rest, keep)


CONSTRUCTORS: dict[str, Callable[[Arguments], Arguments]] = {
    "ModelCheckpoint": _model_checkpoint,
    "EarlyStopping": _early_stopping,
    "LightningDataModule": _datamodule,
    "LambdaCallback": _lambda_callback,
    "SimpleProfiler": _profiler,
    "AdvancedProfiler": _profiler,
}
"""By class: what of its arguments is put otherwise."""
