"""Sets of words, flags and names for annotations."""

from __future__ import annotations

import operator
from typing import get_args

import pytest
import torch

from fulmen.compat.lightning import enums, imports, types


def test_members_are_equal_to_words_of_any_case() -> None:
    kind = enums.GradClipAlgorithmType.NORM

    assert kind == "norm" == kind.value
    assert kind == "NORM"
    assert kind != "value"
    assert kind != enums.GradClipAlgorithmType.VALUE
    assert len({kind, enums.GradClipAlgorithmType("norm")}) == 1
    assert enums.DistributedType.from_str("ddp_spawn") is enums.DistributedType.DDP_SPAWN
    assert enums.DistributedType.from_str("nothing") is None
    assert enums.AMPType.NATIVE in ("native", "apex")
    assert enums.GradClipAlgorithmType.supported_types() == ["value", "norm"]
    assert enums.GradClipAlgorithmType.supported_type("value")
    assert not enums.GradClipAlgorithmType.supported_type("other")


def test_flags_tell_what_there_is() -> None:
    assert imports._TORCH_GREATER_EQUAL_1_8 is imports._TORCH_GREATER_EQUAL_2_1 is True
    assert imports._APEX_AVAILABLE is imports._XLA_AVAILABLE is False
    assert imports._module_available("torch")
    assert not imports._package_available("no_such_package")
    assert imports._compare_version("torch", operator.ge, "2.6")
    assert not imports._compare_version("torch", operator.lt, "1.13.1")
    assert not imports._compare_version("no_such_package", operator.ge, "0")
    for requirement, holds in (
        ("torch", True),
        ("torch>=2.0", True),
        ("torch<2", False),
        ("no-such>1", False),
    ):
        assert bool(imports._RequirementAvailable(requirement)) is holds
    with pytest.raises(AttributeError, match="_TORCH_GREATER_EQUAL_9_0"):
        _ = imports._TORCH_GREATER_EQUAL_9_0


def test_annotations() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)

    assert isinstance(optimizer, types.Optimizable)
    assert isinstance(scheduler, types.LRSchedulerTypeTuple)
    assert torch.Tensor in get_args(types.STEP_OUTPUT)
    assert types.LRSchedulerConfig(scheduler).interval == "epoch"
