"""How far two sequences are apart, and what they have in common, many steps of the table at once.

The column of the dynamic program is kept as bits of integers: G. Myers, J. ACM 46 (1999), in the form of
H. Hyyrö, Nordic J. Computing 10 (2003) for the distance and IPL 92 (2004) for the common subsequence.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

Units = Sequence[Hashable]


def edit_distance(one: Units, other: Units) -> int:
    """The least number of insertions, deletions and substitutions that turn one sequence into the other."""
    column, row = (one, other) if len(one) > len(other) else (other, one)
    places = _places(column)
    full = (1 << len(column)) - 1
    rises, falls = full, 0  # where the distance grows or shrinks from one entry of the column to the next
    for unit in row:
        equal = places.get(unit, 0)
        diagonal = (((equal & rises) + rises) ^ rises) | equal | falls
        grown = (falls | ~(diagonal | rises)) << 1 | 1
        rises, falls = (((diagonal & rises) << 1) | ~(diagonal | grown)) & full, grown & diagonal & full
    return len(row) + rises.bit_count() - falls.bit_count()


def common_length(one: Units, other: Units) -> int:
    """The length of the longest common subsequence."""
    column, row = (one, other) if len(one) > len(other) else (other, one)
    columns = _common_columns(column, row)
    return len(column) - columns[-1].bit_count() if columns else 0


def common_places(sequence: Units, other: Units) -> set[int]:
    """The places in `sequence` of a longest common subsequence; of several, the one rouge_score takes."""
    columns = _common_columns(sequence, other)
    places: set[int] = set()
    i, j = len(sequence) - 1, len(other) - 1
    while i >= 0 and j >= 0:
        if sequence[i] == other[j]:
            places.add(i)
            i, j = i - 1, j - 1
        elif columns[j] >> i & 1:
            i -= 1
        else:  # what is common so far got longer here
            j -= 1
    return places


def _common_columns(column: Units, row: Units) -> list[int]:
    """After each unit of `row`, a column whose bits are 0 where the common subsequence gets longer."""
    places = _places(column)
    full = state = (1 << len(column)) - 1
    columns: list[int] = []
    for unit in row:
        met = state & places.get(unit, 0)
        state = ((state + met) | (state - met)) & full
        columns.append(state)
    return columns


def _places(units: Units) -> dict[Hashable, int]:
    """Where each unit stands, as bits."""
    places: dict[Hashable, int] = {}
    bit = 1
    for unit in units:
        places[unit] = places.get(unit, 0) | bit
        bit <<= 1
    return places
