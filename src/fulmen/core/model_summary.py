"""What a model is made of: layers, parameters, and what becomes of an example on its way through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fulmen.base.generators import isolate_rng
from fulmen.base.report import warn
from fulmen.base.tree import move
from fulmen.core.modes import remember_modes
from fulmen.errors import ConfigError, UsageError
from fulmen.precision.full import FullPrecision
from fulmen.precision.precision import Precision

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

    from fulmen.core.module import LightningModule

Columns = list[tuple[str, list[str]]]
UNKNOWN_SIZE = "?"
_UNITS = ("", " K", " M", " B", " T")


@dataclass(frozen=True)
class LayerSummary:
    """One module of a model, its submodules included."""

    layer_type: str
    num_parameters: int
    training: bool
    in_size: Any
    out_size: Any
    flops: int


class ModelSummary:
    """The modules of `model` down to `max_depth`: 1 shows its children, -1 everything, 0 the totals alone.

    With an `example_input_array`, a forward pass in evaluation mode finds sizes and FLOPs; modes, buffers and
    random numbers are as before afterwards. A parameter that several modules share counts once in the totals.
    """

    def __init__(
        self, model: LightningModule, max_depth: int = 1, *, precision: Precision | None = None
    ) -> None:
        self.max_depth = check_depth(max_depth)
        modules = _rows(model, max_depth)
        self.total_flops = 0
        self.has_sizes = model.example_input_array is not None
        seen: dict[nn.Module, _Passage] = {}
        if self.has_sizes:
            # Before anything is counted: lazy parameters get their shapes here.
            seen, self.total_flops = _pass_example(model, modules.values(), precision or FullPrecision())

        self.layers = {
            name: _summarize_layer(module, seen.get(module, _Passage())) for name, module in modules.items()
        }
        parameters = {parameter for parameter in model.parameters() if not is_lazy(parameter)}
        if any(map(is_lazy, model.parameters())):
            warn("Parameters without a shape yet count as 0; with an `example_input_array`, they get theirs.")
        self.total_parameters = _count(parameters)
        self.trainable_parameters = _count(p for p in parameters if p.requires_grad)
        self.model_size = sum(p.numel() * p.element_size() for p in parameters) / 1e6
        """Of the parameters, in MB."""
        shown = {parameter for module in modules.values() for parameter in module.parameters()}
        self.other_parameters = _count(parameters - shown)
        """Parameters of no module that has a row."""
        modes = [module.training for module in model.modules() if module is not model]
        self.total_training_modes = {"train": sum(modes), "eval": len(modes) - sum(modes)}

    @property
    def layer_names(self) -> list[str]:
        """Paths of the modules, in the order of the rows."""
        return list(self.layers)

    @property
    def layer_types(self) -> list[str]:
        """Their classes."""
        return [layer.layer_type for layer in self.layers.values()]

    @property
    def param_nums(self) -> list[int]:
        """Their numbers of parameters."""
        return [layer.num_parameters for layer in self.layers.values()]

    @property
    def in_sizes(self) -> list[Any]:
        """Shapes of what went into them."""
        return [layer.in_size for layer in self.layers.values()]

    @property
    def out_sizes(self) -> list[Any]:
        """Shapes of what came out of them."""
        return [layer.out_size for layer in self.layers.values()]

    @property
    def training_modes(self) -> list[bool]:
        """Whether they are in training mode."""
        return [layer.training for layer in self.layers.values()]

    def columns(self) -> Columns:
        """The table, as text: header and cells of each column."""
        layers = self.layers.values()
        columns: Columns = [
            (" ", [str(index) for index in range(len(layers))]),
            ("Name", self.layer_names),
            ("Type", self.layer_types),
            ("Params", [human_readable_count(layer.num_parameters) for layer in layers]),
            ("Mode", ["train" if layer.training else "eval" for layer in layers]),
        ]
        if self.has_sizes:
            columns += [
                ("FLOPs", [human_readable_count(layer.flops) for layer in layers]),
                ("In sizes", [str(layer.in_size) for layer in layers]),
                ("Out sizes", [str(layer.out_size) for layer in layers]),
            ]
        if self.other_parameters:
            count = human_readable_count(self.other_parameters)
            row = {" ": " ", "Name": "other params", "Params": count}
            for header, cells in columns:
                cells.append(row.get(header, "n/a"))
        return columns

    def __str__(self) -> str:
        return format_summary(
            self.columns(),
            self.total_parameters,
            self.trainable_parameters,
            self.model_size,
            self.total_training_modes,
            self.total_flops,
        )


def summarize(lightning_module: LightningModule, max_depth: int = 1) -> ModelSummary:
    """The summary of a module; `print` it."""
    return ModelSummary(lightning_module, max_depth)


def check_depth(max_depth: int) -> int:
    """`max_depth` itself, if it can be one."""
    if max_depth < -1:
        raise ConfigError("`max_depth` is out of range.", received=max_depth, expected="-1 (all) or more")
    return max_depth


# --------------------------------------------------------------------------------------------------- counting


def _rows(model: nn.Module, max_depth: int) -> dict[str, nn.Module]:
    """The modules to show by their names; one that has several names goes by the first of these."""
    names: dict[nn.Module, str] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if name and (max_depth == -1 or name.count(".") < max_depth):
            names.setdefault(module, name)
    return {name: module for module, name in names.items()}


def _count(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters if not is_lazy(parameter))


def _summarize_layer(module: nn.Module, passage: _Passage) -> LayerSummary:
    count = _count(module.parameters())
    return LayerSummary(type(module).__name__, count, module.training, **vars(passage))


# ------------------------------------------------------------------------------------------ the example's way


@dataclass
class _Passage:
    """What a module did: sizes of its first call, FLOPs of all its calls."""

    in_size: Any = UNKNOWN_SIZE
    out_size: Any = UNKNOWN_SIZE
    flops: int = 0


def _pass_example(
    model: LightningModule, modules: Iterable[nn.Module], precision: Precision
) -> tuple[dict[nn.Module, _Passage], int]:
    """Send the example through `forward`; what each of `modules` did, and the FLOPs of everything."""
    from torch.utils.flop_counter import FlopCounterMode  # imported by those who have an example

    example = precision.convert_input(move(model.example_input_array, model.device))
    context = precision.context()
    seen: dict[nn.Module, _Passage] = {}
    with ExitStack() as stack:
        counter = FlopCounterMode(display=False)
        for module in modules:
            if not isinstance(module, torch.jit.ScriptModule):  # has no hooks
                stack.enter_context(_watch(module, counter, seen))
        stack.enter_context(_undisturbed(model))
        stack.enter_context(torch.no_grad())
        if context is not None:
            stack.enter_context(context())
        stack.enter_context(counter)
        _call(model, example)
    return seen, counter.get_total_flops()


def _call(model: nn.Module, example: Any) -> None:
    try:
        if isinstance(example, Mapping):
            model(**example)
        elif isinstance(example, (list, tuple)):
            model(*example)
        else:
            model(example)
    except Exception as error:
        raise UsageError(
            f"`{type(model).__name__}.forward` does not take the model's own `example_input_array`.",
            received=f"{shape_of(example)} -> {type(error).__name__}: {error}",
            fix="set it to what `forward` takes (a tuple or dict for several arguments), or to None",
        ) from error


@contextmanager
def _watch(module: nn.Module, counter: FlopCounterMode, seen: dict[nn.Module, _Passage]) -> Iterator[None]:
    """Note in `seen` what `module` does inside."""
    started: list[int] = []  # a stack: a module may be called from within itself

    def enter(_: nn.Module, args: Any, kwargs: Any) -> None:
        started.append(counter.get_total_flops())
        if module not in seen:
            inputs = (*args, *(value for value in kwargs.values() if isinstance(value, Tensor)))
            seen[module] = _Passage(in_size=shape_of(inputs[0] if len(inputs) == 1 else inputs))

    def leave(_: nn.Module, args: Any, output: Any) -> None:
        passage = seen[module]
        passage.flops += counter.get_total_flops() - started.pop()
        if passage.out_size == UNKNOWN_SIZE:
            passage.out_size = shape_of(output)

    handles = (module.register_forward_pre_hook(enter, with_kwargs=True), module.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; modes, buffers and random numbers are as before afterwards."""
    put_modes_back = remember_modes(model)
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers() if not is_lazy(buffer)]
    model.eval()
    try:
        with isolate_rng():
            yield
    finally:
        put_modes_back()
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def shape_of(value: Any) -> Any:
    """The shape of a tensor, as a list; of a collection, the list of its members' shapes."""
    if isinstance(value, Tensor):
        return list(value.shape)
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [shape_of(member) for member in value]
    return UNKNOWN_SIZE


