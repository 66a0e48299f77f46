"""What the metrics of texts are given, brought into one form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fulmen.errors import UsageError

Texts = str | Sequence[str]
References = str | Sequence[str] | Sequence[Sequence[str]]


def paired(preds: Texts, target: Texts) -> list[tuple[str, str]]:
    """Each text with the one that was wanted."""
    said, wanted = _listed(preds), _listed(target)
    _check(said, wanted, wanted)
    return list(zip(said, wanted, strict=True))


def with_references(preds: Texts, target: References) -> list[tuple[str, Sequence[str]]]:
    """Each text with those that it may be like. Of a single text, a list of texts are its references."""
    said, wanted = _listed(preds), _listed(target)
    if isinstance(preds, str) and all(isinstance(text, str) for text in wanted):
        wanted = [wanted]
    wanted = [_listed(references) for references in wanted]
    _check(said, wanted, [text for references in wanted for text in references])
    for place, references in enumerate(wanted):
        if not references:
            raise UsageError(
                "A text has no reference.", received=f"target[{place}] = []", expected="one or more"
            )
    return list(zip(said, wanted, strict=True))


def _listed(texts: Any) -> list[Any]:
    return [texts] if isinstance(texts, str) or not isinstance(texts, Iterable) else list(texts)


def _check(said: list[Any], wanted: list[Any], all_wanted: list[Any]) -> None:
    for name, texts in (("preds", said), ("target", all_wanted)):
        for text in texts:
            if not isinstance(text, str):
                raise UsageError(
                    "A metric of texts was given something else.",
                    received=f"{type(text).__name__} in {name}",
                    expected="str",
                )
    if len(said) != len(wanted):
        raise UsageError(
            "There must be something to compare each text with.",
            received=f"{len(said)} in preds, {len(wanted)} in target",
            expected="as many of both",
        )
