"""What travels between processes comes out as it went in; what cannot is named."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import nn

from fulmen.errors import ConfigError
from fulmen.runtime.launch.parcel import Parcel, find_culprit, pack, unpack


def sent(content: Any) -> Any:
    return unpack(pack(content))


def test_values() -> None:
    content = {"a": [1, "two", (3.0, None)], "b": {4}, "f": len}
    assert sent(content) == content


def test_tensors_are_copied_and_keep_what_they_share() -> None:
    whole = torch.arange(6.0)
    other, view = sent((whole, whole[2:4]))
    view[0] = 9
    assert other.tolist() == [0, 1, 9, 3, 4, 5]
    assert whole[2] == 2


def test_tied_parameters_stay_tied() -> None:
    layer = nn.Linear(2, 2)
    first, second = sent(nn.ModuleList([layer, layer]))
    assert first.weight is second.weight
    assert isinstance(first.weight, nn.Parameter)
    assert torch.equal(first.weight, layer.weight)


def test_memory_that_is_shared_is_copied_too() -> None:
    shared = torch.zeros(2).share_memory_()
    sent(shared)[0] = 1
    assert shared.tolist() == [0, 0]


def test_unopened_parcel_holds_the_thing_itself() -> None:
    lock = threading.Lock()
    assert Parcel(lock).open() is lock


class Net:
    def __init__(self, **parts: Any) -> None:
        vars(self).update(parts)

    def fit(self) -> None:
        pass


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (threading.Lock(), "lock"),
        ((len, Net(a=1, hook=lambda: 1)), "Net.hook"),
        ((Net(layers=[0, {"k": threading.Lock()}]).fit,), "Net.layers[1]['k']"),
        ((Net(inner=Net(inner=Net(lock=threading.Lock()))),), "Net.inner.inner.lock"),
    ],
)
def test_culprit(content: Any, path: str) -> None:
    assert find_culprit(content) == path
    with pytest.raises(ConfigError) as caught:
        Parcel(content).__getstate__()
    assert f"received: {path}: " in str(caught.value)
