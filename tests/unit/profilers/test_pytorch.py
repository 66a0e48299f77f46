"""What torch.profiler recorded is labelled, reported and exported."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._inductor  # torch.profiler imports it, and that sets an environment variable
from torch import Tensor, nn
from torch.profiler import ProfilerAction, schedule

from fulmen.errors import ConfigError, UnknownArgumentError, UsageError
from fulmen.profilers import PyTorchProfiler


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.ReLU(), nn.Linear(8, 1)))


def a_run(profiler: PyTorchProfiler, folder: Path, n_batches: int = 4, stage: str = "fit") -> nn.Module:
    """What the engine does with a profiler."""
    model = make_model()
    profiler.setup(stage, None, str(folder))
    profiler.watch(model)
    with profiler.profile("run_training_epoch"):
        for _ in range(n_batches):
            with (
                profiler.profile("run_training_batch"),
                profiler.profile("[LightningModule]Net.training_step"),
            ):
                model(torch.ones(2, 4)).sum().backward()
    profiler.describe()
    profiler.teardown(stage)
    return model


def counts(profiler: PyTorchProfiler) -> dict[str, int]:
    """Calls of each row of the report."""
    rows = [re.split(r"  +", line.strip()) for line in profiler.summary().splitlines()]
    return {row[0]: int(cell) for row in rows for cell in row[1:] if cell.isdigit()}


def events_in(path: Path) -> list[dict[str, Any]]:
    events = json.loads(path.read_text())["traceEvents"]
    return [event for event in events if event.get("cat") in ("user_annotation", "cpu_op")]


def names_in(path: Path) -> list[str]:
    return [event["name"] for event in events_in(path)]


def test_spans_operators_and_parts_of_the_model_are_in_the_report_and_the_trace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    profiler = PyTorchProfiler(row_limit=100)
    a_run(profiler, tmp_path)

    expected = {
        "run_training_epoch": 1,
        "run_training_batch": 4,
        "[LightningModule]Net.training_step": 4,
        "aten::linear": 8,
        "[Module]Linear: 0": 4,
        "[Module]Sequential: 1": 4,
        "[Module]Linear: 1.1": 4,
    }
    assert expected.items() <= counts(profiler).items()
    assert caplog.messages == [profiler.summary()]
    assert profiler.summary().startswith("FIT Profiler Report\n")
    assert [path.name for path in tmp_path.iterdir()] == ["fit.pt.trace.json"]
    trace = names_in(tmp_path / "fit.pt.trace.json")
    assert {name: trace.count(name) for name in expected} == expected


def test_a_schedule_records_some_batches_only(tmp_path: Path) -> None:
    profiler = PyTorchProfiler(
        tmp_path,
        "run",
        row_limit=100,
        schedule=schedule(wait=1, warmup=1, active=2, repeat=2),
        acc_events=True,
    )
    a_run(profiler, tmp_path, n_batches=12)

    assert {path.name for path in tmp_path.iterdir()} == {
        "fit-run.txt",
        "fit-run-step4.pt.trace.json",
        "fit-run-step8.pt.trace.json",
    }
    assert names_in(tmp_path / "fit-run-step4.pt.trace.json").count("run_training_batch") == 2
    assert counts(profiler)["run_training_batch"] == 4
    assert (tmp_path / "fit-run.txt").read_text() == profiler.summary()


@pytest.mark.parametrize("step", ["validation_step", "test_step", "predict_step"])
def test_evaluation_batches_are_steps_of_the_schedule_too(step: str, tmp_path: Path) -> None:
    profiler = PyTorchProfiler(row_limit=100, schedule=schedule(wait=2, warmup=1, active=1, repeat=1))
    profiler.setup("validate", None, str(tmp_path))
    for _ in range(6):
        with profiler.profile("other"):
            pass
        with profiler.profile(f"[LightningModule]Net.{step}"):
            torch.ones(2).sum()

    assert counts(profiler)[f"[LightningModule]Net.{step}"] == 1


def test_a_run_that_ends_while_recording_is_reported(tmp_path: Path) -> None:
    profiler = PyTorchProfiler(row_limit=100, schedule=schedule(wait=0, warmup=1, active=5))
    a_run(profiler, tmp_path, n_batches=3)

    assert counts(profiler)["run_training_batch"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["fit-step3.pt.trace.json"]


def test_a_schedule_that_never_records_says_so(tmp_path: Path) -> None:
    profiler = PyTorchProfiler(schedule=schedule(wait=100, warmup=1, active=1))
    a_run(profiler, tmp_path)

    assert "Nothing was recorded" in profiler.summary()
    assert list(tmp_path.iterdir()) == []


def test_on_trace_ready_takes_the_place_of_the_export(tmp_path: Path) -> None:
    seen: list[Any] = []
    profiler = PyTorchProfiler(on_trace_ready=lambda recorded: seen.append(len(recorded.events())))
    a_run(profiler, tmp_path)

    assert len(seen) == 1
    assert seen[0] > 0
    assert list(tmp_path.iterdir()) == []


def test_the_export_can_be_switched_off(tmp_path: Path) -> None:
    a_run(PyTorchProfiler(export_to_chrome=False), tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_the_report_can_be_sorted_cut_and_grouped(tmp_path: Path) -> None:
    profiler = PyTorchProfiler(
        group_by_input_shapes=True,
        export_to_chrome=False,
        row_limit=3,
        sort_by_key="count",
        record_module_names=False,
        table_kwargs={"max_name_column_width": 20},
    )
    a_run(profiler, tmp_path)

    called = list(counts(profiler).values())
    assert called == sorted(called, reverse=True)
    assert len(called) == 3
    assert "Input Shapes" in profiler.summary()
    assert "[Module]" not in profiler.summary()


def test_each_run_has_a_report_of_its_own(tmp_path: Path) -> None:
    profiler = PyTorchProfiler(row_limit=100)
    a_run(profiler, tmp_path, n_batches=2)
    a_run(profiler, tmp_path, n_batches=3, stage="validate")

    assert counts(profiler)["run_training_batch"] == 3
    assert {path.name for path in tmp_path.iterdir()} == {"fit.pt.trace.json", "validate.pt.trace.json"}


def test_the_model_is_left_as_it_was_and_can_be_copied_meanwhile(tmp_path: Path) -> None:
    profiler = PyTorchProfiler()
    model = make_model()
    profiler.setup("fit", None, str(tmp_path))
    profiler.watch(model)
    with profiler.profile("a"):
        copy.deepcopy(model)(torch.ones(1, 4))
        model(torch.ones(1, 4))
    profiler.teardown("fit")

    parts = list(model.modules())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in parts)


class Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ZeroDivisionError


def test_labels_end_where_a_forward_pass_fails(tmp_path: Path) -> None:
    profiler = PyTorchProfiler(row_limit=100)
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(Fails()))
    profiler.setup("fit", None, str(tmp_path))
    profiler.watch(model)
    with profiler.profile("a"):
        with pytest.raises(ZeroDivisionError):
            model(torch.ones(1, 4))
        torch.ones(3).sum()
    profiler.describe()
    profiler.teardown("fit")

    events = {event["name"]: event for event in events_in(tmp_path / "fit.pt.trace.json")}
    for name in ("[Module]Fails: 1.0", "[Module]Sequential: 1"):
        assert events[name]["ts"] + events[name]["dur"] <= events["aten::sum"]["ts"]


def test_a_run_that_fails_inside_a_span_is_reported(tmp_path: Path) -> None:
    profiler = PyTorchProfiler(row_limit=100)
    profiler.setup("fit", None, str(tmp_path))
    profiler.start("run_training_batch")
    profiler.start("[LightningModule]Net.training_step")
    torch.ones(2).sum()
    profiler.describe()
    profiler.teardown("fit")

    assert counts(profiler)["aten::sum"] == 1


def test_stopping_what_was_not_started_is_an_error() -> None:
    with pytest.raises(UsageError, match="'never'"):
        PyTorchProfiler().stop("never")


def test_starting_twice_is_an_error(tmp_path: Path) -> None:
    profiler = PyTorchProfiler(tmp_path)
    with profiler.profile("twice"), pytest.raises(UsageError, match="'twice'"):
        profiler.start("twice")
    profiler.teardown(None)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"record_shape": True}, "did you mean 'record_shapes'"),
        ({"table_kwargs": {"row_limit": 3}}, "row_limit"),
        ({"table_kwargs": {"heading": "x"}}, "did you mean 'header'"),
        ({"sort_by_key": "cpu_total"}, "did you mean 'cpu_time_total'"),
        ({"schedule": 3}, "schedule"),
        ({"schedule": lambda step: step}, "schedule"),
        ({"emit_nvtx": True, "with_stack": True}, "emit_nvtx"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_at_once(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        PyTorchProfiler(**arguments)
    assert issubclass(UnknownArgumentError, ConfigError)


def test_any_function_of_the_batch_is_a_schedule(tmp_path: Path) -> None:
    def third_only(step: int) -> ProfilerAction:
        return ProfilerAction.RECORD_AND_SAVE if step == 2 else ProfilerAction.NONE

    profiler = PyTorchProfiler(row_limit=100, schedule=third_only, export_to_chrome=False)
    a_run(profiler, tmp_path)

    assert counts(profiler)["run_training_batch"] == 1
