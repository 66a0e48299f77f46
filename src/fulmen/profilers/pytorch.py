"""Operators and kernels, by `torch.profiler`."""

from __future__ import annotations

import inspect
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import IO, Any

import torch
from torch import nn
from torch.autograd.profiler_util import EventList
from torch.profiler import ProfilerAction, profile, record_function

from fulmen.base import files
from fulmen.core.profiler import Profiler
from fulmen.errors import ConfigError, UnknownArgumentError, did_you_mean
from fulmen.profilers.texts import already_started, not_started, title

_BATCH_SPANS = ("run_training_batch", "validation_step", "test_step", "predict_step")
"""The end of such a span is a step of the schedule."""

_SORT_KEYS = {"count"} | {
    key
    for device in ("cpu", "device", "cuda", "xpu")
    for key in (
        f"{device}_time",
        f"{device}_time_total",
        f"self_{device}_time_total",
        f"{device}_memory_usage",
        f"self_{device}_memory_usage",
    )
} - {"self_cpu_time"}


class PyTorchProfiler(Profiler):
    """Records what `torch.profiler` sees, with the spans as labels.

    `profiler_kwargs` are arguments of `torch.profiler.profile`. Without a `schedule`, all of a run is kept in
    memory. With one, a batch is a step of it, and the report is of the last time that it recorded; with
    `acc_events=True`, of all times.

    `export_to_chrome`: write a trace, `{stage}-{filename}[-step{N}].pt.trace.json`, each time something was
    recorded, unless `on_trace_ready` says what to do then. `record_module_names`: label the forward passes of
    the model's parts. `emit_nvtx`: record nothing, but mark spans and operators for
    `nsys profile -c cudaProfilerApi`.
    """

    def __init__(
        self,
        dirpath: files.AnyPath | None = None,
        filename: str | None = None,
        group_by_input_shapes: bool = False,
        emit_nvtx: bool = False,
        export_to_chrome: bool = True,
        row_limit: int = 20,
        sort_by_key: str | None = None,
        record_module_names: bool = True,
        table_kwargs: dict[str, Any] | None = None,
        **profiler_kwargs: Any,
    ) -> None:
        super().__init__(dirpath, filename)
        table_names = inspect.signature(EventList.table).parameters.keys() - {"self", "sort_by", "row_limit"}
        _check_names("table_kwargs", table_kwargs or {}, table_names)
        _check_names("PyTorchProfiler", profiler_kwargs, inspect.signature(profile).parameters)
        if sort_by_key is not None and sort_by_key not in _SORT_KEYS:
            raise ConfigError(
                "`sort_by_key` is no column of the table.",
                received=sort_by_key,
                expected=", ".join(sorted(_SORT_KEYS)),
                fix=did_you_mean(sort_by_key, _SORT_KEYS),
            )
        if emit_nvtx and profiler_kwargs:
            raise ConfigError("With `emit_nvtx` nothing is recorded here.", received=sorted(profiler_kwargs))
        _check_schedule(profiler_kwargs.get("schedule"))
        self._group_by_input_shapes = group_by_input_shapes
        self._emit_nvtx = emit_nvtx
        self._export_to_chrome = export_to_chrome
        self._row_limit = row_limit
        self._sort_by_key = sort_by_key
        self._record_module_names = record_module_names
        self._table_kwargs = table_kwargs or {}
        self._profiler_kwargs = profiler_kwargs
        if group_by_input_shapes:
            profiler_kwargs.setdefault("record_shapes", True)
        self.profiler: profile | None = None
        self._recording: ExitStack | None = None
        self._open: dict[str, record_function] = {}
        self._table = ""
        self._unwatch = ExitStack()

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        super().setup(stage, local_rank, log_dir)
        self._open.clear()
        self._table = ""

    def watch(self, module: nn.Module) -> None:
        if self._record_module_names:
            for remove in _label_parts(module):
                self._unwatch.callback(remove)

    def start(self, action_name: str) -> None:
        if action_name in self._open:
            raise already_started(action_name)
        if self._recording is None:
            self._recording = self._record()
        span = self._open[action_name] = record_function(action_name)
        span.__enter__()

    def stop(self, action_name: str) -> None:
        span = self._open.pop(action_name, None)
        if span is None:
            raise not_started(action_name)
        span.__exit__(None, None, None)
        if self.profiler is not None and action_name.rpartition(".")[2] in _BATCH_SPANS:
            self.profiler.step()

    def summary(self) -> str:
        """Ends the recording; the table of its operators."""
        self._end()
        if self._emit_nvtx:
            return ""
        return f"{title(self._stage)}\n\n{self._table or 'Nothing was recorded.'}\n"

    def teardown(self, stage: str | None) -> None:
        self._end()
        self._unwatch.close()

    def _record(self) -> ExitStack:
        with ExitStack() as recording:
            if self._emit_nvtx:
                recording.enter_context(torch.cuda.profiler.profile())
                recording.enter_context(torch.autograd.profiler.emit_nvtx())
            else:
                arguments: dict[str, Any] = self._profiler_kwargs | {"on_trace_ready": self._on_trace_ready}
                self.profiler = recording.enter_context(profile(**arguments))
            return recording.pop_all()

    def _end(self) -> None:
        if self._recording is not None:
            for span in reversed(self._open.values()):  # left open by an error
                span.__exit__(None, None, None)
            self._open.clear()
            recording, self._recording = self._recording, None
            recording.close()
            self.profiler = None

    def _on_trace_ready(self, recorded: profile) -> None:
        events = recorded.key_averages(group_by_input_shape=self._group_by_input_shapes)
        on_device = any(event.device_time_total > 0 for event in events)
        sort_by = self._sort_by_key or ("device_time_total" if on_device else "cpu_time_total")
        self._table = events.table(sort_by=sort_by, row_limit=self._row_limit, **self._table_kwargs)
        if "on_trace_ready" in self._profiler_kwargs:
            self._profiler_kwargs["on_trace_ready"](recorded)
        elif self._export_to_chrome:
            part = f"step{recorded.step_num}" if "schedule" in self._profiler_kwargs else None
            _export(recorded, self.file_path(".pt.trace.json", part))


