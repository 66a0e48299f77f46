"""Event files for TensorBoard."""

from __future__ import annotations

import warnings
from argparse import Namespace
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from fulmen.base import files
from fulmen.base.extras import require
from fulmen.base.report import rank_zero_only, warn
from fulmen.base.tree import move
from fulmen.core.logger import rank_zero_experiment
from fulmen.core.module import LightningModule, run_of
from fulmen.engine.data import transfer_to
from fulmen.engine.dispatch import method
from fulmen.errors import UsageError
from fulmen.loggers.folder import FolderLogger
from fulmen.loggers.hparams import flatten, plain, save_yaml

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


class TensorBoardLogger(FolderLogger):
    """Writes event files and `hparams.yaml` to `save_dir/name/version_N[/sub_dir]`.

    `log_graph`: write the model's graph, traced with its `example_input_array`. `default_hp_metric`: show
    hyperparameters next to a metric called `hp_metric` where no other one is given. `kwargs` are arguments of
    `torch.utils.tensorboard.SummaryWriter`.
    """

    NAME_HPARAMS_FILE = "hparams.yaml"

    def __init__(
        self,
        save_dir: files.AnyPath,
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        log_graph: bool = False,
        default_hp_metric: bool = True,
        prefix: str = "",
        sub_dir: files.AnyPath | None = None,
        **kwargs: Any,
    ) -> None:
        require("tensorboard", extra="tensorboard")
        super().__init__(save_dir, name, version, prefix=prefix, sub_dir=sub_dir)
        self._log_graph = log_graph
        self._default_hp_metric = default_hp_metric
        self._writer_arguments = kwargs
        self._next_step = 0
        self.hparams: dict[str, Any] = {}

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """The `SummaryWriter`, for images, histograms and the like: `experiment.add_image(...)`."""
        if self._experiment is None:
            writers = require("torch.utils.tensorboard", extra="tensorboard")
            self._experiment = writers.SummaryWriter(log_dir=self.log_dir, **self._writer_arguments)
            self._writer_arguments.pop("purge_step", None)  # later files take back nothing of this one
        return self._experiment

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Write scalars; a dict of them becomes one chart with several curves."""
        writer = self.experiment
        self._next_step = max(self._next_step, (step or 0) + 1)
        for name, value in self._prefixed(metrics).items():
            if isinstance(value, Mapping):
                curves = {str(curve): _number(f"{name}/{curve}", item) for curve, item in value.items()}
                writer.add_scalars(name, curves, step)
            else:
                writer.add_scalar(name, _number(name, value), step)

    @rank_zero_only
    def log_hyperparams(
        self,
        params: dict[str, Any] | Namespace,
        metrics: Mapping[str, Any] | float | None = None,
        step: int | None = None,
    ) -> None:
        """Write hyperparameters, next to the metrics that TensorBoard is to compare runs by.

        A single number is the value of `hp_metric`. Without any metric, TensorBoard's page of hyperparameters
        leaves the run out.
        """
        shown: dict[str, Any] = plain(params)
        self.hparams.update(shown)
        save_yaml(self.hparams, files.join(self.log_dir, self.NAME_HPARAMS_FILE))
        if metrics is None:
            metrics = {"hp_metric": -1} if self._default_hp_metric else {}
        elif not isinstance(metrics, Mapping):
            metrics = {"hp_metric": metrics}
        if metrics:
            self.log_metrics(metrics, 0 if step is None else step)
            summary = require("torch.utils.tensorboard.summary", extra="tensorboard")
            for part in summary.hparams(flatten(shown), dict(self._prefixed(metrics))):
                self.experiment.file_writer.add_summary(part)

    @rank_zero_only
    def log_graph(self, model: nn.Module, input_array: Any = None) -> None:
        """Write the model's graph, if the logger was made with `log_graph=True`."""
        if not self._log_graph:
            return
        if input_array is None and isinstance(model, LightningModule):
            input_array = model.example_input_array
        if not isinstance(input_array, (Tensor, tuple)):
            warn(
                "The model's graph is not logged. Its `example_input_array` has to be a tensor or a tuple of "
                f"tensors; it is {type(input_array).__name__}."
            )
            return
        if isinstance(model, LightningModule):
            run = run_of(model)
            as_called = getattr if run is None else partial(method, run)
            transfer = transfer_to(model.device, (model,), None, as_called)
            input_array = move(input_array, model.device) if transfer is None else transfer(input_array, 0)
        with warnings.catch_warnings():  # torch's own writer still traces, which torch deprecates
            warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
            self.experiment.add_graph(model, input_array)

    def position(self) -> dict[str, Any]:
        """The first step after those that were logged."""
        return super().position() | {"step": self._next_step}

    def rewind(self, position: Mapping[str, Any]) -> None:
        """Let TensorBoard hide the steps after `position`: the run resumes there, to write them again."""
        if self._is_here(position):
            self._close()
            self._next_step = self._writer_arguments["purge_step"] = position["step"]

    def save(self) -> None:
        """Write the values that are held back."""
        if self._experiment is not None:
            self._experiment.flush()

    def finalize(self, status: str) -> None:
        """Close the event file; what is written later goes to another one."""
        self._close()

    def _close(self) -> None:
        if self._experiment is not None:
            self._experiment.close()
            self._experiment = None


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:  # the last is what tensors of several values raise
        raise UsageError(
            f"TensorBoard cannot draw {name!r}.",
            received=repr(value),
            expected="a number or a dict of numbers",
        ) from error
