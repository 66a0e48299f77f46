"""Hyperparameters become plain values, flat names, and YAML that other readers understand."""

from __future__ import annotations

import math
from argparse import Namespace
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from fulmen.loggers.hparams import flatten, plain, save_yaml, to_yaml


class Mode(Enum):
    FAST = 1


class Named(str, Enum):
    ADAM = "adam"


class Level(IntEnum):
    HIGH = 3


@dataclass
class Optimizer:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    extra: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (0.5, 0.5),
        ("text", "text"),
        (Namespace(a=Namespace(b=1)), {"a": {"b": 1}}),
        (OrderedDict(a=1), {"a": 1}),
        ({1: "one"}, {"1": "one"}),
        (Optimizer(), {"lr": 0.1, "betas": [0.9, 0.99], "extra": {}}),
        ((1, [2, {"a": 3}]), [1, [2, {"a": 3}]]),
        ({7}, [7]),
        (Mode.FAST, "FAST"),
        (Named.ADAM, "adam"),
        (Level.HIGH, 3),
        (torch.tensor(2.5), 2.5),
        (torch.tensor([2]), 2),
        (np.float32(0.5), 0.5),
        (np.int64(4), 4),
        (Path("a/b"), "a/b"),
        (torch.nn.ReLU, "torch.nn.modules.activation.ReLU"),
        (len, "builtins.len"),
        (torch.float16, "torch.float16"),
        (torch.device("cpu"), "cpu"),
    ],
)
def test_every_value_becomes_a_plain_one(value: Any, expected: Any) -> None:
    got = plain(value)

    assert got == expected
    assert type(got) is type(expected)


def test_nested_names_are_joined_and_what_is_no_number_becomes_text() -> None:
    params = plain({"a": 1, "b": {"c": {"d": "x"}, "e": True}, "f": [1, 2], "g": None, "h": {}})

    assert flatten(params) == {"a": 1, "b/c/d": "x", "b/e": True, "f": "[1, 2]", "g": "None"}


HARD_STRINGS = [
    *(
        "",
        " ",
        "a",
        "a b",
        " a",
        "a ",
        "a: b",
        "a #b",
        "#",
        "-",
        "- a",
        "---",
        "...",
        "[a]",
        "{a}",
        "'a'",
        '"a"',
        "a,b",
    ),
    *(
        "null",
        "Null",
        "~",
        "true",
        "True",
        "yes",
        "NO",
        "on",
        "off",
        "y",
        "N",
        ".nan",
        ".inf",
        "nan",
        "inf",
        "=",
    ),
    *(
        "1",
        "1.0",
        "1e5",
        "0x1F",
        "0o7",
        "1_000",
        "12:30:00",
        "2020-01-01",
        "+1",
        ".5",
        "<<",
        "*a",
        "&a",
        "!a",
        "%a",
    ),
    *(
        "a\nb",
        "a\tb",
        "\r",
        "\\",
        "\\n",
        "@a",
        "`a`",
        "|",
        ">",
        "?",
        "? a",
        "/usr/lib",
        "C:\\x",
        "lr=0.1",
        "ünï",
        "😀",
    ),
    *("\x00", "\x7f", "\x85", "\u2028", "\ufeff", "a" * 500, "runs/2020-01-01", "_", "__init__", "a.b-c_d/e"),
]
NUMBERS = [0, -1, 10**20, 0.1, -0.0, 1e-7, 1e16, 1.5e300, 5e-324, math.inf, -math.inf, 1 / 3]


@pytest.mark.parametrize("loader", [yaml.SafeLoader, yaml.BaseLoader])
def test_yaml_is_read_back_by_another_reader(loader: Any) -> None:
    values = {text: text for text in HARD_STRINGS}
    params = {
        "strings": values,
        "in a list": HARD_STRINGS,
        "deep": {"er": {"list": [[], {}, {"a": [{"b": "c: d"}]}]}},
    }

    assert yaml.load(to_yaml(params), loader) == params


def test_yaml_keeps_the_types_of_numbers() -> None:
    params = {
        "list": NUMBERS,
        "none": None,
        "true": True,
        "empty": {},
        **{f"n{i}": n for i, n in enumerate(NUMBERS)},
    }

    got = yaml.safe_load(to_yaml(params))

    assert got == params
    assert list(map(type, got["list"])) == list(map(type, NUMBERS))
    assert math.isnan(yaml.safe_load(to_yaml({"nan": math.nan}))["nan"])


def test_yaml_of_nothing_is_an_empty_dict() -> None:
    assert yaml.safe_load(to_yaml({})) == {}


def test_yaml_is_a_block_that_people_can_read() -> None:
    params = {"lr": 1e-3, "net": {"sizes": [8, 16], "act": "relu"}, "note": "a: b"}

    assert to_yaml(params) == 'lr: 0.001\nnet:\n  sizes: [8, 16]\n  act: relu\nnote: "a: b"\n'


def test_yaml_is_written_whole_and_creates_its_folder(tmp_path: Path) -> None:
    save_yaml({"a": "ü"}, tmp_path / "new" / "hparams.yaml")

    assert (tmp_path / "new" / "hparams.yaml").read_bytes() == 'a: "ü"\n'.encode()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["hparams.yaml"]
