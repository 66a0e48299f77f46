"""Calling a method by the signature that it has, with what the engine passes today."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer

from fulmen.compat.lightning.hooks import CALLBACK, CHANGED, MODERN, OldSignature, keyword_only_names, kind_of
from fulmen.core.callback import Callback
from fulmen.core.optimizers import LightningOptimizer

if TYPE_CHECKING:
    from fulmen.compat.lightning.adapter import LightningAdapter

Call = Callable[..., Any]


def called_as(signature: OldSignature, owner: Any, call: Call, adapter: LightningAdapter) -> Call:
    """`call`, a method of `owner` with an old signature, as something that takes what the engine passes."""
    if signature.hook == "on_load_checkpoint":
        return _with_own_state(signature, owner, call)
    lead = 2 if kind_of(owner) == CALLBACK else 0  # trainer and module
    modern, filled = MODERN[signature.hook], _filled(adapter, signature.hook)
    by_name = keyword_only_names(call) & set(signature.parameters)
    sources: list[tuple[str, int | None]] = [
        (name, modern.index(name) if name in modern else None) for name in signature.parameters
    ]

    def adapted(*given: Any, **keywords: Any) -> Any:
        own = given[lead:]
        if len(own) > len(modern) and by_name:
            named = {name: own[index] for index, name in enumerate(signature.parameters) if name in by_name}
            return call(*given[: lead + len(modern)], **named)
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


def called_today(
    owner: Any, hook: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a hook of today is given by an override that calls it as it was called once."""
    lead = 2 if kind_of(owner) == CALLBACK else 0
    own = args[lead:]
    if hook == "backward":  # what follows the index is for the tensor's own
        optimizer = isinstance((*own[1:2], kwargs.get("optimizer"))[0], (Optimizer, LightningOptimizer))
        rest = {name: value for name, value in kwargs.items() if not name.startswith("optimizer")}
        return ((own[0], *own[3:]), rest) if optimizer else (args, kwargs)
    for signature in CHANGED:
        given = dict(zip(signature.parameters, own, strict=False))
        if (
            signature.hook == hook
            and len(given) == len(own)
            and kwargs.keys() <= set(signature.parameters[len(own) :])
        ):
            given |= kwargs
            given.setdefault("optimizer_closure", given.pop("second_order_closure", None))
            return (*args[:lead], *(given.get(name) for name in MODERN[hook])), {}
    return args, kwargs


def _filled(adapter: LightningAdapter, hook: str) -> dict[str, Callable[[], Any]]:
    """What is passed for parameters that nobody passes any more."""
    return {
        "dataloader_idx": lambda: 0,
        "optimizer_idx": lambda: adapter.optimizer_idx,
        "opt_idx": lambda: adapter.optimizer_idx,
        "optimizer": lambda: adapter.optimizer,
        "hiddens": lambda: adapter.hiddens,
        "outputs": lambda: adapter.results.given_to(hook),
    }


def _with_own_state(signature: OldSignature, owner: Callback, call: Call) -> Call:
    """A callback that is given its own state instead of the whole checkpoint, if there is one."""

    def load(trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        state = checkpoint.get("callbacks", {}).get(owner.state_key)
        if state is not None:
            call(*(() if signature.parameters == ("checkpointed_state",) else (trainer, module)), state)

    return load