# ---------------------------------------------------------------------------------------------------- as text


def human_readable_count(number: int) -> str:
    """A count in at most three digits and a unit: "999", "1.2 K", "12.3 M", "123 B"."""
    scaled, units = float(number), list(_UNITS)
    while round(scaled) >= 1000 and len(units) > 1:
        scaled /= 1000
        units.pop(0)
    if units[0] == "":
        return str(number)
    return (f"{scaled:.1f}" if scaled < 99.95 else f"{scaled:,.0f}") + units[0]


def total_lines(
    total_parameters: int,
    trainable_parameters: int,
    model_size: float,
    total_training_modes: Mapping[str, int],
    total_flops: int,
) -> list[tuple[str, str]]:
    """What is below the table: values and what they are."""
    lines = [
        (human_readable_count(trainable_parameters), "Trainable params"),
        (human_readable_count(total_parameters - trainable_parameters), "Non-trainable params"),
        (human_readable_count(total_parameters), "Total params"),
        (f"{model_size:,.3f}", "Total estimated model params size (MB)"),
        (str(total_training_modes["train"]), "Modules in train mode"),
        (str(total_training_modes["eval"]), "Modules in eval mode"),
    ]
    return [*lines, (human_readable_count(total_flops), "Total FLOPs")] if total_flops else lines


def format_summary(columns: Sequence[tuple[str, Sequence[str]]], *totals: Any) -> str:
    """The aligned table with the totals below it; `totals` are the arguments of `total_lines`."""
    widths = [max(len(header), *map(len, cells), 0) for header, cells in columns]
    rows = [[header for header, _ in columns], *zip(*(cells for _, cells in columns), strict=True)]
    table = [" | ".join(map(partial(str.ljust), row, widths)).rstrip() for row in rows]
    rule = "-" * (sum(widths) + 3 * (len(widths) - 1))
    below = [f"{value:<10}{what}" for value, what in total_lines(*totals)]
    return "\n".join([table[0], rule, *table[1:], rule, *below])
