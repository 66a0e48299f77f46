"""Distances and common subsequences, against rapidfuzz and the plain dynamic program."""

from __future__ import annotations

import random

import pytest
from rapidfuzz.distance import LCSseq, Levenshtein

from fulmen.metrics.text.alignment import common_length, common_places, edit_distance

TEXTS = [
    "",
    "a",
    "b",
    "ab",
    "ba",
    "kitten",
    "sitting",
    "aaaa",
    "aaaaaaaa",
    "abcabcabc",
    "cbacba",
    "x" * 200 + "y" * 70,
]


def random_pairs(letters: str, length: int) -> list[tuple[str, str]]:
    draw = random.Random(len(letters) * length)
    return [
        ("".join(draw.choices(letters, k=draw.randint(0, length))), "".join(draw.choices(letters, k=length)))
        for _ in range(200)
    ]


PAIRS = [
    *((one, other) for one in TEXTS for other in TEXTS),
    *random_pairs("ab", 9),
    *random_pairs("abcd", 150),
    *random_pairs("abcdefghijklmnopqrstuvwxyz", 40),
]


def test_distances() -> None:
    for one, other in PAIRS:
        assert edit_distance(one, other) == Levenshtein.distance(one, other), (one, other)


def test_lengths_of_common_subsequences() -> None:
    for one, other in PAIRS:
        assert common_length(one, other) == LCSseq.similarity(one, other), (one, other)


def test_places_are_those_of_a_longest_common_subsequence() -> None:
    for one, other in PAIRS:
        places = sorted(common_places(one, other))
        assert len(places) == common_length(one, other)
        rest = iter(other)
        assert all(one[place] in rest for place in places)  # in this order


@pytest.mark.parametrize(("one", "other"), random_pairs("abc", 8)[:60])
def test_of_several_it_is_what_one_walks_into_from_the_end(one: str, other: str) -> None:
    """By the plain table: to the left where the common part would get shorter otherwise."""
    table = [
        [LCSseq.similarity(one[:i], other[:j]) for j in range(len(other) + 1)] for i in range(len(one) + 1)
    ]
    i, j, expected = len(one), len(other), set()
    while i and j:
        if one[i - 1] == other[j - 1]:
            i, j = i - 1, j - 1
            expected.add(i)
        elif table[i][j - 1] > table[i - 1][j]:
            j -= 1
        else:
            i -= 1
    assert common_places(one, other) == expected


def test_units_are_whatever_can_be_compared() -> None:
    assert edit_distance(["the", "cat"], ("the", "dog", "cat")) == 1
    assert edit_distance([1, 2, 3], [3, 2, 1]) == 2
    assert common_places(["a", "b", "a"], ["b", "a"]) == {1, 2}
