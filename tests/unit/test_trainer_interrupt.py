"""Ctrl-C, for real: a process that trains is sent the signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fulmen as pl

SCRIPT = '''
import json, signal, sys, time
import torch
import fulmen as pl
from fulmen.core.logger import Logger

def note(text):
    print(text, flush=True)

class Model(pl.LightningModule):
    def __init__(self, step, presses):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(()))
        self.step, self.presses = step, presses

    def training_step(self, batch, batch_idx):
        if self.step == "training_step" and self.global_step == 2:
            self.wait()
        return self.w * batch.mean()

    def validation_step(self, batch, batch_idx):
        if self.step == "validation_step":
            self.wait()

    def test_step(self, batch, batch_idx):
        self.wait()

    def predict_step(self, batch, batch_idx):
        self.wait()

    def wait(self):
        """Until Ctrl-C was pressed so often."""
        for press in range(self.presses):
            note("waiting")
            while sys.stdin.readline().strip() != f"{self.step} {self.presses}: pressed {press + 1}":
                pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

class Notes(pl.Callback):
    def on_exception(self, trainer, module, exception):
        note(type(exception).__name__)

    def on_train_batch_end(self, *args):
        note("batch")

    def on_train_end(self, *args):
        note("on_train_end")

    def on_fit_end(self, *args):
        note("on_fit_end")

    def teardown(self, *args, **kwargs):
        note("teardown")

class Quiet(Logger):
    name, version = "quiet", 0

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, *args, **kwargs):
        pass

    def finalize(self, status):
        note("finalize " + status)

data = torch.utils.data.DataLoader(torch.ones(5))
handler = signal.getsignal(signal.SIGINT)
for scenario in json.loads(sys.argv[1]):
    note("begin " + scenario)
    step, presses = scenario.split()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=3, logger=Quiet(), callbacks=[Notes()], enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )
    try:
        if step in ("test_step", "predict_step"):
            getattr(trainer, step.split("_")[0])(Model(step, int(presses)), data)
        else:
            result = trainer.fit(Model(step, int(presses)), data, data)
            note(json.dumps([bool(result), result.interrupted, result.stopped_because, result.steps]))
    except KeyboardInterrupt:
        note("raised")
    note(str(trainer.state.status))
    note("handler is back" if signal.getsignal(signal.SIGINT) is handler else "handler is lost")
'''
SCENARIOS = [
    *("training_step 1", "validation_step 1", "test_step 1", "predict_step 1"),
    *("training_step 2", "validation_step 2"),
]
INTERRUPTED = ["interrupted", "handler is back"]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the script said in each scenario, in which Ctrl-C was pressed as soon as it waited for that."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps(SCENARIOS)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=tmp_path_factory.mktemp("work"), start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(Path(pl.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    lines: dict[str, list[str]] = {}
    scenario = ""
    try:
        for line in map(str.strip, process.stdout):
            if line.startswith("begin "):
                scenario = line.removeprefix("begin ")
                lines[scenario] = []
                continue
            lines[scenario].append(line)
            if line == "waiting":
                time.sleep(0.05)  # for it to read
                process.send_signal(signal.SIGINT)
                time.sleep(0.05)  # for the handler to run
                process.stdin.write(f"{scenario}: pressed {lines[scenario].count('waiting')}\n")
                process.stdin.flush()
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    lines["messages"] = errors.splitlines()
    return lines


def test_once_in_a_training_step(said: dict[str, list[str]]) -> None:
    """The step is finished, then everything ends as it should, and the script goes on."""
    assert said["training_step 1"] == [
        *("batch", "batch", "waiting", "batch"),
        *("KeyboardInterrupt", "on_train_end", "on_fit_end", "teardown", "finalize interrupted"),
        *(json.dumps([False, True, "interrupted", 3]), *INTERRUPTED),
    ]


def test_it_is_said_what_a_second_one_would_do(said: dict[str, list[str]]) -> None:
    assert sum("Press Ctrl-C again to abort at once" in line for line in said["messages"]) == len(SCENARIOS)


def test_once_in_a_validation_step(said: dict[str, list[str]]) -> None:
    lines = said["validation_step 1"]
    assert lines[:7] == ["batch"] * 5 + ["waiting", "KeyboardInterrupt"]
    assert lines[-5:] == [
        "teardown",
        "finalize interrupted",
        json.dumps([False, True, "interrupted", 5]),
        *INTERRUPTED,
    ]


@pytest.mark.parametrize("step", ["test_step", "predict_step"])
def test_once_in_an_evaluation(said: dict[str, list[str]], step: str) -> None:
    """After the batch it is raised: there is no result to say it with."""
    lines = said[f"{step} 1"]
    assert lines[:2] == ["waiting", "KeyboardInterrupt"]
    assert lines[-3:] == ["raised", *INTERRUPTED]
    assert any(line.startswith("finalize") for line in lines)


@pytest.mark.parametrize("step", ["training_step", "validation_step"])
def test_twice(said: dict[str, list[str]], step: str) -> None:
    """The second one is not waited for: it is raised in the middle of the step."""
    lines = said[f"{step} 2"]
    assert lines.count("waiting") == 2
    assert lines[lines.index("waiting") :].count("batch") == 0
    assert "on_train_end" not in lines
    assert lines[-3:] == ["raised", *INTERRUPTED]
    assert any(line.startswith("finalize") for line in lines)
