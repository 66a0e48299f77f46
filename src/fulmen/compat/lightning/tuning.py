"""`trainer.tune` and `trainer.tuner`."""

from __future__ import annotations

from typing import Any

from fulmen.compat.lightning import versions
from fulmen.compat.lightning.arguments import settings_of
from fulmen.compat.spelling import say_modern
from fulmen.tuner import Tuner


class OldTuner:
    """The tuner that a Trainer had, with the order of arguments of the version that was declared."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def lr_find(
        self, model: Any, train_dataloader: Any = None, val_dataloaders: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        """`Tuner.lr_find`; the attribute of the model is set where `update_attr` asks for it."""
        say_modern("trainer.tuner.lr_find(model)", "Tuner(trainer).lr_find(model)")
        given = self._loaders(train_dataloader, val_dataloaders, kwargs)
        searched = ("min_lr", "max_lr", "num_training", "mode", "early_stop_threshold")
        declared = versions.declared() or "1.9"
        until = versions.VERSIONS.index
        order = (*searched, "datamodule") if until(declared) < until("1.3") else ("datamodule", *searched)
        given |= dict(zip(order, args, strict=False))
        return Tuner(self._trainer).lr_find(model, **{"update_attr": False, **given, **kwargs})

    def scale_batch_size(
        self, model: Any, *args: Any, train_dataloader: Any = None, val_dataloaders: Any = None, **kwargs: Any
    ) -> Any:
        """`Tuner.scale_batch_size`."""
        say_modern("trainer.tuner.scale_batch_size(model)", "Tuner(trainer).scale_batch_size(model)")
        given = self._loaders(train_dataloader, val_dataloaders, kwargs)
        if args and not isinstance(args[0], str):  # the loaders came first since 1.4
            names = ("train_dataloaders", "val_dataloaders", "datamodule", "mode", "steps_per_trial")
        else:
            names = ("mode", "steps_per_trial", "init_val", "max_trials", "batch_arg_name")
        given |= dict(zip(names, args, strict=False))
        return Tuner(self._trainer).scale_batch_size(model, **given, **kwargs)

    @staticmethod
    def _loaders(train: Any, val: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        named = {
            "train_dataloaders": kwargs.pop("train_dataloaders", train), "val_dataloaders": val,
        }  # fmt: skip
        return {name: loaders for name, loaders in named.items() if loaders is not None}


def tune(
    trainer: Any,
    model: Any,
    train_dataloaders: Any = None,
    val_dataloaders: Any = None,
    dataloaders: Any = None,
    datamodule: Any = None,
    scale_batch_size_kwargs: dict[str, Any] | None = None,
    lr_find_kwargs: dict[str, Any] | None = None,
    method: str = "fit",
    train_dataloader: Any = None,
) -> dict[str, Any]:
    """Search what `auto_scale_batch_size` and `auto_lr_find` of the Trainer ask for, and set it."""
    say_modern("trainer.tune(model)", "Tuner(trainer).lr_find(model) and .scale_batch_size(model)")
    settings = settings_of(trainer)
    train = train_dataloaders if train_dataloaders is not None else train_dataloader
    named = {
        "train_dataloaders": train, "val_dataloaders": val_dataloaders, "dataloaders": dataloaders,
        "datamodule": datamodule,
    }  # fmt: skip
    given = {name: value for name, value in named.items() if value is not None}
    found: dict[str, Any] = {}
    if settings.auto_scale_batch_size:
        wanted = settings.auto_scale_batch_size
        mode = wanted if isinstance(wanted, str) else "power"
        options = {"mode": mode, "method": method, **(scale_batch_size_kwargs or {})}
        found["scale_batch_size"] = Tuner(trainer).scale_batch_size(model, **given, **options)
    if settings.auto_lr_find:
        name = settings.auto_lr_find if isinstance(settings.auto_lr_find, str) else ""
        options = {"update_attr": True, "attr_name": name, **(lr_find_kwargs or {})}
        found["lr_find"] = Tuner(trainer).lr_find(model, **given, **options)
    return found
