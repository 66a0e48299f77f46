"""Removes weights while training goes on."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from fulmen.base.report import info
from fulmen.core.callback import Callback
from fulmen.errors import ConfigError, UsageError, did_you_mean

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer

Place = tuple[nn.Module, str]
"""A module, and the name of one of its parameters."""
Amount = int | float

_GLOBAL = {"l1_unstructured": prune.L1Unstructured, "random_unstructured": prune.RandomUnstructured}
_LOCAL = {
    "ln_structured": prune.ln_structured,
    "l1_unstructured": prune.l1_unstructured,
    "random_structured": prune.random_structured,
    "random_unstructured": prune.random_unstructured,
}
_DEFAULT_NAMES = ("weight", "bias")


class ModelPruning(Callback):
    """Prunes with the methods of `torch.nn.utils.prune` after each epoch, or each validation.

    Checkpoints hold the weights as they would be if pruning ended there, so that any model can load them.

    Args:
        pruning_fn: "l1_unstructured", "random_unstructured", "ln_structured", "random_structured", a class
            like `prune.L1Unstructured` or, without `use_global_unstructured`, a function like
            `prune.l1_unstructured`.
        parameters_to_prune: by default, all parameters called like one of `parameter_names`, which are
            "weight" and "bias".
        use_global_unstructured: whether all parameters are compared with one another; else `amount` of each
            one is pruned.
        amount: a share of the parameters that are left, or a number of them; or a function of the epoch.
        apply_pruning: whether to prune, or a function that tells for an epoch.
        make_pruning_permanent: whether the masks are gone when training ends, and zeros in their place.
        use_lottery_ticket_hypothesis: whether what the first pruning leaves begins again at its initial
            values (Frankle and Carbin, 2018); or a function that tells after which epochs it does.
        resample_parameters: whether it begins at values that are drawn anew instead, and after each pruning.
        pruning_dim: the dimension along which structured methods prune.
        pruning_norm: the `n` of "ln_structured".
        verbose: 1 to tell how much is pruned, 2 to tell it for each parameter.
        prune_on_train_epoch_end: False for after each validation.
    """

    def __init__(
        self,
        pruning_fn: Callable[..., Any] | str,
        parameters_to_prune: Sequence[Place] = (),
        parameter_names: list[str] | None = None,
        use_global_unstructured: bool = True,
        amount: Amount | Callable[[int], Amount] = 0.5,
        apply_pruning: bool | Callable[[int], bool] = True,
        make_pruning_permanent: bool = True,
        use_lottery_ticket_hypothesis: bool | Callable[[int], bool] = True,
        resample_parameters: bool = False,
        pruning_dim: int | None = None,
        pruning_norm: int | None = None,
        verbose: int = 0,
        prune_on_train_epoch_end: bool = True,
    ) -> None:
        if verbose not in (0, 1, 2):
            raise ConfigError("`verbose` is unknown.", received=repr(verbose), expected="0, 1 or 2")
        share = isinstance(amount, float) and 0 <= amount <= 1
        whole = isinstance(amount, int) and not isinstance(amount, bool) and amount >= 0
        if not (share or whole or callable(amount)):
            raise ConfigError(
                "`amount` is not an amount.",
                received=repr(amount),
                expected="a share from 0.0 to 1.0, a whole number, or a function of the epoch",
            )
        self._is_global = use_global_unstructured
        self._method = _find_method(pruning_fn, use_global_unstructured, pruning_dim, pruning_norm)
        self._title = pruning_fn if isinstance(pruning_fn, str) else pruning_fn.__name__
        self._given = list(parameters_to_prune)
        self._names = parameter_names or list(_DEFAULT_NAMES)
        self._amount = amount
        self._applies = apply_pruning
        self._makes_permanent = make_pruning_permanent
        self._uses_lottery = use_lottery_ticket_hypothesis
        self._resamples = resample_parameters
        self._verbose = verbose
        self._after_epochs = prune_on_train_epoch_end
        self._places: list[Place] = []
        self._initial: list[Tensor] = []
        """The values that training began with."""
        self._copies: dict[nn.Module, nn.Module] = {}
        """The modules as they were then, where values are to be drawn anew."""
        self._has_begun_again = False
        self._loaded: dict[str, Any] = {}

    def filter_parameters_to_prune(self, parameters_to_prune: Sequence[Place] = ()) -> Sequence[Place]:
        """Override it to leave some out."""
        return parameters_to_prune

    # --------------------------------------------------------------------------------------------- in the run

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._loaded, self._initial, self._copies, self._has_begun_again = {}, [], {}, False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found = _find_parameters(pl_module, self._given, self._names)
        self._places = list(self.filter_parameters_to_prune(found))
        if self._resamples:
            self._copies = {part: copy.deepcopy(part) for part in dict(self._places)}
        if self._loaded:
            self._take_up(self._loaded)
            self._loaded = {}
        elif self._uses_lottery:
            self._initial = [_value(place).detach().clone() for place in self._places]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._after_epochs:
            self._prune(trainer, trainer.current_epoch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not (self._after_epochs or trainer.sanity_checking):
            self._prune(trainer, trainer.current_epoch)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._makes_permanent:
            self.make_pruning_permanent(pl_module)

    def make_pruning_permanent(self, module: nn.Module) -> None:
        """Put zeros in the place of all masks inside."""
        parts = set(module.modules())
        for part, name in self._places:
            if part in parts and _is_pruned((part, name)):
                prune.remove(part, name)

    def _prune(self, trainer: Trainer, epoch: int) -> None:
        applies = self._applies(epoch) if callable(self._applies) else self._applies
        amount = self._amount(epoch) if callable(self._amount) else self._amount
        if not applies or not amount:
            return
        before = [_zeros(place) for place in self._places]
        self.apply_pruning(amount)
        masks = [_mask(place) for place in self._places]
        if trainer.world_size > 1:  # each process draws its own random numbers
            for mask, shared in zip(masks, trainer.strategy.broadcast([m.cpu() for m in masks]), strict=True):
                mask.copy_(shared)
        if self._begins_again(epoch):
            self.apply_lottery_ticket_hypothesis()
            self._has_begun_again = True
        if self._verbose:
            self._tell(before, amount)

    def apply_pruning(self, amount: Amount) -> None:
        """Prune so much more."""
        if self._is_global:
            prune.global_unstructured(self._places, pruning_method=self._method, amount=amount)
        else:
            for part, name in self._places:
                self._method(part, name=name, amount=amount)

    def _begins_again(self, epoch: int) -> bool:
        if callable(self._uses_lottery):
            return self._uses_lottery(epoch)
        # After each of many prunings it would leave nothing trained.
        return self._uses_lottery and (self._resamples or not self._has_begun_again)

    def apply_lottery_ticket_hypothesis(self) -> None:
        """Let what is left begin again."""
        for part in self._copies.values():
            if isinstance(part, _CanBeDrawnAnew):
                part.reset_parameters()
        for (part, name), initial in zip(self._places, self._initial, strict=True):
            anew = isinstance(part, _CanBeDrawnAnew) and part in self._copies
            with torch.no_grad():
                _value((part, name)).copy_(getattr(self._copies[part], name) if anew else initial)

    def _tell(self, before: list[int], amount: Amount) -> None:
        after, sizes = [_zeros(place) for place in self._places], [_value(p).numel() for p in self._places]
        entire = _change(sum(before), sum(after), sum(sizes))
        info(f"{self._title}: pruned {entire}")
        if self._verbose == 2:
            for (part, name), *counts in zip(self._places, before, after, sizes, strict=True):
                info(f"{self._title} of {amount}: pruned {_change(*counts)} of {part}.{name}")

    # ------------------------------------------------------------------------------------------- checkpoints

    def state_dict(self) -> dict[str, Any]:
        if self._module is not None and self._places:
            pruned = {n: place for n, place in enumerate(self._places) if _is_pruned(place)}
            masks = {n: _mask(place).bool() for n, place in pruned.items()}
            hidden = {n: _value(place).detach()[~masks[n]] for n, place in pruned.items()}
            return {
                "masks": masks,
                "hidden": hidden,
                "initial": list(self._initial),
                "has_begun_again": self._has_begun_again,
            }
        return {**self._loaded}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loaded = {**state_dict}

    def _take_up(self, state: dict[str, Any]) -> None:
        """Prune what was pruned; what a mask hides is in no checkpoint's weights."""
        self._has_begun_again = state["has_begun_again"]
        self._initial = [
            initial.to(_value(place).device)
            for place, initial in zip(self._places, state["initial"], strict=False)
        ]
        for number, kept in state["masks"].items():
            place = self._places[number]
            value = _value(place)
            kept = kept.to(value.device)
            prune.custom_from_mask(*place, mask=kept.to(value.dtype))
            with torch.no_grad():
                value[~kept] = state["hidden"][number].to(value.device)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["state_dict"] = _without_masks(checkpoint["state_dict"])

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_places": [], "_copies": {}, "_module": None}


