"""When a summary is shown, and where."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.callbacks import ModelSummary, RichModelSummary
from fulmen.callbacks.rich_model_summary import default_model_summary
from fulmen.errors import ConfigError, MissingExtra

from .progress_runs import Shown, batches, make_trainer

KINDS = [ModelSummary, RichModelSummary]


def fit(folder: Path, callback: pl.Callback, **arguments: Any) -> None:
    trainer = make_trainer(folder, callback, enable_progress_bar=False, **arguments)
    trainer.fit(Shown(), batches(1))


@pytest.mark.parametrize("kind", KINDS)
def test_shown_in_the_log_when_a_fit_begins(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: type[pl.Callback]
) -> None:
    fit(tmp_path, kind())
    (table,) = [record.getMessage() for record in caplog.records if "Total params" in record.getMessage()]
    assert table.splitlines()[:4] == [
        "",
        "  | Name  | Type   | Params | Mode",
        "-----------------------------------",
        "0 | layer | Linear | 3      | train",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_not_shown_otherwise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: type[pl.Callback]
) -> None:
    trainer = make_trainer(tmp_path, kind(), enable_progress_bar=False)
    trainer.test(Shown(), batches(1), verbose=False)
    fit(tmp_path, kind(max_depth=0))  # pyright: ignore[reportCallIssue]
    assert "Total params" not in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_depth_is_checked_at_once(kind: type) -> None:
    with pytest.raises(ConfigError, match="max_depth"):
        kind(max_depth=-2)


def test_own_way_of_showing(tmp_path: Path) -> None:
    shown: list[Any] = []

    class Own(ModelSummary):
        @staticmethod
        def summarize(
            summary_data: Any,
            total_parameters: int,
            trainable_parameters: int,
            model_size: float,
            total_training_modes: dict[str, int],
            total_flops: int,
            **summarize_kwargs: Any,
        ) -> None:
            shown.extend([dict(summary_data), total_parameters, trainable_parameters, model_size])
            shown.extend([total_training_modes, total_flops, summarize_kwargs])

    fit(tmp_path, Own(max_depth=-1, mine=1))
    assert shown == [
        {" ": ["0"], "Name": ["layer"], "Type": ["Linear"], "Params": ["3"], "Mode": ["train"]},
        3,
        3,
        1.2e-05,
        {"train": 1, "eval": 0},
        0,
        {"mine": 1},
    ]


def test_sizes_in_the_precision_of_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class WithExample(Shown):
        def __init__(self) -> None:
            super().__init__()
            self.example_input_array = torch.zeros(5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.dtype is torch.bfloat16
            return self.layer(x)

    trainer = make_trainer(tmp_path, ModelSummary(), enable_progress_bar=False, precision="bf16-true")
    trainer.fit(WithExample(), batches(1))
    assert "| [5, 2]   | [5, 1]" in caplog.text


def rich_table(monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> str:
    import rich.console

    screen = io.StringIO()
    terminal = rich.console.Console(
        file=screen, force_terminal=True, width=100, color_system="truecolor", legacy_windows=False
    )
    monkeypatch.setattr("rich.console.Console", lambda: terminal)
    columns = [("Name", ["layer", "other params"]), ("Type", ["Linear", "n/a"]), ("Params", ["1.2 K", "3"])]
    RichModelSummary.summarize(columns, 1234, 1000, 3.4, {"train": 2, "eval": 1}, 77, **arguments)
    return screen.getvalue()


def test_rich_table_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.text import Text

    plain = Text.from_ansi(rich_table(monkeypatch)).plain
    assert "│ layer        │ Linear │  1.2 K │" in plain
    words = [" ".join(line.split()) for line in plain.splitlines()]
    assert words[-7:] == [
        "Trainable params: 1.0 K",
        "Non-trainable params: 234",
        "Total params: 1.2 K",
        "Total estimated model params size (MB): 3.400",
        "Modules in train mode: 2",
        "Modules in eval mode: 1",
        "Total FLOPs: 77",
    ]


@pytest.mark.parametrize(("style", "code"), [({}, "\x1b[1;35m"), ({"header_style": "green"}, "\x1b[32m")])
def test_style_of_the_header(monkeypatch: pytest.MonkeyPatch, style: dict[str, str], code: str) -> None:
    assert f"{code}Name" in rich_table(monkeypatch, **style)


def test_default_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(default_model_summary()) is RichModelSummary
    monkeypatch.setattr("fulmen.callbacks.rich_model_summary.available", lambda package: False)
    assert type(default_model_summary()) is ModelSummary


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fulmen.base.extras.available", lambda package: False)
    with pytest.raises(MissingExtra, match=r"fulmen\[rich\]"):
        RichModelSummary()