def _export(recorded: profile, path: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # torch writes to local files only, and not all at once
        local_path = os.path.join(folder, "trace.json")
        recorded.export_chrome_trace(local_path)

        def copy(target: IO[bytes]) -> None:
            with open(local_path, "rb") as source:
                shutil.copyfileobj(source, target)

        files.write_whole(path, copy)


def _label_parts(module: nn.Module) -> Iterable[Callable[[], None]]:
    """Label the forward pass of each part of `module` with its class and name; gives what takes that back."""
    running: list[record_function] = []  # calls of modules nest, so the last one to begin is the first to end

    def label(name: str, part: nn.Module) -> Iterable[Callable[[], None]]:
        text = f"[Module]{type(part).__name__}: {name}"

        # Functions, not methods: a copy of the model must not copy the profiler.
        def before(part: nn.Module, arguments: Any) -> None:
            if not torch.compiler.is_compiling():
                span = record_function(text)
                span.__enter__()
                running.append(span)

        def after(part: nn.Module, arguments: Any, output: Any) -> None:
            if not torch.compiler.is_compiling():
                running.pop().__exit__(None, None, None)

        yield part.register_forward_pre_hook(before).remove
        yield part.register_forward_hook(after, always_call=True).remove

    for name, part in module.named_modules():
        if name:
            yield from label(name, part)


def _check_names(where: str, given: dict[str, Any], known: Iterable[str]) -> None:
    known = sorted(known)
    for name in given:
        if name not in known:
            raise UnknownArgumentError(
                f"{where} has an argument that torch.profiler does not know.",
                received=name,
                expected=", ".join(known),
                fix=did_you_mean(name, known),
            )


def _check_schedule(schedule: Any) -> None:
    if schedule is not None and not (callable(schedule) and isinstance(schedule(0), ProfilerAction)):
        raise ConfigError(
            "`schedule` cannot be used.",
            received=schedule,
            expected="a function from the number of a batch to a torch.profiler.ProfilerAction",
            fix="torch.profiler.schedule(wait=1, warmup=1, active=3)",
        )
