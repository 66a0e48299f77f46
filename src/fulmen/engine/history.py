"""Every scalar that a run logged, in a few bytes each."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping


class History:
    """Rows of (step, name, value); `pandas.DataFrame(history)` makes a table of it."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._steps, self._ids, self._values = array("q"), array("l"), array("d")

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """Add the values of one step."""
        for name, value in values.items():
            self._steps.append(step)
            self._ids.append(self._names.setdefault(name, len(self._names)))
            self._values.append(value)

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[dict[str, int | str | float]]:
        names = list(self._names)
        for step, index, value in zip(self._steps, self._ids, self._values, strict=True):
            yield {"step": step, "name": names[index], "value": value}

    def __getitem__(self, name: str) -> list[tuple[int, float]]:
        """(step, value) pairs of one name."""
        index = self._names[name]
        rows = zip(self._steps, self._ids, self._values, strict=True)
        return [(step, value) for step, row, value in rows if row == index]

    @property
    def names(self) -> list[str]:
        """Everything that was logged, in order of first appearance."""
        return list(self._names)

    def __repr__(self) -> str:
        return f"<History of {len(self)} values: {', '.join(self._names)}>"
