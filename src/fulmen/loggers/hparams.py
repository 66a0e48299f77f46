"""Hyperparameters as loggers show them: plain values, flat names, YAML."""

from __future__ import annotations

import math
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from numbers import Integral, Real
from types import BuiltinFunctionType, FunctionType
from typing import Any

from torch import Tensor

from fulmen.base import files

Scalar = bool | int | float | str | None


def plain(value: Any) -> Any:
    """`value` in dicts with text as keys, lists, numbers, strings, booleans, None; all else becomes text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # the text of a string that is an enum member as well
    if isinstance(value, Enum) and not isinstance(value, Integral):
        return value.name
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.item()
    if isinstance(value, Namespace):
        return plain(vars(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
        return f"{value.__module__}.{value.__qualname__}"  # str() shows an address, another one in each run
    return str(value)


def flatten(params: Mapping[str, Any], *, separator: str = "/") -> dict[str, bool | int | float | str]:
    """Plain hyperparameters with nested names joined: `{"optimizer/lr": 0.1}`; lists and None become text."""
    return {
        name: value if isinstance(value, (bool, int, float, str)) else str(value)
        for name, value in _flat_items(params, separator)
    }


def _flat_items(params: Mapping[str, Any], separator: str) -> Iterator[tuple[str, Any]]:
    for key, value in params.items():
        if isinstance(value, dict):
            yield from ((f"{key}{separator}{name}", item) for name, item in _flat_items(value, separator))
        else:
            yield key, value


def save_yaml(params: Mapping[str, Any], path: files.AnyPath) -> None:
    """Write plain hyperparameters as YAML."""
    files.write_whole(path, lambda file: file.write(to_yaml(params).encode()))


def to_yaml(params: Mapping[str, Any]) -> str:
    """Plain hyperparameters as YAML (1.1 and 1.2 read it alike): dicts as blocks, lists on one line."""
    return "\n".join(_block(params, "")) + "\n" if params else "{}\n"


def _block(params: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in params.items():
        if isinstance(value, dict) and value:
            yield f"{indent}{_scalar(key)}:"
            yield from _block(value, indent + "  ")
        else:
            yield f"{indent}{_scalar(key)}: {_flow(value)}"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


_UNQUOTED = re.compile(r"[A-Za-z_/][\w./-]*( [\w./-]+)*", re.ASCII)
_NOT_STRINGS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _scalar(value: Scalar) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float(value)
    if _UNQUOTED.fullmatch(value) and value.lower() not in _NOT_STRINGS:
        return value
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(c: str) -> str:
    return _ESCAPES.get(c) or (c if c.isprintable() else f"\\U{ord(c):08x}")


def _float(value: float) -> str:
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    mantissa, e, exponent = repr(value).partition("e")
    point = ".0" if e and "." not in mantissa else ""  # 1e-07 is a string in YAML 1.1
    return mantissa + point + e + exponent
