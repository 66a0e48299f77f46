"""A report on a checkpoint, for people."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator
from typing import Any


def show(found: dict[str, Any]) -> str:
    """A report as text, as wide as the terminal is but no more than 110 columns."""
    width = min(110, max(60, shutil.get_terminal_size((100, 24)).columns))
    lines = [found["path"]]
    for name, text in _summary(found):
        lines += textwrap.wrap(f"{name:15}{text}", width, initial_indent="  ", subsequent_indent=" " * 17)
    if found["intact"]:
        lines += ["", "parts"]
        for name, part in sorted(found["parts"].items(), key=lambda item: -item[1]["bytes"]):
            tensors = f"{_count(part['elements'], 'value')} in {_count(part['tensors'], 'tensor')}, "
            what = tensors + ", ".join(part["dtypes"]) if part["tensors"] else ""
            lines += [f"  {name:14} {size_in_words(part['bytes']):>10}  {what}"[:width].rstrip()]
        for title in ("hyperparameters", "callbacks"):
            lines += ["", title] * bool(found[title])
            lines += [line[:width] for name, value in found[title].items() for line in _entry(name, value)]
    return "\n".join(map(readable, lines))


def _summary(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if not found["intact"]:
        yield "intact", f"NO: {found['problem']}"
        return
    by = {"manifest": "by its manifest", "records": "by the checksums of its records"}
    checked = by.get(found["checked_by"])
    yield "intact", f"yes, {checked}" if checked else f"? {found['problem']}"
    yield "size", size_in_words(found["bytes"])
    yield "epoch", "-" if found["epoch"] is None else str(found["epoch"])
    yield "global step", "-" if found["global_step"] is None else str(found["global_step"])
    yield "saved", found["saved"] or "where in a run is not recorded"
    answers = {True: "exactly, bit for bit", False: "NOT exactly", None: "whether exactly is not recorded"}
    reasons = ": " + "; ".join(found["reasons"]) if found["reasons"] else ""
    yield "resumes", answers[found["resumable"]] + reasons
    yield "versions", ", ".join(f"{name} {version}" for name, version in found["versions"].items()) or "-"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _entry(name: str, value: Any) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"  {name:15}{value}"
        return
    yield f"  {name}"
    for inner, entry in value.items():
        yield f"      {inner:24} {entry}"


def readable(line: str) -> str:
    """Without what a file could make a terminal do."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line
    )


def size_in_words(count: float) -> str:
    """A number of bytes as people say it."""
    units = iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while count >= 999.5 and unit != "TB":
        count, unit = count / 1000, next(units)
    return f"{count:.3g} {unit}"
