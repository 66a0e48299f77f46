"""`TrainResult` and `EvalResult`, with which steps logged in 0.9 to 1.1."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fulmen.compat.spelling import say_modern
from fulmen.core.module import LightningModule


class Result(dict[str, Any]):
    """A dict that a step fills and returns; what was logged in it reaches the module when it does."""

    def __init__(
        self,
        minimize: Tensor | None = None,
        early_stop_on: Tensor | None = None,
        checkpoint_on: Tensor | None = None,
        hiddens: Any = None,
    ) -> None:
        say_modern(f"{type(self).__name__}(...) in a step", "self.log(...), and return the loss")
        super().__init__()
        monitored = {"early_stop_on": early_stop_on, "checkpoint_on": checkpoint_on}
        self.__dict__.update(
            minimize=minimize,
            hiddens=hiddens,
            monitored={name: value for name, value in monitored.items() if value is not None},
            logged={},
            written={},
        )

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__:
            self.__dict__[name] = value
        else:
            self[name] = value

    def log(
        self, name: str, value: Any, prog_bar: bool = False, logger: bool = True, on_step: bool = True,
        on_epoch: bool = False, reduce_fx: Any = torch.mean, *unused: Any, **arguments: Any,
    ) -> None:  # fmt: skip
        """`LightningModule.log`, once the step returns this."""
        self[name] = value
        given = {"prog_bar": prog_bar, "logger": logger, "on_step": on_step, "on_epoch": on_epoch}
        self.__dict__["logged"][name] = {**given, "reduce_fx": reduce_fx, **arguments}

    def log_dict(
        self, dictionary: dict[str, Any], prog_bar: bool = False, logger: bool = True, on_step: bool = False,
        on_epoch: bool = True, *args: Any, **arguments: Any,
    ) -> None:  # fmt: skip
        """`log` of each entry."""
        for name, value in dictionary.items():
            self.log(name, value, prog_bar, logger, on_step, on_epoch, *args, **arguments)

    def rename_keys(self, map_dict: dict[str, str]) -> None:
        """Log under other names what was logged here."""
        logged = self.__dict__["logged"]
        for old, new in map_dict.items():
            self[new] = self.pop(old)
            if old in logged:
                logged[new] = logged.pop(old)

    def drop_hiddens(self) -> None:
        """Forget the hidden state."""
        self.__dict__["hiddens"] = None

    def deliver(self, module: LightningModule) -> dict[str, Any] | Tensor | None:
        """Log what was logged here, and give what a step returns today."""
        for name, arguments in self.__dict__["logged"].items():
            module.log(name, self[name], **arguments)
        for name, value in self.__dict__["monitored"].items():
            module.log(name, value, logger=False, on_step=False, on_epoch=True)
        for filename, predictions in self.__dict__["written"].items():
            torch.save(predictions, filename)
        loss, hiddens = self.__dict__["minimize"], self.__dict__["hiddens"]
        if loss is None:
            return self
        return {"loss": loss, **self, **({} if hiddens is None else {"hiddens": hiddens})}


def stacked(results: list[Result]) -> Result:
    """One result with what all of a pass hold: tensors as one along the batch, anything else in lists."""
    whole = copy(results[0])
    whole.clear()
    for name in dict.fromkeys(name for result in results for name in result):
        values = [result[name] for result in results if name in result]
        if all(isinstance(value, Tensor) for value in values):
            whole[name] = torch.cat([value if value.dim() else value[None] for value in values])
        else:
            whole[name] = values
    for name in results[0].__dict__["monitored"]:
        values = [result.__dict__["monitored"][name] for result in results]
        whole[name] = torch.stack([torch.as_tensor(value) for value in values]).float().mean()
    return whole


class TrainResult(Result):
    """What `training_step` returned: `minimize` is the loss."""


class EvalResult(Result):
    """What `validation_step` and `test_step` returned: logged values are averaged over the epoch."""

    def __init__(
        self,
        early_stop_on: Tensor | None = None,
        checkpoint_on: Tensor | None = None,
        hiddens: Any = None,
    ) -> None:
        super().__init__(None, early_stop_on, checkpoint_on, hiddens)

    def log(
        self, name: str, value: Any, prog_bar: bool = False, logger: bool = True, on_step: bool = False,
        on_epoch: bool = True, *args: Any, **arguments: Any,
    ) -> None:  # fmt: skip
        """`LightningModule.log`, once the step returns this."""
        super().log(name, value, prog_bar, logger, on_step, on_epoch, *args, **arguments)

    def write(self, name: str, values: Any, filename: str = "predictions.pt") -> None:
        """Add `values` to the list `name` of a file of predictions."""
        predictions = self.__dict__["written"].setdefault(
            filename, torch.load(filename) if Path(filename).exists() else {}
        )
        predictions.setdefault(name, []).extend(values if isinstance(values, (list, Tensor)) else [values])

    def write_dict(self, predictions_dict: dict[str, Any], filename: str = "predictions.pt") -> None:
        """`write` of each entry."""
        for name, values in predictions_dict.items():
            self.write(name, values, filename)
