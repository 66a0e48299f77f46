"""Names of checkpoints: templates such as `{epoch}-{val_loss:.2f}`, filled in with what was logged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fulmen.base.report import warn_once
from fulmen.errors import ConfigError, did_you_mean

_FIELD = re.compile(r"\{([^{}:]+)(?::([^{}]*))?\}")


def check_template(template: str) -> None:
    """Raise `ConfigError` unless every brace belongs to a field."""
    rest = _FIELD.sub("", template)
    if "{" in rest or "}" in rest:
        raise ConfigError(
            "The name of the checkpoint file cannot be read.",
            received=repr(template),
            expected="fields like {epoch} or {val_loss:.2f}",
        )


def fill_template(template: str, values: Mapping[str, Any], *, equals: str | None = None) -> str:
    """The template with every field replaced by its value, after the field's name where `equals` is given.

    A name that has no value yet counts as 0: a file may be due before the first validation.
    """

    def fill(field: re.Match[str]) -> str:
        name, spec = field.group(1), field.group(2) or ""
        if name not in values:
            near = did_you_mean(name, values)
            hint = f"; {near}" if near else "."
            warn_once(f"The checkpoint's file name shows 0 for {name!r}, which was not logged{hint}")
        value = values.get(name, 0)
        try:
            text = format(value.item() if isinstance(value, Tensor) else value, spec)
        except ValueError as error:
            raise ConfigError(
                f"A field in the name of the checkpoint file does not fit the value of {name!r}.",
                received=f"{field.group()} for {value}",
                expected=f"a format for {type(value).__name__}: {error}",
            ) from error
        return text if equals is None else f"{name}{equals}{text}"

    return _FIELD.sub(fill, template)
