"""The benchmark runs, and its table has what it promises; how fast anything is is no test."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from .sources import ROOT

QUESTIONS = (
    "a training step, every extra off",
    "a call of `self.log`",
    "a validation batch",
    "a seed for each batch",
    "with progress bar, CSV logger, checkpoints",
    "the same with one value logged",
    "the import",
    "from `Trainer()` to the first batch",
    "from the import to the first batch",
    "a save of 32 MB while training",
    "growth of resident memory",
    "growth of Python's memory",
    "host reads in 40 steps between two flushes",
    "metrics: an update, 8 samples",
    "metrics: an update, 80000 elements",
    "metrics: an update and its value, 80000 scores",
    "metrics: an update of five of one task",
    "metrics: accuracy over an epoch",
    "distributed: a training step in two processes",
    "distributed: the same with 5 values averaged over the processes each 50 steps, logged then",
    "distributed: the same with 5 values averaged over the processes each 50 steps, logged in every step",
    "distributed: from the command to a step",
)
METRICS_ASKED = (9, 9, 2, 1, 1)
"""How many metrics each of the questions about them is about."""
DISTRIBUTED = 4
"""How many questions follow them."""


@pytest.mark.skipif(sys.platform != "linux", reason="bars are drawn to a terminal, memory is read in /proc")
def test_the_table_answers_each_question() -> None:
    command = [sys.executable, "-m", "benchmarks", "--no-peers", "--rounds", "1", "--steps", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr

    machine, table = done.stdout.split("\n\n")
    assert re.search(r"Python \d.*torch \d", machine)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert {len(row) for row in rows} == {8}
    asked = [row[0].strip("*") for row in rows if row[0].startswith("**")]
    assert len(asked) == len(QUESTIONS)
    assert all(question in title for question, title in zip(QUESTIONS, asked, strict=True))
    answers = [row for row in rows if row[0].split(", ")[-1] == "fulmen"]
    others = len(QUESTIONS) - len(METRICS_ASKED) - DISTRIBUTED
    assert len(answers) == others + sum(METRICS_ASKED) + DISTRIBUTED
    assert all(float(least) <= float(middle) for _, least, middle, *_ in answers)
    assert answers[others - 1][1:3] == ["0", "0"]
