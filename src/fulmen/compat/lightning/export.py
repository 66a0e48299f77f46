"""A module as a program of its own: TorchScript and ONNX, which are torch's business."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fulmen.base.tree import move
from fulmen.compat.spelling import say_modern
from fulmen.core.modes import remember_modes
from fulmen.errors import UsageError


def to_torchscript(
    self: Any, file_path: Any = None, method: str = "script", example_inputs: Any = None, **kwargs: Any
) -> Any:
    """The module in TorchScript, written to `file_path` as well if that is given.

    With `method="trace"`, as it runs on `example_inputs` or on `example_input_array`.
    """
    say_modern("self.to_torchscript()", "torch.export.export(self, inputs)")
    with _evaluating(self):
        if method == "script":
            program = torch.jit.script(self, **kwargs)
        elif method == "trace":
            program = torch.jit.trace(self, example_inputs=_inputs(self, example_inputs), **kwargs)
        else:
            raise UsageError(
                "TorchScript is made in one of two ways.",
                received=repr(method),
                expected="'script' or 'trace'",
            )
    if file_path is not None:
        torch.jit.save(program, file_path)
    return program


def to_onnx(self: Any, file_path: Any = None, input_sample: Any = None, **kwargs: Any) -> Any:
    """The module in ONNX, as it runs on `input_sample` or on `example_input_array`."""
    say_modern("self.to_onnx(path)", "torch.onnx.export(self, inputs, path)")
    with _evaluating(self):
        inputs = _inputs(self, input_sample)
        return torch.onnx.export(
            self, inputs if isinstance(inputs, tuple) else (inputs,), file_path, **kwargs
        )


@contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    """In evaluation mode and without gradients; each part's own mode comes back."""
    put_modes_back = remember_modes(module)
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        put_modes_back()


def _inputs(module: Any, given: Any) -> Any:
    inputs = module.example_input_array if given is None else given
    if inputs is None:
        raise UsageError(
            "There is nothing to run the module on.", fix="self.example_input_array = torch.zeros(1, 28 * 28)"
        )
    return move(inputs, module.device)
