"""Functions over modules and optimizers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fulmen import Callback, LightningDataModule, LightningModule
from fulmen.compat.lightning import models
from fulmen.errors import ConfigError


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return None

    @models.auto_move_data
    def forward(self, x: Any, *, scale: Any) -> Any:
        return x.dtype, scale.device


def test_which_methods_are_a_users_own() -> None:
    class Data(LightningDataModule):
        def setup(self, stage: str) -> None: ...

    class Bar(Callback):
        def on_fit_end(self, trainer: Any, pl_module: Any) -> None: ...

    assert models.is_overridden("training_step", Net())
    assert not models.is_overridden("validation_step", Net())
    assert not models.is_overridden("nothing_like_this", Net())
    assert models.is_overridden("setup", Data())
    assert models.is_overridden("on_fit_end", Bar())
    assert models.is_overridden("training_step", Net(), LightningModule)
    assert not models.is_overridden("training_step", None)
    with pytest.raises(ValueError, match="parent"):
        models.is_overridden("x", 3)


def test_which_parameters_a_hook_takes() -> None:
    def hook(self: Any, batch: Any, batch_idx: int) -> None: ...

    def any_number(self: Any, *args: Any) -> None: ...

    assert models.is_param_in_hook_signature(hook, "batch_idx")
    assert not models.is_param_in_hook_signature(hook, "dataloader_idx")
    assert models.is_param_in_hook_signature(hook, "dataloader_iter", min_args=2)
    assert not models.is_param_in_hook_signature(hook, "dataloader_iter", min_args=3)
    assert models.is_param_in_hook_signature(any_number, "dataloader_idx")
    assert not models.is_param_in_hook_signature(any_number, "dataloader_idx", explicit=True)


def test_norms_of_gradients() -> None:
    layer = nn.Linear(2, 1)
    assert models.grad_norm(layer, 2) == {}
    layer(torch.tensor([[1.0, 1.0]])).sum().backward()

    assert {name: float(norm) for name, norm in models.grad_norm(layer, 2).items()} == pytest.approx(
        {"grad_2.0_norm/weight": 2**0.5, "grad_2.0_norm/bias": 1.0, "grad_2.0_norm_total": 3**0.5}
    )
    assert set(models.grad_norm(layer, "inf", ".")) == {
        "grad_inf_norm.weight", "grad_inf_norm.bias", "grad_inf_norm_total",
    }  # fmt: skip
    with pytest.raises(ConfigError, match="positive"):
        models.grad_norm(layer, 0)


def test_parameters_with_several_names() -> None:
    layer = nn.Linear(1, 1)
    tied = nn.ModuleDict({"x": layer, "y": nn.Sequential(layer)})
    names = [["x.weight", "y.0.weight"], ["x.bias", "y.0.bias"]]
    assert models.find_shared_parameters(tied) == names
    assert models.find_shared_parameters(nn.Linear(1, 1)) == []

    apart = nn.ModuleDict({"x": nn.Linear(1, 1), "y": nn.Sequential(nn.Linear(1, 1))})
    models.set_shared_parameters(apart, names)
    assert models.find_shared_parameters(apart) == names


def test_floating_point_operations() -> None:
    layer, x = nn.Linear(2, 3), torch.ones(4, 2, requires_grad=True)

    forward = models.measure_flops(layer, lambda: layer(x))

    assert forward == 2 * 4 * 2 * 3  # multiply and add
    assert models.measure_flops(layer, lambda: layer(x), torch.sum) == 3 * forward


def test_arguments_go_where_the_module_is() -> None:
    dtype, device = Net().to("meta")(torch.ones(1), scale=torch.ones(1))

    assert (dtype, device.type) == (torch.float32, "meta")


def test_a_module_says_where_it_is() -> None:
    class Small(models.DeviceDtypeModuleMixin):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)

    small = Small().to("meta", torch.float16)
    assert (small.device.type, small.dtype) == ("meta", torch.float16)
    assert models.DeviceDtypeModuleMixin().device.type == "cpu"


def test_an_optimizers_state_is_sent_to_a_device() -> None:
    layer = nn.Linear(1, 1)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 1)).sum().backward()
    optimizer.step()

    models.optimizers_to_device([optimizer], "meta")

    assert {value.device.type for state in optimizer.state.values() for value in state.values()} == {"meta"}


def test_values_that_are_not_finite_are_named() -> None:
    layer = nn.Linear(1, 1)
    models.detect_nan_parameters(layer)
    layer.bias.data[0] = float("nan")

    with pytest.raises(ValueError, match="'bias'"):
        models.detect_nan_parameters(layer)


def test_what_is_compiled_gives_its_module() -> None:
    layer = nn.Linear(1, 1)

    compiled: Any = torch.compile(layer, backend="eager")
    assert models.from_compiled(compiled) is layer
    assert models.to_uncompiled(layer) is layer
