"""A callback made of functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import fulmen as pl
from fulmen.callbacks import LambdaCallback
from fulmen.core.hooks import EVENTS
from fulmen.errors import ConfigError, UnknownArgumentError

from .scenarios import fit


def test_each_function_is_called_with_the_arguments_of_its_hook(tmp_path: Path) -> None:
    calls: list[str] = []

    def note(hook: str) -> Callable[..., None]:
        def call(trainer: pl.Trainer, module: pl.LightningModule, *others: object, stage: str = "") -> None:
            assert isinstance(trainer, pl.Trainer)
            assert isinstance(module, pl.LightningModule)
            calls.append(f"{hook} {stage or len(others)}")

        return call

    hooks = (
        "setup",
        "on_train_start",
        "on_train_batch_start",
        "on_train_batch_end",
        "on_train_end",
        "teardown",
    )
    fit(tmp_path, LambdaCallback(**{hook: note(hook) for hook in hooks}, on_fit_start=None), max_steps=1)
    assert calls == [
        *("setup fit", "on_train_start 0", "on_train_batch_start 2", "on_train_batch_end 3"),
        *("on_train_end 0", "teardown fit"),
    ]


def test_every_hook_of_callbacks_is_taken() -> None:
    hooks = {hook.name: lambda *args: "called" for hook in EVENTS}
    callback = LambdaCallback(**hooks)
    assert all(getattr(callback, name)() == "called" for name in hooks)


def test_an_unknown_hook_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UnknownArgumentError, match="did you mean 'on_train_batch_start'"):
        LambdaCallback(on_train_batch_strt=print)
    with pytest.raises(TypeError):
        LambdaCallback(state_dict=dict)


def test_what_cannot_be_called_is_an_error() -> None:
    with pytest.raises(ConfigError, match="on_train_start=3"):
        LambdaCallback(on_train_start=3)  # pyright: ignore[reportArgumentType]
