"""The constructors of callbacks, datamodules and profilers, as other versions had them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from fulmen.base.seams import Arguments
from fulmen.compat.lightning import versions
from fulmen.compat.lightning.arguments import UNNAMED
from fulmen.compat.lightning.datamodules import set_up_once
from fulmen.compat.lightning.hooks import CALLBACK, GONE
from fulmen.compat.lightning.versions import Spelling
from fulmen.compat.spelling import say_modern

Given = dict[str, Any]


def _named(arguments: Arguments, *names: str) -> Given:
    """All that was given by name; what came by position has these names."""
    if len(arguments.positional) > len(names):
        raise TypeError(f"takes {len(names)} arguments by position, got {len(arguments.positional)}")
    return {**dict(zip(names, arguments.positional, strict=False)), **arguments.keywords}


OLD: dict[str, tuple[Spelling, ...]] = {
    "ModelCheckpoint": (
        Spelling("filepath=", last="1.1", modern="dirpath= and filename="),
        Spelling("prefix=", last="1.2", modern="filename="),
        Spelling("period=", last="1.4", modern="every_n_epochs="),
        Spelling("every_n_val_epochs=", "1.3", "1.5", "every_n_epochs="),
        Spelling("mode='auto'", last="1.2", modern="mode='min' or mode='max'"),
        Spelling("save_top_k=None", last="1.3", modern="save_top_k=1"),
    ),
    "EarlyStopping": (
        Spelling("monitor=None", last="1.5", modern="monitor='val_loss'"),
        Spelling("mode='auto'", last="1.2", modern="mode='min' or mode='max'"),
    ),
    "StochasticWeightAveraging": (Spelling("swa_lrs=None", "1.2", "1.6", "swa_lrs=0.01"),),
    "BackboneFinetuning": (Spelling("round=", "1.2", "1.2", "rounding="),),
}
"""By class: the arguments, and values of them, that are gone."""


def _used(name: str, given: Given) -> list[Spelling]:
    """Which of them are given; each is said."""
    found = [
        spelling
        for spelling in OLD[name]
        if (argument := spelling.name.partition("=")[0]) in given
        and spelling.name in (f"{argument}=", f"{argument}={given[argument]!r}")
    ]
    for spelling in found:
        value = "..." if spelling.name.endswith("=") else ""
        say_modern(f"{name}({spelling.name}{value})", spelling.modern)
    return found


def _remembering(found: list[Spelling]) -> Callable[[Any], None] | None:
    """What an object was made with tells as which version it is run."""
    return (lambda made: vars(made).update(old_spellings=found)) if found else None


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
    found = _used("ModelCheckpoint", given)
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
        given["save_top_k"] = 1
    return Arguments((), given, _remembering(found))


def name_of_checkpoint(given: Given) -> Given | None:
    """What `format_checkpoint_name` was given in 1.0, (epoch, metrics, ver), and till 1.2, as it is today."""
    values = list(given.values())
    place = next((place for place, value in enumerate(values[:3]) if isinstance(value, Mapping)), None)
    if place is None:
        return None
    say_modern("format_checkpoint_name(epoch, step, metrics)", "format_checkpoint_name({'epoch': ..., ...})")
    numbers = dict(zip(("epoch", "step"), values[:place], strict=False))
    return {"metrics": {**values[place], **numbers}, "ver": values[place + 1]}


def _is_score(monitor: Any, named_so: bool) -> bool:
    """Whether larger was better by the name, with `mode="auto"`."""
    return named_so or str(monitor).startswith("fmeasure")


def _early_stopping(arguments: Arguments) -> Arguments:
    """No monitor, and `mode="auto"`."""
    given = _named(
        arguments, "monitor", "min_delta", "patience", "verbose", "mode", "strict", "check_finite",
        "stopping_threshold", "divergence_threshold", "check_on_train_epoch_end", "log_rank_zero_only",
    )  # fmt: skip
    given.setdefault("monitor", None)
    found = _used("EarlyStopping", given)
    if given["monitor"] is None:
        given["monitor"] = UNNAMED
    if given.get("mode") == "auto":
        given["mode"] = "max" if _is_score(given["monitor"], given["monitor"] == "acc") else "min"
    return Arguments((), given, _remembering(found))


def _weight_averaging(arguments: Arguments) -> Arguments:
    """No learning rate, and the epoch before it."""
    first = ("swa_lrs", "swa_epoch_start")
    if versions.is_between(versions.declared() or versions.NEWEST, "1.2", "1.6"):
        first = ("swa_epoch_start", "swa_lrs")
    given = _named(
        arguments, *first, "annealing_epochs", "annealing_strategy", "avg_fn", "device",
    )  # fmt: skip
    given.setdefault("swa_lrs", None)
    return Arguments((), given, _remembering(_used("StochasticWeightAveraging", given)))


def _backbone_finetuning(arguments: Arguments) -> Arguments:
    """`round`."""
    given = dict(arguments.keywords)
    found = _used("BackboneFinetuning", given)
    if found:
        given["rounding"] = given.pop("round")
    return Arguments(arguments.positional, given, _remembering(found))


TRANSFORMS = ("train_transforms", "val_transforms", "test_transforms", "dims")


def _datamodule(arguments: Arguments) -> Arguments:
    """`train_transforms`, `val_transforms`, `test_transforms` and `dims`, kept as attributes."""
    own = {name: arguments.keywords[name] for name in TRANSFORMS if name in arguments.keywords}
    if own:
        say_modern(f"LightningDataModule({', '.join(own)})", "attributes of your own")
    rest = {name: value for name, value in arguments.keywords.items() if name not in own}

    def keep(data: Any) -> None:
        vars(data).update(own)
        set_up_once(data)

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
    "StochasticWeightAveraging": _weight_averaging,
    "BackboneFinetuning": _backbone_finetuning,
    "LambdaCallback": _lambda_callback,
    "SimpleProfiler": _profiler,
    "AdvancedProfiler": _profiler,
}
"""By class: what of its arguments is put otherwise."""
