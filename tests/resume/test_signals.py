"""Signals, for real, at any moment of a training: it is saved, says so in its exit code, and goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl

from .signal_scenarios import SCENARIOS

TERM, USR1, USR2 = 128 + 15, 128 + 10, 128 + 12
EXIT_CODES = dict.fromkeys(SCENARIOS, TERM) | {
    "uninterrupted": 0,
    "uninterrupted, with windows": 0,
    "uninterrupted, with a worker": 0,
    "in a step, SIGUSR1": USR1,
    "in a step, SIGUSR2": USR2,
    "in a step, Ctrl-C": 0,  # `fit` returns, and the script goes on
    "in a step, Ctrl-C twice": 130,
    "with the worker, SIGUSR1": USR1,
    "in a save, Ctrl-C twice": 130,
    "a handler that exits": 3,
    "a signal that is ignored": 0,
}
SAVED_STEP: dict[str, int | None] = {
    **dict.fromkeys(SCENARIOS, 3),
    "in a step, Ctrl-C twice": None,
    "in the first step, which hangs": None,  # nothing was trained
    "in a step that hangs": None,  # there is one of an earlier step
    "in a window": 2,  # which is the window's end
    "while an epoch's first batch is fetched": 8,
    "with the worker, in a window": 1,
    "between epochs": 8,
    "in a validation": 8,
    "while a validation batch is fetched": 4,
    "at the end of a validation": 5,  # the batch after it
    "in setup": None,
    "in the sanity check": None,
    "in a save": 5,
    "in a save, three of them": 5,
    "in a save, Ctrl-C twice": None,
    "in the save at an epoch's end": 8,
    "a signal that is ignored": None,
} | {name: None for name in SCENARIOS if name.startswith("uninterrupted")}
"""The updates that `interrupted.ckpt` holds; None where there is no such file."""

NOT_EXACT = ("with the worker, in a window",)  # whose batches nobody can fetch any more: it begins again
RESUMED = [name for name, scenario in SCENARIOS.items() if scenario.is_resumed]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("signals")


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> dict[str, dict[str, Any]]:
    """What each training came to when it was interrupted."""
    script = Path(__file__).with_name("signal_scenarios.py")
    done = subprocess.run(
        [sys.executable, script, folder, *SCENARIOS],
        capture_output=True, text=True, timeout=600, cwd=folder, check=False, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(Path(pl.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}


def said(folder: Path, name: str) -> str:
    return (folder / name / "log.txt").read_text()


def uninterrupted(name: str) -> str:
    scenario = SCENARIOS[name]
    return "uninterrupted" + (
        ", with windows" if scenario.options else ", with a worker" if scenario.workers else ""
    )


@pytest.mark.parametrize("name", SCENARIOS)
def test_exit_code(outcomes: dict[str, dict[str, Any]], folder: Path, name: str) -> None:
    assert outcomes[name]["code"] == EXIT_CODES[name], said(folder, name)


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_is_saved(outcomes: dict[str, dict[str, Any]], folder: Path, name: str) -> None:
    outcome = outcomes[name]
    assert outcome.get("interrupted at") == SAVED_STEP[name], said(folder, name)
    assert outcome["intact"]
    if SAVED_STEP[name] is not None:
        assert outcome["exact"]["resumable"] is (name not in NOT_EXACT), outcome["exact"]


@pytest.mark.parametrize("name", SCENARIOS)
def test_everything_is_closed(outcomes: dict[str, dict[str, Any]], name: str) -> None:
    outcome = outcomes[name]
    assert outcome["handlers are back"]
    assert outcome["threads"] == ["MainThread"]
    if outcome["code"] == 130 or outcome.get("stopped_because") == "max_epochs=2 reached":
        return
    kind = "KeyboardInterrupt" if outcome["code"] == 0 else "SignalInterrupt"
    assert (outcome["status"], outcome["told"]) == ("interrupted", [kind, "teardown"])


@pytest.mark.parametrize("name", RESUMED)
def test_the_resumed_training_is_the_uninterrupted_one(
    outcomes: dict[str, dict[str, Any]], folder: Path, name: str
) -> None:
    """Its weights, and what its logger wrote."""
    weights, whole = (torch.load(folder / n / "weights.pt") for n in (name, uninterrupted(name)))
    assert all(tensor.isfinite().all() for tensor in whole.values())
    assert "max_epochs=2 reached" in said(folder, name)
    assert all(torch.equal(weights[key], tensor) for key, tensor in whole.items()), said(folder, name)
    rows, expected = (
        [path.read_text() for path in (folder / n).rglob("metrics.csv")] for n in (name, uninterrupted(name))
    )
    assert rows == expected


@pytest.mark.parametrize("name", ["in setup", "in the sanity check", "in the first step, which hangs"])
def test_before_anything_was_trained(outcomes: dict[str, dict[str, Any]], folder: Path, name: str) -> None:
    """There is nothing to save, and it is said so."""
    assert outcomes[name]["steps"] == 0
    assert "SIGTERM: nothing was trained since the beginning; nothing is saved." in said(folder, name)


def test_it_is_said_where_the_training_is_saved(outcomes: dict[str, dict[str, Any]], folder: Path) -> None:
    path = folder / "in a step" / "saved" / "interrupted.ckpt"
    assert f"SIGTERM: saved epoch 0, step 3 to {path}." in said(folder, "in a step")


def test_it_is_said_what_remains_of_a_training_that_cannot_be_saved(
    outcomes: dict[str, dict[str, Any]], folder: Path
) -> None:
    last = folder / "in a step that hangs" / "saved" / "epoch=0-step=4.ckpt"
    assert f"this moment cannot be saved. The last checkpoint: {last}" in said(folder, "in a step that hangs")


def test_a_save_is_whole_before_ctrl_c_aborts(outcomes: dict[str, dict[str, Any]]) -> None:
    assert outcomes["in a save, Ctrl-C twice"]["saved"] == ["epoch=0-step=4.ckpt"]


@pytest.mark.parametrize("name", ["a handler that sets a flag", "a handler that exits"])
def test_handlers_of_the_user_are_called(outcomes: dict[str, dict[str, Any]], name: str) -> None:
    assert outcomes[name]["called"] == [15]