@runtime_checkable
class _CanBeDrawnAnew(Protocol):
    """torch's layers."""

    def reset_parameters(self) -> None: ...


def _find_method(
    given: Callable[..., Any] | str, is_global: bool, dim: int | None, norm: int | None
) -> Callable[..., Any]:
    known = _GLOBAL if is_global else _LOCAL
    if isinstance(given, str):
        if given not in known:
            raise ConfigError(
                "The pruning method is unknown."
                if given not in _LOCAL
                else "That method prunes no single weights.",
                received=f"pruning_fn={given!r}, use_global_unstructured={is_global}",
                expected=", ".join(known),
                fix="use_global_unstructured=False" if given in _LOCAL else did_you_mean(given, list(_LOCAL)),
            )
        needed = {"dim": dim} if given.endswith("_structured") else {}
        needed |= {"n": norm} if given == "ln_structured" else {}
        if None in needed.values():
            raise ConfigError(
                f"{given!r} has to know more.",
                received=f"pruning_dim={dim}, pruning_norm={norm}",
                expected="pruning_dim, and pruning_norm for 'ln_structured'",
            )
        return partial(known[given], **needed) if needed else known[given]
    is_class = inspect.isclass(given) and issubclass(given, prune.BasePruningMethod)
    method: Any = given
    if is_global and not (is_class and method.PRUNING_TYPE == "unstructured"):
        raise ConfigError(
            "Weights of different parameters are compared by a class that prunes single ones.",
            received=f"pruning_fn={given!r}",
            expected="a class like torch.nn.utils.prune.L1Unstructured",
            fix="use_global_unstructured=False",
        )
    if not callable(method):
        raise ConfigError("The pruning method cannot be called.", received=repr(given))
    return method.apply if is_class and not is_global else method


