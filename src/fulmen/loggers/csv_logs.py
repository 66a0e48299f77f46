"""Metrics in one CSV file and hyperparameters in one YAML file, with nothing but the standard library."""

from __future__ import annotations

import codecs
import csv
import itertools
import os
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

from torch import Tensor

from fulmen.base import files
from fulmen.base.report import info
from fulmen.core.logger import rank_zero_experiment
from fulmen.errors import ConfigError
from fulmen.loggers.folder import FolderLogger
from fulmen.loggers.hparams import plain, save_yaml

Row = dict[str, Any]


class ExperimentWriter:
    """Appends rows to `metrics.csv`; what is there already stays.

    Only rows not yet flushed are in memory. Each flush reads the header again and writes the file anew, whole
    or not at all, if there are new columns or if a process was killed before it had finished the last row.
    """

    NAME_HPARAMS_FILE = "hparams.yaml"
    NAME_METRICS_FILE = "metrics.csv"

    def __init__(self, log_dir: str, *, flush_every_n_steps: int = 100) -> None:
        self.log_dir = log_dir
        self.metrics_file_path = files.join(log_dir, self.NAME_METRICS_FILE)
        self.metrics: list[Row] = []
        self.hparams: dict[str, Any] = {}
        self._flush_every_n_steps = flush_every_n_steps
        self._flushed_step = -1
        files.make_folder(log_dir)
        self.n_rows = sum(1 for _ in _read_rows(self.metrics_file_path))
        if self.n_rows:
            info(f"{self.metrics_file_path} is there already; new rows are appended to it.")

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add a row; without a step, its number is the row's."""
        row = {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()}
        row["step"] = step = self.n_rows if step is None else step
        self.metrics.append(row)
        self.n_rows += 1
        if max(abs(step - self._flushed_step), len(self.metrics)) >= self._flush_every_n_steps:
            self.save()

    def log_hparams(self, params: Mapping[str, Any]) -> None:
        """Add to the hyperparameters, and write them."""
        self.hparams.update(plain(params))
        save_yaml(self.hparams, files.join(self.log_dir, self.NAME_HPARAMS_FILE))

    def save(self) -> None:
        """Write the rows that are held back."""
        if not self.metrics:
            return
        path = self.metrics_file_path
        columns, is_whole = _read_header(path)
        new_columns = {name for row in self.metrics for name in row}.difference(columns)
        if new_columns or not is_whole or files.is_url(path):  # most remote file systems cannot append
            columns = sorted(new_columns.union(columns)) if new_columns else columns
            _rewrite(path, columns, itertools.chain(_read_rows(path), self.metrics))
        else:
            with files.open_file(path, "ab") as file:
                _write_rows(file, columns, self.metrics)
        self._flushed_step = self.metrics[-1]["step"]
        self.metrics.clear()

    def rewind(self, n_rows: int) -> None:
        """Drop all rows but the first `n_rows`."""
        self.save()
        if n_rows < self.n_rows:
            path = self.metrics_file_path
            _rewrite(path, _read_header(path)[0], itertools.islice(_read_rows(path), n_rows))
            self.n_rows = n_rows


def _rewrite(path: str, columns: list[str], rows: Iterable[Row]) -> None:
    if files.is_url(path):
        rows = list(rows)  # not every remote file can be read while its successor is written
    header = dict(zip(columns, columns, strict=True))
    files.write_whole(path, lambda file: _write_rows(file, columns, itertools.chain([header], rows)))


def _write_rows(file: IO[bytes], columns: list[str], rows: Iterable[Row]) -> None:
    text = codecs.getwriter("utf-8")(file)
    csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n").writerows(rows)


def _read_header(path: str) -> tuple[list[str], bool]:
    """The columns, none where there is no file, and whether its last line is finished."""
    if not files.exists(path):
        return [], False
    with files.open_file(path, "rb") as file:
        header = file.readline()
        if not header.endswith(b"\n"):
            return [], False
        file.seek(-1, os.SEEK_END)
        return next(csv.reader([header.decode()])), file.read(1) == b"\n"


def _read_rows(path: str) -> Iterator[Row]:
    """The rows of the finished lines."""
    if not files.exists(path):
        return
    with files.open_file(path, "rb") as file:
        yield from csv.DictReader(line.decode() for line in file if line.endswith(b"\n"))


class CSVLogger(FolderLogger):
    """Writes `metrics.csv`, a row per call with its `step`, and `hparams.yaml` to `save_dir/name/version_N`.

    A version that exists is continued. Rows are written every `flush_logs_every_n_steps` and at every `save`.
    """

    def __init__(
        self,
        save_dir: files.AnyPath,
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        prefix: str = "",
        flush_logs_every_n_steps: int = 100,
    ) -> None:
        if flush_logs_every_n_steps < 1:
            raise ConfigError(
                "`flush_logs_every_n_steps` has to be a positive number.", received=flush_logs_every_n_steps
            )
        super().__init__(save_dir, name, version, prefix=prefix)
        self._flush_every_n_steps = flush_logs_every_n_steps

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """What writes the files."""
        if self._experiment is None:
            self._experiment = ExperimentWriter(self.log_dir, flush_every_n_steps=self._flush_every_n_steps)
        return self._experiment

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add a row."""
        self.experiment.log_metrics(self._prefixed(metrics), step)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Add to `hparams.yaml`."""
        self.experiment.log_hparams(params)

    def position(self) -> dict[str, Any]:
        """The number of rows."""
        writer = self.experiment
        return super().position() | {"n_rows": 0 if self._experiment is None else writer.n_rows}

    def rewind(self, position: Mapping[str, Any]) -> None:
        """Drop the rows after `position`: the run resumes there, to write them again."""
        if self._is_here(position):
            self.experiment.rewind(position["n_rows"])

    def save(self) -> None:
        """Write the rows that are held back."""
        if self._experiment is not None:
            self._experiment.save()
