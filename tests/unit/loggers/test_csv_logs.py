"""`metrics.csv` holds every row that was flushed, whatever happens."""

from __future__ import annotations

import csv
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from fulmen.base import files
from fulmen.base.report import rank_zero_only
from fulmen.errors import ConfigError
from fulmen.loggers import CSVLogger


def logger_at(folder: Path | str, **arguments: Any) -> CSVLogger:
    return CSVLogger(folder, "run", version=0, **arguments)


def metrics_file(folder: Path) -> Path:
    return folder / "run" / "version_0" / "metrics.csv"


def column(folder: Path, name: str) -> list[float]:
    """Exactly what the file says; how pandas rounds depends on its version."""
    with open(metrics_file(folder), newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file)]


def write(folder: Path | str, *rows: tuple[dict[str, Any], int], **arguments: Any) -> None:
    """One session of a run: log these rows and end."""
    logger = logger_at(folder, **arguments)
    for metrics, step in rows:
        logger.log_metrics(metrics, step)
    logger.finalize("success")


def test_one_row_per_call_with_sorted_columns(tmp_path: Path) -> None:
    write(tmp_path, ({"b": 1.0, "a": torch.tensor(2.0)}, 0), ({"c": 3}, 0), ({"c": math.nan, "a": 3e-10}, 5))

    assert metrics_file(tmp_path).read_text() == "a,b,c,step\n2.0,1.0,,0\n,,3,0\n3e-10,,nan,5\n"


def test_values_survive_to_the_last_bit(tmp_path: Path) -> None:
    values = torch.rand(50, dtype=torch.float64).tolist()
    write(tmp_path, *(({"x": value}, step) for step, value in enumerate(values)))

    assert column(tmp_path, "x") == values


def test_without_a_step_rows_are_counted(tmp_path: Path) -> None:
    logger = logger_at(tmp_path, flush_logs_every_n_steps=2)
    for _ in range(5):
        logger.log_metrics({"a": 1})
    logger.save()

    assert pd.read_csv(metrics_file(tmp_path))["step"].tolist() == [0, 1, 2, 3, 4]


def test_a_prefix_goes_before_every_name_but_step(tmp_path: Path) -> None:
    write(tmp_path, ({"a": 1, "step": 9}, 4), prefix="p")

    assert metrics_file(tmp_path).read_text() == "p-a,p-step,step\n1,9,4\n"


def test_names_and_texts_that_csv_has_to_quote(tmp_path: Path) -> None:
    name, text = 'a,"b" ü', "x\ny,z"
    write(tmp_path, ({name: text}, 0))
    write(tmp_path, ({name: 1, "new": 2}, 1))

    frame = pd.read_csv(metrics_file(tmp_path))
    assert frame[name].tolist() == [text, "1"]
    assert frame["new"].tolist()[1] == 2


def test_new_columns_keep_the_old_rows(tmp_path: Path) -> None:
    logger = logger_at(tmp_path, flush_logs_every_n_steps=1)
    for step, name in enumerate("bdac"):
        logger.log_metrics({name: step}, step)

    assert metrics_file(tmp_path).read_text() == "a,b,c,d,step\n,0,,,0\n,,,1,1\n2,,,,2\n,,3,,3\n"


def test_a_version_that_exists_is_continued(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, ({"a": 1}, 0))
    assert not caplog.messages
    write(tmp_path, ({"a": 2}, 1), ({"b": 3}, 1))

    assert metrics_file(tmp_path).read_text() == "a,b,step\n1,,0\n2,,1\n,3,1\n"
    assert str(metrics_file(tmp_path)) in caplog.text


def test_a_file_with_other_line_ends_and_columns_is_continued(tmp_path: Path) -> None:
    metrics_file(tmp_path).parent.mkdir(parents=True)
    metrics_file(tmp_path).write_bytes(b"step,a\r\n0,1\r\n")
    write(tmp_path, ({"a": 2}, 1))
    write(tmp_path, ({"b": 3}, 2))

    frame = pd.read_csv(metrics_file(tmp_path))
    assert frame["a"].tolist()[:2] == [1, 2]
    assert frame["b"].tolist()[2] == 3
    assert frame["step"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["x", "new"])
def test_a_file_cut_anywhere_is_mended(name: str, tmp_path: Path) -> None:
    write(tmp_path, ({"x": 0.123}, 0), ({"x": 0.456}, 1), ({"x": 0.789}, 2))
    whole = metrics_file(tmp_path).read_bytes()

    for size in range(len(whole) + 1):
        metrics_file(tmp_path).write_bytes(whole[:size])
        write(tmp_path, ({name: 7.0}, 9))

        frame = pd.read_csv(metrics_file(tmp_path))
        complete = max(whole[:size].count(b"\n") - 1, 0)
        assert frame["step"].tolist() == [*[0, 1, 2][:complete], 9]
        assert list(frame["x"] if complete else [])[:complete] == [0.123, 0.456, 0.789][:complete]
        assert frame[name].tolist()[-1] == 7.0


LOG_FOREVER = """
import itertools, sys
from fulmen.loggers import CSVLogger
logger = CSVLogger(sys.argv[1], "run", version=0, flush_logs_every_n_steps=3)
for step in itertools.count():
    logger.log_metrics({"x": step / 7, f"column_{min(step // 200, 40)}": 1.0}, step)
"""


def test_a_killed_process_loses_only_what_was_not_flushed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", LOG_FOREVER, str(tmp_path)])
    try:
        while not (metrics_file(tmp_path).exists() and metrics_file(tmp_path).stat().st_size > 20_000):
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    write(tmp_path, ({"x": -1.0}, 10**9))

    steps = column(tmp_path, "step")
    assert steps == [*range(len(steps) - 1), 10**9]
    assert column(tmp_path, "x") == [*(step / 7 for step in steps[:-1]), -1.0]


