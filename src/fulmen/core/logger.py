"""The base class of loggers: where metrics and hyperparameters go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any

from fulmen.base.report import rank_zero_only

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fulmen.core.callback import Callback


class Logger(ABC):
    """Only rank 0 calls the writing methods. Everything it is given is a plain Python number."""

    @property
    @abstractmethod
    def name(self) -> str | None:
        """Name of the experiment."""

    @property
    @abstractmethod
    def version(self) -> int | str | None:
        """Which run of the experiment this is."""

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write the values that belong to one step."""

    @abstractmethod
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Write what the run was started with."""

    def log_graph(self, model: nn.Module, input_array: Tensor | None = None) -> None:
        """Write the model's graph, where the logger can show one."""

    @property
    def root_dir(self) -> str | None:
        """Folder of the experiment, with all its versions."""
        return None

    @property
    def log_dir(self) -> str | None:
        """Folder of this version."""
        return None

    @property
    def save_dir(self) -> str | None:
        """The folder that `root_dir` is in; checkpoints go below it too."""
        return None

    @property
    def group_separator(self) -> str:
        """What separates the groups in a metric's name."""
        return "/"

    def save(self) -> None:
        """Write out what is still held back; called before each checkpoint, and at the end of a run."""

    def agree_on_version(self, broadcast: Callable[[Any], Any]) -> None:
        """Have the version that rank 0 has; `broadcast` gives every rank what rank 0 gives it."""

    def position(self) -> dict[str, Any]:
        """Where its records end, for `rewind` to come back to; a checkpoint holds it."""
        return {}

    def rewind(self, position: dict[str, Any]) -> None:
        """Forget what was written after `position`: the run resumes there and will write it again."""

    def mark_beginning(self) -> None:
        """A run begins that would have gone on from a checkpoint, and there is none.

        If that is because an earlier one was killed before it had saved anything, its records go.
        """

    def forget_beginning(self) -> None:
        """That run has ended: its records stay."""

    def finalize(self, status: str) -> None:
        """The run has ended: `"success"`, `"interrupted"` or `"failed"`."""
        self.save()

    def after_save_checkpoint(self, checkpoint_callback: Callback) -> None:
        """A checkpoint was written, by this callback."""


class _Nothing:
    """Takes any call and any attribute, and does nothing."""

    def __getattr__(self, name: str) -> _Nothing:
        return self

    def __getitem__(self, key: Any) -> _Nothing:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> _Nothing:
        return self

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *exception: Any) -> None:
        pass


class DummyLogger(Logger):
    """Writes nothing, and lets user code that writes through `experiment` run; `fast_dev_run` uses it."""

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def experiment(self) -> Any:
        """Accepts whatever is called on it."""
        return _Nothing()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        pass

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        pass


def rank_zero_experiment(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Decorate an `experiment` getter: ranks other than 0 get an object that does nothing."""

    @wraps(make)
    def experiment(self: Any) -> Any:
        return make(self) if rank_zero_only.rank == 0 else _Nothing()  # pyright: ignore[reportFunctionMemberAccess]

    return experiment
