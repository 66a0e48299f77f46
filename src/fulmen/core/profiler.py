"""The base class of profilers: how long the parts of a run take."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fulmen.base import files
from fulmen.base.report import info

if TYPE_CHECKING:
    from torch import nn


class Profiler(ABC):
    """Measures named spans. Spans are wrapped around hooks and steps only where a run has a profiler.

    With a `filename`, reports go to `dirpath/{stage}-{filename}.txt`, without one they are printed.
    """

    _stage: str | None = None
    _local_rank: int | None = None
    _log_dir: str | None = None

    def __init__(self, dirpath: files.AnyPath | None = None, filename: str | None = None) -> None:
        self.dirpath = dirpath
        self.filename = filename

    @abstractmethod
    def start(self, action_name: str) -> None:
        """A span begins."""

    @abstractmethod
    def stop(self, action_name: str) -> None:
        """The span of this name ends."""

    @contextmanager
    def profile(self, action_name: str) -> Iterator[str]:
        """A span around a block."""
        self.start(action_name)
        try:
            yield action_name
        finally:
            self.stop(action_name)

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        """A run begins. Without `dirpath`, files go to `log_dir`; `local_rank` tells processes apart."""
        self._stage, self._local_rank, self._log_dir = stage, local_rank, log_dir

    def watch(self, module: nn.Module) -> None:
        """The model of the run is in place."""

    def summary(self) -> str:
        """The report, as text."""
        return ""

    def describe(self) -> None:
        """Print the report, or write it to the file that was asked for."""
        text = self.summary()
        if not text:
            return
        if self.filename is None:
            info(text)
        else:
            files.write_whole(self.file_path(".txt"), lambda file: file.write(text.encode()))

    def teardown(self, stage: str | None) -> None:
        """The run has ended."""

    def file_path(self, ending: str, part: str | None = None) -> str:
        """Where to write: `dirpath/{stage}-{filename}-{part}-{local_rank}{ending}`, without what is None."""
        names = [self._stage, self.filename, part, self._local_rank]
        name = "-".join(str(name) for name in names if name is not None)
        return files.join(self.dirpath or self._log_dir or ".", (name or "profile") + ending)