def test_rows_reach_the_file_every_n_steps_and_memory_stays_flat(tmp_path: Path) -> None:
    logger = logger_at(tmp_path, flush_logs_every_n_steps=100)
    for step in range(49, 5000, 50):
        logger.log_metrics({"a": step}, step)
        assert len(logger.experiment.metrics) < 2
        if step % 100 == 99:
            assert pd.read_csv(metrics_file(tmp_path))["step"].tolist()[-1] == step


def test_rows_of_one_step_are_flushed_too(tmp_path: Path) -> None:
    logger = logger_at(tmp_path, flush_logs_every_n_steps=10)
    for _ in range(1000):
        logger.log_metrics({"a": 1}, 0)
        assert len(logger.experiment.metrics) < 10


def test_a_failed_write_loses_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logger_at(tmp_path)
    logger.log_metrics({"a": 1}, 0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError("no space left")))
        with pytest.raises(OSError, match="no space left"):
            logger.save()
    logger.save()

    assert metrics_file(tmp_path).read_text() == "a,step\n1,0\n"


def test_two_writers_of_one_file_do_not_break_it(tmp_path: Path) -> None:
    one, other = logger_at(tmp_path), logger_at(tmp_path)
    one.log_metrics({"a": 1}, 0)
    one.save()
    other.log_metrics({"b": 2}, 1)
    other.save()
    one.log_metrics({"a": 3}, 2)
    one.save()

    assert metrics_file(tmp_path).read_text() == "a,b,step\n1,,0\n,2,1\n3,,2\n"


def test_rewinding_drops_what_will_be_written_again(tmp_path: Path) -> None:
    first = logger_at(tmp_path)
    first.log_metrics({"a": 0}, 100)  # a step that the user counts in another way
    first.log_metrics({"a": 1}, 1)
    position = first.position()
    first.log_metrics({"a": 2}, 2)
    first.log_metrics({"b": 2}, 2)
    first.finalize("failed")

    again = logger_at(tmp_path)
    again.rewind(position)
    again.log_metrics({"a": 22}, 2)
    again.log_metrics({"a": 33})
    again.rewind(again.position())

    assert metrics_file(tmp_path).read_text() == "a,b,step\n0,,100\n1,,1\n22,,2\n33,,3\n"


def test_rewinding_an_empty_run_does_nothing(tmp_path: Path) -> None:
    logger = logger_at(tmp_path)
    logger.rewind(logger.position())
    logger.finalize("success")

    assert not metrics_file(tmp_path).exists()


@pytest.mark.parametrize("position", [{}, {"folder": "elsewhere", "n_rows": 0}])
def test_rewinding_to_a_position_of_another_run_does_nothing(
    position: dict[str, Any], tmp_path: Path
) -> None:
    write(tmp_path, ({"a": 1}, 0))
    logger = logger_at(tmp_path)
    logger.rewind(position)
    logger.finalize("success")

    assert metrics_file(tmp_path).read_text() == "a,step\n1,0\n"


def test_hyperparameters_are_added_up(tmp_path: Path) -> None:
    logger = logger_at(tmp_path)
    logger.log_hyperparams({"lr": 1e-7, "net": {"act": torch.nn.ReLU}})
    logger.log_hyperparams({"lr": 0.1, "seed": 1})

    expected = {"lr": 0.1, "net": {"act": "torch.nn.modules.activation.ReLU"}, "seed": 1}
    assert logger.experiment.hparams == expected
    assert yaml.safe_load((metrics_file(tmp_path).parent / "hparams.yaml").read_text()) == expected


def test_the_writer_can_be_used_by_itself(tmp_path: Path) -> None:
    writer = logger_at(tmp_path).experiment
    writer.log_hparams({"a": 1})
    writer.log_metrics({"b": 2}, step=3)
    writer.save()

    assert writer.log_dir == str(metrics_file(tmp_path).parent)
    assert writer.metrics_file_path == str(metrics_file(tmp_path))
    assert metrics_file(tmp_path).read_text() == "b,step\n2,3\n"


def test_remote_folders_that_cannot_append(monkeypatch: pytest.MonkeyPatch) -> None:
    open_file = files.open_file

    def open_without_appending(path: str, mode: str = "r") -> Any:
        assert mode != "ab"
        return open_file(path, mode)

    monkeypatch.setattr(files, "open_file", open_without_appending)
    folder = "memory://csv_logger"
    write(folder, ({"a": 1}, 0), ({"a": 2}, 1))
    write(folder, ({"a": 3}, 2), ({"b": 4}, 2))
    write(folder, ({"a": 5}, 3))
    try:
        logger = CSVLogger(folder, "run")
        assert logger.version == 1
        with files.open_file(f"{folder}/run/version_0/metrics.csv", "rb") as file:
            assert file.read() == b"a,b,step\n1,,0\n2,,1\n3,,2\n,4,2\n5,,3\n"
    finally:
        files.remove(folder)


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = logger_at(tmp_path)
    logger.log_metrics({"a": 1}, 0)
    logger.log_hyperparams({"a": 1})
    assert logger.position()["n_rows"] == 0
    logger.rewind(logger.position())
    logger.experiment.save()
    logger.finalize("success")

    assert list(tmp_path.iterdir()) == []


def test_flushing_never_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="flush_logs_every_n_steps"):
        CSVLogger(tmp_path, flush_logs_every_n_steps=0)
