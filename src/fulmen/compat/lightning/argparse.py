"""Command-line options from the arguments of a Trainer or a datamodule, as up to 1.9."""

from __future__ import annotations

import inspect
from argparse import ArgumentParser, Namespace, _ArgumentGroup
from collections.abc import Iterator
from typing import Any

from fulmen.base import environ
from fulmen.compat.lightning.arguments import OF_TRAINER
from fulmen.compat.spelling import say_modern

FLAGS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def add_argparse_args(cls: type, parent_parser: ArgumentParser, **options: Any) -> ArgumentParser:
    """A parser with an option for each argument of `cls.__init__`, added to those of `parent_parser`.

    With `use_argument_group=False`, the options stand among the parent's own.
    """
    if isinstance(parent_parser, _ArgumentGroup):
        raise RuntimeError("Pass the parser itself, not one of its groups.")
    say_modern(f"{cls.__name__}.add_argparse_args(parser)", "LightningCLI, or options of your own")
    in_group = options.pop("use_argument_group", True)
    own = not parent_parser.add_help
    parser = ArgumentParser(parents=[parent_parser], add_help=False) if not in_group or own else parent_parser
    group: Any = parser.add_argument_group(f"{cls.__module__}.{cls.__qualname__}") if in_group else parser
    taken = {action.dest for action in parent_parser._actions}
    for name, default, annotation in _options(cls):
        if name not in taken:
            _add(group, name, default, annotation)
    return parser


def _add(group: Any, name: str, default: Any, annotation: str) -> None:
    kinds = {kind.strip() for kind in annotation.replace("typing.", "").split("|")}
    if "bool" in kinds and not isinstance(default, str):  # may stand alone, for True
        read: Any = _flag if kinds <= {"bool", "None"} else _read
        group.add_argument(f"--{name}", dest=name, default=default, nargs="?", const=True, type=read)
    else:
        group.add_argument(f"--{name}", dest=name, default=default, type=_read)


def _options(cls: type) -> Iterator[tuple[str, Any, str]]:
    """Name, default and annotation of each argument, old ones of the Trainer included."""
    for parameter in inspect.signature(inspect.unwrap(cls.__init__)).parameters.values():
        if parameter.name != "self" and parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY
        ):  # fmt: skip
            default = None if parameter.default is parameter.empty else parameter.default
            given = parameter.annotation
            yield parameter.name, default, given.__name__ if isinstance(given, type) else str(given)
    if any(base.__name__ == "Trainer" for base in cls.__mro__):
        for argument in OF_TRAINER:
            yield argument.name, None, "Any"


def _flag(text: str) -> bool:
    if text.lower() not in FLAGS:
        raise ValueError(text)
    return FLAGS[text.lower()]


def _read(text: str) -> Any:
    """The number, the flag or the None that a text stands for; else the text."""
    if text.lower() in ("none", "null"):
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return FLAGS.get(text.lower(), text)


def from_argparse_args(cls: type, args: Namespace | ArgumentParser, **kwargs: Any) -> Any:
    """An object made with those entries of `args` that `cls` takes; `kwargs` win."""
    say_modern(f"{cls.__name__}.from_argparse_args(args)", f"{cls.__name__}(max_epochs=args.max_epochs, ...)")
    if isinstance(args, ArgumentParser):
        args = parse_argparser(cls, args)
    given = vars(args)
    defaults = {name: default for name, default, _ in _options(cls)}
    chosen = {name: given[name] for name in defaults if name in given}
    # Options that nobody gave are left out: an old one would be understood as if it had been asked for.
    told = {name: value for name, value in chosen.items() if value is not defaults[name]
            and value != defaults[name]}  # fmt: skip
    return cls(**{**told, **kwargs})


def parse_argparser(cls: type, arg_parser: ArgumentParser | Namespace) -> Namespace:
    """The arguments of this process, with True for options that stand alone."""
    return arg_parser.parse_args() if isinstance(arg_parser, ArgumentParser) else arg_parser


def match_env_arguments(cls: type) -> Namespace:
    """What `PL_<CLASS>_<NAME>` variables say of the arguments of `cls`."""
    given = environ.read_prefixed(f"PL_{cls.__name__.upper()}_")
    return Namespace(
        **{name: _read(given[name.upper()]) for name, *_ in _options(cls) if name.upper() in given}
    )
