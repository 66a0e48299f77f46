"""What each precision converts, and in which types it computes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn

from fulmen import Trainer
from fulmen.errors import ConfigError
from fulmen.precision import DoublePrecision, FullPrecision, HalfPrecision, MixedPrecision, Precision

SINGLE, HALF, BRAIN, DOUBLE = torch.float32, torch.float16, torch.bfloat16, torch.float64

MAKE: dict[str, Callable[[], Precision]] = {
    "32-true": FullPrecision,
    "64-true": DoublePrecision,
    "16-true": lambda: HalfPrecision("16-true"),
    "bf16-true": lambda: HalfPrecision("bf16-true"),
    "16-mixed": lambda: MixedPrecision("16-mixed"),
    "bf16-mixed": lambda: MixedPrecision("bf16-mixed"),
}
EACH = pytest.mark.parametrize("name", MAKE)


@pytest.mark.parametrize(
    ("name", "parameters", "inputs", "made_by_a_layer", "new"),
    [
        ("32-true", SINGLE, SINGLE, SINGLE, SINGLE),
        ("64-true", DOUBLE, DOUBLE, DOUBLE, DOUBLE),
        ("16-true", HALF, HALF, HALF, HALF),
        ("bf16-true", BRAIN, BRAIN, BRAIN, BRAIN),
        ("16-mixed", SINGLE, SINGLE, HALF, SINGLE),
        ("bf16-mixed", SINGLE, SINGLE, BRAIN, SINGLE),
    ],
)
def test_types(
    name: str, parameters: torch.dtype, inputs: torch.dtype, made_by_a_layer: torch.dtype, new: torch.dtype
) -> None:
    precision = MAKE[name]()
    layer = precision.convert_module(nn.Linear(2, 2))
    batch = precision.convert_input(torch.ones(1, 2))
    context = precision.context()
    with context() if context else nullcontext():
        made = layer(batch)
        assert torch.ones(1).dtype is new
    assert (layer.weight.dtype, batch.dtype, made.dtype) == (parameters, inputs, made_by_a_layer)
    assert torch.ones(1).dtype is SINGLE


@EACH
def test_names(name: str) -> None:
    assert MAKE[name]().name == name


@EACH
def test_only_floating_point_tensors_are_converted(name: str) -> None:
    batch = {
        "ids": torch.arange(3),
        "mask": torch.ones(2, dtype=torch.bool),
        "complex": torch.ones(1, dtype=torch.complex64),
        "text": "a",
        "nested": [torch.ones(1, dtype=DOUBLE)],
    }
    converted = MAKE[name]().convert_input(batch)
    for key in ("ids", "mask", "complex", "text"):
        assert converted[key] is batch[key]
    expected = {"64-true": DOUBLE, "16-true": HALF, "bf16-true": BRAIN}.get(name, DOUBLE)
    assert converted["nested"][0].dtype is expected


@EACH
def test_buffers_of_whole_numbers_stay_whole(name: str) -> None:
    module = MAKE[name]().convert_module(nn.BatchNorm1d(2))
    assert module.num_batches_tracked.dtype is torch.int64


@EACH
def test_layers_are_made_in_the_type_they_train_in(name: str) -> None:
    precision = MAKE[name]()
    context = precision.module_context()
    with context() if context else nullcontext():
        layer = nn.Linear(1, 1)
    assert layer.weight.dtype is precision.convert_module(layer).weight.dtype
    assert layer.weight.dtype is {"64-true": DOUBLE, "16-true": HALF, "bf16-true": BRAIN}.get(name, SINGLE)


@EACH
def test_an_error_inside_leaves_torch_as_it_was(name: str) -> None:
    precision = MAKE[name]()
    for context in (precision.context(), precision.module_context()):
        if context:
            with pytest.raises(KeyError), context():
                raise KeyError
        assert torch.get_default_dtype() is SINGLE
        assert not torch.is_autocast_enabled("cpu")


@EACH
def test_contexts_can_be_entered_again_and_nested(name: str) -> None:
    context = MAKE[name]().context()
    if context:
        for _ in range(2):
            with context(), context():
                pass
    assert torch.get_default_dtype() is SINGLE


def test_autocast_sees_weights_that_were_just_updated() -> None:
    """Each context has a cache of its own."""
    context = MixedPrecision("bf16-mixed").context()
    assert context is not None
    layer = nn.Linear(1, 1, bias=False)
    made = []
    for value in (1.0, 2.0):
        nn.init.constant_(layer.weight, value)
        with context():
            made.append(layer(torch.ones(1, 1)).item())
    assert made == [1.0, 2.0]


@pytest.mark.parametrize("name", [name for name in MAKE if name != "16-mixed"])
def test_without_scaling_a_step_is_the_optimizers_own(name: str) -> None:
    precision = MAKE[name]()
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    loss = 3 * weight.sum()
    assert precision.scale(loss) is loss
    loss.backward()
    precision.unscale(optimizer)
    precision.step(optimizer)
    assert weight.item() == -2
    assert precision.step(optimizer, lambda: torch.tensor(5.0)) == 5
    assert precision.state_dict() == {}
    precision.load_state_dict({"scale": 2.0})
    assert precision.state_dict() == {}


# --------------------------------------------------------------------------------------------- as an argument


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "32-true"),
        (32, "32-true"),
        ("32", "32-true"),
        ("32-true", "32-true"),
        (64, "64-true"),
        ("64", "64-true"),
        (16, "16-mixed"),
        ("16", "16-mixed"),
        ("bf16", "bf16-mixed"),
        *((name, name) for name in MAKE),
    ],
)
def test_the_trainers_argument(given: Any, expected: str) -> None:
    trainer = Trainer(accelerator="cpu", precision=given, logger=False)
    assert trainer.precision == expected
    assert type(trainer.precision_plugin) is type(MAKE[expected]())


@pytest.mark.parametrize(
    ("given", "near"),
    [("16-mix", "16-mixed"), ("bf16mixed", "bf16-mixed"), ("fp32-true", "32-true"), (8, None), (True, None)],
)
def test_a_precision_that_does_not_exist(given: Any, near: str | None) -> None:
    with pytest.raises(ConfigError, match=r"Unknown precision(.|\n)*expected: 32-true, 64-true") as raised:
        Trainer(accelerator="cpu", precision=given)
    assert near is None or f"did you mean {near!r}?" in str(raised.value)


@pytest.mark.parametrize("as_plugin", [False, True])
def test_a_precision_object(as_plugin: bool) -> None:
    own = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=8.0))
    given: dict[str, Any] = {"plugins": [own]} if as_plugin else {"precision": own}
    trainer = Trainer(accelerator="cpu", logger=False, **given)
    assert trainer.precision_plugin is own
    assert trainer.scaler is own.scaler
    assert trainer.precision == "16-mixed"


def test_two_precisions() -> None:
    with pytest.raises(ConfigError, match="given twice"):
        Trainer(accelerator="cpu", precision="32-true", plugins=FullPrecision())
    with pytest.raises(ConfigError, match="two of a kind"):
        Trainer(accelerator="cpu", plugins=[FullPrecision(), DoublePrecision()])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HalfPrecision("32-true"), "Unknown half precision"),
        (lambda: HalfPrecision("16-mixed"), r"expected: 16-true, bf16-true"),
        (lambda: MixedPrecision("16-true"), r"expected: 16-mixed, bf16-mixed"),
        (lambda: MixedPrecision("bf16-mixed", "cpu", torch.amp.GradScaler("cpu")), "needs no loss scaling"),
    ],
)
def test_precisions_that_cannot_be_made(make: Callable[[], Precision], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