def _find_parameters(module: nn.Module, given: list[Place], names: list[str]) -> list[Place]:
    parts = list(module.modules())
    strangers = [part for part, _ in given if part not in parts]
    if strangers:
        raise UsageError("What is to be pruned is no part of the model.", received=strangers[0])
    found = given or [
        (part, name) for name in names for part in parts if part._parameters.get(name) is not None
    ]
    found = [(part, name) for part, name in found if _exists((part, name))]
    if not found:
        raise UsageError("There is nothing to prune.", received=f"parameter_names={names}")
    return found


def _exists(place: Place) -> bool:
    part, name = place
    return part._parameters.get(name) is not None or _is_pruned(place)


def _is_pruned(place: Place) -> bool:
    part, name = place
    return f"{name}_orig" in part._parameters


def _value(place: Place) -> Tensor:
    """The parameter that the optimizer trains."""
    part, name = place
    value = part._parameters[f"{name}_orig" if _is_pruned(place) else name]
    assert value is not None
    return value


def _mask(place: Place) -> Tensor:
    part, name = place
    return part.get_buffer(f"{name}_mask")


def _zeros(place: Place) -> int:
    return int((_mask(place) == 0).sum()) if _is_pruned(place) else 0


def _change(before: int, after: int, size: int) -> str:
    return f"{before}/{size} ({before / size:.2%}) -> {after}/{size} ({after / size:.2%})"


def _without_masks(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights with zeros in the place of masks."""
    plain: dict[str, Tensor] = {}
    for name, value in weights.items():
        own = name.removesuffix("_orig")
        if own != name and f"{own}_mask" in weights:
            plain[own] = value * weights[f"{own}_mask"]
        elif not (name.endswith("_mask") and f"{name.removesuffix('_mask')}_orig" in weights):
            plain[name] = value
    return plain
