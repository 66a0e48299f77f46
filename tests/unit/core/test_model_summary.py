"""What a summary says of a model, and that looking leaves no trace."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fulmen as pl
from fulmen.base.report import FulmenWarning
from fulmen.core.model_summary import ModelSummary, human_readable_count, shape_of, summarize
from fulmen.errors import ConfigError, UsageError
from fulmen.precision import HalfPrecision


class Classifier(pl.LightningModule):
    """20 + 6 + 8 = 34 parameters, 8 of them frozen."""

    def __init__(self, example: Any = None) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(3), nn.Dropout(0.5))
        self.head = nn.Linear(4, 2, bias=False)
        self.head.requires_grad_(False)
        self.loss = nn.MSELoss()
        self.example_input_array = example

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        return self.head(self.body(x)) * scale


def test_rows_and_totals() -> None:
    summary = ModelSummary(Classifier())
    assert summary.layer_names == ["body", "head", "loss"]
    assert summary.layer_types == ["Sequential", "Linear", "MSELoss"]
    assert summary.param_nums == [26, 8, 0]
    assert summary.total_parameters == 34
    assert summary.trainable_parameters == 26
    assert summary.model_size == pytest.approx(34 * 4 / 1e6)
    assert summary.other_parameters == 0
    assert summary.in_sizes == summary.out_sizes == ["?"] * 3
    assert summary.total_flops == 0


@pytest.mark.parametrize(
    ("depth", "names"),
    [
        (0, []),
        (1, ["body", "head", "loss"]),
        (2, ["body", "body.0", "body.1", "body.2", "head", "loss"]),
        (-1, ["body", "body.0", "body.1", "body.2", "head", "loss"]),
    ],
)
def test_depth(depth: int, names: list[str]) -> None:
    summary = summarize(Classifier(), max_depth=depth)
    assert summary.layer_names == names
    assert summary.total_parameters == 34
    assert summary.other_parameters == (34 if depth == 0 else 0)


def test_depth_that_is_none() -> None:
    with pytest.raises(ConfigError, match="max_depth"):
        summarize(Classifier(), max_depth=-2)


def test_modes_are_those_of_the_user() -> None:
    model = Classifier(torch.zeros(2, 3, 4))
    model.body[1].eval()
    summary = ModelSummary(model, max_depth=-1)
    assert summary.training_modes == [True, True, False, True, True, True]
    assert summary.total_training_modes == {"train": 5, "eval": 1}
    assert [module.training for module in model.modules()] == [True, True, True, False, True, True, True]


def test_sizes_and_flops() -> None:
    summary = ModelSummary(Classifier(torch.zeros(2, 3, 4)), max_depth=-1)
    assert summary.in_sizes == [[2, 3, 4], [2, 3, 4], [2, 3, 4], [2, 3, 4], [2, 3, 4], "?"]
    assert summary.out_sizes == [[2, 3, 4], [2, 3, 4], [2, 3, 4], [2, 3, 4], [2, 3, 2], "?"]
    body, head = 2 * 6 * 4 * 4, 2 * 6 * 4 * 2  # a multiplication and an addition for each weight and row
    assert [layer.flops for layer in summary.layers.values()] == [body, body, 0, 0, head, 0]
    assert summary.total_flops == body + head


@pytest.mark.parametrize(
    "example", [torch.zeros(2, 3, 4), (torch.zeros(2, 3, 4), 2.0), {"scale": 2.0, "x": torch.zeros(2, 3, 4)}]
)
def test_kinds_of_examples(example: Any) -> None:
    assert ModelSummary(Classifier(example)).out_sizes == [[2, 3, 4], [2, 3, 2], "?"]


class Noisy(pl.LightningModule):
    """Has everything that a forward pass can change."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("calls", torch.zeros(()))
        self.grad_was_enabled = self.was_training = True
        self.example_input_array = torch.ones(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.grad_was_enabled, self.was_training = torch.is_grad_enabled(), self.training
        self.calls += 1
        return self.norm(self.layer(x) + torch.rand(2))


def test_looking_leaves_no_trace() -> None:
    model = Noisy()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    ModelSummary(model)
    assert model.calls == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(module.training for module in model.modules())
    assert not model.grad_was_enabled
    assert not model.was_training
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


def test_shared_parts_count_once() -> None:
    class Tied(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(5, 3)
            self.out = nn.Linear(3, 5, bias=False)
            self.out.weight = self.embedding.weight
            self.again = self.out
            self.example_input_array = torch.zeros(1, 2, dtype=torch.long)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.again(self.embedding(x)) @ self.embedding.weight)

    summary = ModelSummary(Tied())
    assert summary.layer_names == ["embedding", "out"]
    assert summary.param_nums == [15, 15]
    assert summary.total_parameters == 15
    assert summary.layers["out"].flops == 2 * (2 * 2 * 3 * 5)  # two calls
    assert summary.total_flops == 3 * (2 * 2 * 3 * 5)


def test_parameters_outside_of_rows() -> None:
    class Scaled(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.scale = nn.Parameter(torch.ones(7))

    summary = ModelSummary(Scaled())
    assert (summary.param_nums, summary.other_parameters, summary.total_parameters) == ([6], 7, 13)
    columns = dict(summary.columns())
    assert columns["Name"] == ["layer", "other params"]
    assert columns["Params"] == ["6", "7"]
    assert columns["Mode"] == ["train", "n/a"]


class Lazy(pl.LightningModule):
    def __init__(self, example: Any = None) -> None:
        super().__init__()
        self.lazy = nn.LazyLinear(2)
        self.layer = nn.Linear(2, 2)
        self.example_input_array = example

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.lazy(x))


def test_parameters_without_a_shape() -> None:
    with pytest.warns(FulmenWarning, match="example_input_array"):
        summary = ModelSummary(Lazy())
    assert summary.param_nums == [0, 6]
    assert summary.total_parameters == 6


def test_the_example_gives_lazy_parameters_their_shapes() -> None:
    summary = ModelSummary(Lazy(torch.zeros(1, 5)))
    assert summary.layer_types == ["Linear", "Linear"]
    assert summary.param_nums == [12, 6]


def test_size_counts_real_bytes() -> None:
    model = Classifier().to(torch.bfloat16)
    model.head.double()
    assert ModelSummary(model).model_size == pytest.approx((26 * 2 + 8 * 8) / 1e6)


def test_precision_of_the_run() -> None:
    precision = HalfPrecision("bf16-true")
    model = precision.convert_module(Classifier(torch.zeros(2, 3, 4)))
    assert isinstance(model, Classifier)
    assert ModelSummary(model, precision=precision).out_sizes[1] == [2, 3, 2]


def test_an_example_that_does_not_fit() -> None:
    model = Classifier(torch.zeros(2, 3, 99))
    with pytest.raises(UsageError, match=r"Classifier.forward.*\n.*\[2, 3, 99\]") as error:
        ModelSummary(model)
    assert isinstance(error.value.__cause__, RuntimeError)
    assert all(module.training and not module._forward_hooks for module in model.modules())


def test_outputs_of_many_kinds() -> None:
    class Recurrent(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(3, 4)
            self.split = Split()
            self.example_input_array = torch.zeros(2, 5, 3)

        def forward(self, x: Tensor) -> Any:
            return self.split(x=self.rnn(x)[0])

    class Split(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Any]:
            return {"first": x[0], "rest": [x[1:], None]}

    summary = ModelSummary(Recurrent())
    assert summary.in_sizes == [[2, 5, 3], [2, 5, 4]]
    assert summary.out_sizes == [[[2, 5, 4], [[1, 5, 4], [1, 5, 4]]], [[5, 4], [[1, 5, 4], "?"]]]


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (torch.zeros(2, 3), [2, 3]),
        (torch.tensor(1.0), []),
        ([torch.zeros(1), torch.zeros(2)], [[1], [2]]),
        ((), []),
        (3, "?"),
        ("text", "?"),
    ],
)
def test_shapes(value: Any, shape: Any) -> None:
    assert shape_of(value) == shape


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0 K"),
        (1234, "1.2 K"),
        (9_999, "10.0 K"),
        (99_940, "99.9 K"),
        (99_960, "100 K"),
        (123_456, "123 K"),
        (999_999, "1.0 M"),
        (1_234_567, "1.2 M"),
        (2_000_000_000, "2.0 B"),
        (3 * 10**12, "3.0 T"),
        (4 * 10**15, "4,000 T"),
    ],
)
def test_counts_that_people_read(number: int, text: str) -> None:
    assert human_readable_count(number) == text


def test_table() -> None:
    assert (
        str(ModelSummary(Classifier()))
        == """\
  | Name | Type       | Params | Mode
--------------------------------------
0 | body | Sequential | 26     | train
1 | head | Linear     | 8      | train
2 | loss | MSELoss    | 0      | train
--------------------------------------
26        Trainable params
8         Non-trainable params
34        Total params
0.000     Total estimated model params size (MB)
6         Modules in train mode
0         Modules in eval mode"""
    )


def test_table_with_an_example() -> None:
    lines = str(ModelSummary(Classifier(torch.zeros(2, 3, 4)))).splitlines()
    assert lines[0] == "  | Name | Type       | Params | Mode  | FLOPs | In sizes  | Out sizes"
    assert lines[2] == "0 | body | Sequential | 26     | train | 192   | [2, 3, 4] | [2, 3, 4]"
    assert lines[-1] == "288       Total FLOPs"
