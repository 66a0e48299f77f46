"""Calling a method by the signature that it has, with what the engine passes today."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fulmen.compat.lightning.hooks import CALLBACK, MODERN, OldSignature, kind_of
from fulmen.core.callback import Callback

if TYPE_CHECKING:
    from fulmen.compat.lightning.adapter import LightningAdapter

Call = Callable[..., Any]


def called_as(signature: OldSignature, call: Call, adapter: LightningAdapter) -> Call:
    """`call`, which has an old signature, as something that takes what the engine passes."""
    if signature.hook == "on_load_checkpoint":
        return _with_own_state(signature, call)
    owner = getattr(call, "__self__", None)
    lead = 2 if owner is not None and kind_of(owner) == CALLBACK else 0  # trainer and module
    modern, filled = MODERN[signature.hook], _filled(adapter, signature.hook)
    by_name = _keyword_only(call) & set(signature.parameters)
    sources: list[tuple[str, int | None]] = [
        (name, modern.index(name) if name in modern else None) for name in signature.parameters
    ]

    def adapted(*given: Any, **keywords: Any) -> Any:
        own = given[lead:]
        if len(own) > len(modern):  # by the user, or with the index of a loader
            return call(*given, **keywords)
        values = {
            name: keywords.get(name, own[index] if index is not None and index < len(own) else None)
            if index is not None
            else filled[name]()
            for name, index in sources
        }
        named = {name: values.pop(name) for name in by_name}
        return call(*given[:lead], *values.values(), **named)

    return adapted


def _filled(adapter: LightningAdapter, hook: str) -> dict[str, Callable[[], Any]]:
    """What is passed for parameters that nobody passes any more."""
    stage = "predict" if "predict" in hook else "training"
    return {
        "dataloader_idx": lambda: 0,
        "optimizer_idx": lambda: adapter.optimizer_idx,
        "opt_idx": lambda: adapter.optimizer_idx,
        "optimizer": lambda: adapter.optimizer,
        "hiddens": lambda: adapter.hiddens,
        "outputs": lambda: adapter.results.of_epoch(stage),
    }


def _keyword_only(call: Call) -> set[str]:
    return {p.name for p in inspect.signature(call).parameters.values() if p.kind is p.KEYWORD_ONLY}


def _with_own_state(signature: OldSignature, call: Call) -> Call:
    """A callback that is given its own state instead of the whole checkpoint, if there is one."""
    owner: Callback = call.__self__  # pyright: ignore[reportFunctionMemberAccess]

    def load(trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        state = checkpoint.get("callbacks", {}).get(owner.state_key)
        if state is not None:
            call(*(() if signature.parameters == ("checkpointed_state",) else (trainer, module)), state)

    return load
