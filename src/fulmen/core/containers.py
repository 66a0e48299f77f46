"""Containers of hyperparameters, made again from what a checkpoint says of them; nothing else is."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from fulmen.base import extras
from fulmen.base.safe_load import Unrestored, everything_in, unrestored_class
from fulmen.core.hparams import AttributeDict
from fulmen.errors import CheckpointError

_OMEGACONF = {"omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig"}
_DEEPEST = 100


def restored(content: Any) -> Any:
    """The same with Namespaces, attribute dicts and OmegaConf containers in place of what stands for them."""
    return _Restoring().restore(content, _DEEPEST)


class _Restoring:
    def __init__(self) -> None:
        self.done: dict[int, Any] = {}  # what is shared is made once

    def restore(self, value: Any, levels: int) -> Any:
        if not levels:
            raise CheckpointError("The hyperparameters are nested too deep, or in themselves.")
        if id(value) not in self.done:
            self.done[id(value)] = self._make(value, levels - 1)
        return self.done[id(value)]

    def _make(self, value: Any, levels: int) -> Any:
        name = unrestored_class(value)
        if isinstance(value, Unrestored):
            if name == "argparse.Namespace":
                given = self.restore(value.state, levels) if isinstance(value.state, dict) else {}
                return Namespace(**{key: entry for key, entry in given.items() if _is_public(key)})
            return _config(self._plain(value, levels)) if name in _OMEGACONF else value
        if isinstance(value, dict):
            content = {key: self.restore(entry, levels) for key, entry in value.items()}
            if name is not None:
                return AttributeDict(content)
            return content if type(value) is dict else value
        if type(value) in (list, tuple):
            return type(value)(self.restore(entry, levels) for entry in value)
        return value

    def _plain(self, node: Any, levels: int) -> Any:
        """What is in a node of OmegaConf's, without its parents and types."""
        if not levels:
            raise CheckpointError("The hyperparameters are nested too deep, or in themselves.")
        if not isinstance(node, Unrestored) or not str(unrestored_class(node)).startswith("omegaconf."):
            return self.restore(node, levels)
        state = node.state if isinstance(node.state, dict) else {}
        content = state.get("_content", state.get("_val"))
        if isinstance(content, dict):
            return {key: self._plain(entry, levels - 1) for key, entry in content.items()}
        if isinstance(content, list):
            return [self._plain(entry, levels - 1) for entry in content]
        return self.restore(content, levels)


def _is_public(key: Any) -> bool:
    return isinstance(key, str) and not key.startswith("__")


def _config(content: Any) -> Any:
    """OmegaConf's container where that is installed; else a dict whose keys are attributes as well."""
    holds_others = any(unrestored_class(leaf) is not None for leaf in everything_in(content))
    if extras.available("omegaconf") and not holds_others:
        omegaconf: Any = extras.require("omegaconf", extra="omegaconf")
        return omegaconf.OmegaConf.create(content)
    return _with_attributes(content)


def _with_attributes(content: Any) -> Any:
    if isinstance(content, dict):
        return AttributeDict({key: _with_attributes(entry) for key, entry in content.items()})
    return [_with_attributes(entry) for entry in content] if isinstance(content, list) else content
