"""Functions over modules and optimizers, as users of Lightning know them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.flop_counter import FlopCounterMode

from fulmen.base import overrides, tree
from fulmen.base.report import info
from fulmen.compat.lightning.trees import move_data_to_device
from fulmen.compat.spelling import say_modern
from fulmen.core.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.model_summary import ModelSummary
from fulmen.core.module import LightningModule
from fulmen.errors import ConfigError

_BASES = (LightningModule, LightningDataModule, Callback)


class ModelSummaryOnce(ModelSummary):
    """The table of a model's layers with the `mode` that it had up to 1.6: "top" or "full"."""

    MODE_TOP, MODE_FULL = "top", "full"
    MODE_DEFAULT = MODE_TOP
    MODES = (MODE_FULL, MODE_TOP)

    def __init__(self, model: LightningModule, mode: str | None = None, max_depth: int | None = 1) -> None:
        if mode is not None:
            say_modern(f"ModelSummary(model, mode={mode!r})", "ModelSummary(model, max_depth=1)")
            max_depth = -1 if mode == self.MODE_FULL else 1
        super().__init__(model, 1 if max_depth is None else max_depth)


def is_overridden(method_name: str, instance: Any = None, parent: type | None = None) -> bool:
    """Whether `instance` has its own method in place of the one of `parent`, which is found if not given."""
    if instance is None:
        return False
    base = parent or next((kind for kind in _BASES if isinstance(instance, kind)), None)
    if base is None:
        raise ValueError(f"{type(instance).__name__} is no module, datamodule or callback: give its `parent`")
    return hasattr(base, method_name) and overrides.is_overridden(method_name, instance, base)


def is_param_in_hook_signature(
    hook_fx: Callable[..., Any], param: str, explicit: bool = False, min_args: int | None = None
) -> bool:
    """Whether a hook takes `param`: by name or, if not `explicit`, with `*args` or enough others."""
    parameters = inspect.signature(inspect.unwrap(hook_fx)).parameters.values()
    named = [
        p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name != "self"
    ]
    if param in named or explicit:
        return param in named
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return takes_any or (min_args is not None and len(named) >= min_args)


def grad_norm(
    module: nn.Module, norm_type: float | int | str, group_separator: str = "/"
) -> dict[str, Tensor]:
    """The norm of each parameter's gradient, and of all gradients together."""
    order = float(norm_type)
    if order <= 0:
        raise ConfigError("The order of a norm is positive.", received=norm_type)
    norms = {
        f"grad_{order}_norm{group_separator}{name}": parameter.grad.norm(order)
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    if norms:
        norms[f"grad_{order}_norm_total"] = torch.stack(list(norms.values())).norm(order)
    return norms


class GradInformation(nn.Module):
    """Gives a module the method `grad_norm`."""

    def grad_norm(self, norm_type: float | int | str) -> dict[str, float]:
        """The norms, as numbers."""
        return {name: norm.item() for name, norm in grad_norm(self, norm_type).items()}


def find_shared_parameters(module: nn.Module) -> list[list[str]]:
    """The names of each parameter that has more than one."""
    names: dict[Tensor, list[str]] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        for name, parameter in part.named_parameters(recurse=False, remove_duplicate=False):
            names.setdefault(parameter, []).append(f"{path}.{name}".removeprefix("."))
    return [found for found in names.values() if len(found) > 1]


def set_shared_parameters(module: nn.Module, shared_params: list[list[str]]) -> nn.Module:
    """Let all these names mean the parameter that the first of each list means."""
    for first, *others in shared_params:
        parameter = module.get_parameter(first)
        for other in others:
            path, _, name = other.rpartition(".")
            setattr(module.get_submodule(path), name, parameter)
    return module


def measure_flops(
    model: nn.Module, forward_fn: Callable[[], Any], loss_fn: Callable[[Any], Tensor] | None = None
) -> int:
    """Floating-point operations of a forward pass and, with `loss_fn`, of the backward pass after it."""
    with FlopCounterMode(display=False) as counter:
        output = forward_fn()
        if loss_fn is not None:
            loss_fn(output).backward()
    return counter.get_total_flops()


def auto_move_data(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a method of a module to have its arguments on the module's device."""

    @functools.wraps(fn)
    def on_device(self: Any, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = move_data_to_device((args, kwargs), self.device)
        return fn(self, *args, **kwargs)

    return on_device


class DeviceDtypeModuleMixin(nn.Module):
    """A module that says where it is, and in which numbers it computes: by its first parameter or buffer."""

    def _first(self) -> Tensor:
        tensors = (*self.parameters(), *self.buffers())
        return next((tensor for tensor in tensors if tensor.is_floating_point()), torch.empty(0))

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self._first().device

    @property
    def dtype(self) -> torch.dtype:
        """In which numbers it computes."""
        return self._first().dtype


def do_nothing_closure() -> None:
    """A closure that computes nothing."""


def from_compiled(model: nn.Module) -> Any:
    """The module itself, of what `torch.compile` may have made of it."""
    return getattr(model, "_orig_mod", model)


def to_uncompiled(model: nn.Module) -> Any:
    """The same."""
    return from_compiled(model)


def optimizer_to_device(optimizer: Optimizer, device: torch.device | str) -> None:
    """Send an optimizer's state to a device."""
    for parameter, state in optimizer.state.items():
        optimizer.state[parameter] = tree.move(state, torch.device(device))


def optimizers_to_device(optimizers: Iterable[Optimizer], device: torch.device | str) -> None:
    """Send the state of each to a device."""
    for optimizer in optimizers:
        optimizer_to_device(optimizer, device)


def detect_nan_parameters(model: nn.Module) -> None:
    """A `ValueError` that names the first parameter with a value that is no number."""
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ValueError(f"The parameter {name!r} has values that are not finite.")


def print_nan_gradients(model: nn.Module) -> None:
    """Tell which gradients have values that are no numbers."""
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and torch.isnan(parameter.grad).any():
            info(f"{name}: {parameter.grad}")


def get_formatted_model_size(total_model_size: float) -> str:
    """A size in MB as text."""
    return f"{total_model_size:,.3f}"
