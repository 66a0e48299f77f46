"""Fits whose job a cluster ends and starts again: each goes on from what it has left, and from that alone."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.base.report import FulmenWarning
from fulmen.callbacks import ModelCheckpoint
from fulmen.engine import signals
from fulmen.errors import DistributedError
from fulmen.loggers import CSVLogger
from fulmen.runtime.clusters import LightningEnvironment
from fulmen.trainer import requeue

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
BATCHES = 6


class Queue(LightningEnvironment):
    """A cluster of one process."""

    requeue_signal = signal.SIGUSR1

    def __init__(self, starts: int = 0, name: str = "queue-7", refuses: bool = False, size: int = 1) -> None:
        super().__init__()
        self.starts = starts
        self.name = name
        self.refuses = refuses
        self.size = size
        self.requeues = 0

    creates_processes_externally = True  # pyright: ignore[reportAssignmentType]

    def world_size(self) -> int:
        return self.size

    def job(self) -> str:
        return self.name

    def restart_count(self) -> int:
        return self.starts

    def requeue(self) -> None:
        if self.refuses:
            raise DistributedError("The queue is closed.")
        self.requeues += 1


class Model(pl.LightningModule):
    """Sends itself a signal in a step, and remembers where it began."""

    def __init__(self, at: int | None = None, signum: int = signal.SIGUSR1, hangs: bool = False) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))
        self.at = at
        self.signum = signum
        self.hangs = hangs
        self.began: int | None = None

    def on_train_start(self) -> None:
        self.began = self.trainer.global_step

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.trainer.global_step == self.at:
            os.kill(os.getpid(), self.signum)
            if self.hangs:
                time.sleep(60)
        return self.layers(batch[0]).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


def start(
    folder: Path, queue: Queue, *models: Model, ckpt_path: Any = None, code: int | None = None, **options: Any
) -> None:
    """Fit models one after the other, as a process of a job does that starts now."""
    requeue._fits = itertools.count(1)
    arguments: dict[str, Any] = {
        "accelerator": "cpu", "devices": 1, "max_epochs": 2, "logger": CSVLogger(folder), "plugins": [queue],
        "default_root_dir": folder, "enable_progress_bar": False, "enable_model_summary": False,
    } | options  # fmt: skip
    with nullcontext() if code is None else pytest.raises(SystemExit, match=f"^{code}$"):
        for model in models:
            pl.seed_everything(3)
            for parameter in model.parameters():
                torch.nn.init.normal_(parameter)
            data = DataLoader(TensorDataset(torch.randn(2 * BATCHES, 2)), 2, shuffle=True)
            pl.Trainer(**arguments).fit(model, data, ckpt_path=ckpt_path)


@pytest.fixture(autouse=True)
def count_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requeue, "_fits", itertools.count(1))
    monkeypatch.setattr(requeue, "_done", [])


def weights(model: Model) -> list[torch.Tensor]:
    return [parameter.detach() for parameter in model.parameters()]


def check_whole(model: Model, folder: Path) -> None:
    """It has come to what a model comes to that nothing interrupts."""
    whole = Model()
    start(folder / "whole", Queue(), whole)
    torch.testing.assert_close(weights(model), weights(whole), rtol=0, atol=0)


@pytest.mark.parametrize("saves", [True, False], ids=["with_checkpoints", "without"])
def test_goes_on_by_itself(saves: bool, tmp_path: Path) -> None:
    queue, first, second = Queue(), Model(at=8), Model()
    start(tmp_path, queue, first, code=138, enable_checkpointing=saves)
    assert queue.requeues == 1
    start(tmp_path, Queue(starts=1), second, enable_checkpointing=saves)
    assert second.began == 9
    check_whole(second, tmp_path)


def test_goes_on_more_than_once_whatever_path_the_script_names(tmp_path: Path) -> None:
    start(tmp_path / "before", Queue(), Model(), max_epochs=1)
    given = next((tmp_path / "before").rglob("epoch*.ckpt"))
    begins = []
    for starts, at in enumerate((8, 10, None)):
        model = Model(at=at)
        code = None if at is None else 138
        start(tmp_path, Queue(starts), model, ckpt_path=given, code=code, enable_checkpointing=False)
        begins.append(model.began)
    assert begins == [BATCHES, 9, 11]


def test_signal_that_asks_for_nothing_leaves_the_same(tmp_path: Path) -> None:
    queue, second = Queue(), Model()
    start(tmp_path, queue, Model(at=8, signum=signal.SIGTERM), code=143)  # as where a cluster makes room
    assert queue.requeues == 0
    start(tmp_path, Queue(starts=1), second)
    assert second.began == 9


def test_signal_of_the_environments_choice(tmp_path: Path) -> None:
    queue = Queue()
    queue.requeue_signal = signal.SIGHUP
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup, it is ignored
    try:
        start(tmp_path, queue, Model(at=8, signum=signal.SIGHUP), code=128 + signal.SIGHUP)
        assert queue.requeues == 1
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("other", ["first start", "job", "command", "folder"])
def test_nothing_else_takes_it_up(other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(tmp_path, Queue(), Model(at=8), code=138)
    queue = Queue(starts=0 if other == "first start" else 1, name="queue-8" if other == "job" else "queue-7")
    if other == "command":
        monkeypatch.setattr("sys.argv", [*sys.argv, "--other"])
    model = Model()
    start(tmp_path / "elsewhere" if other == "folder" else tmp_path, queue, model)
    assert model.began == 0


@pytest.mark.filterwarnings("ignore:The checkpoint folder is not empty")
def test_each_fit_of_a_script_goes_on_from_its_own(tmp_path: Path) -> None:
    start(tmp_path, Queue(), Model(), Model(at=8), code=138, callbacks=ModelCheckpoint(tmp_path / "shared"))
    again = Model(), Model(), Model()
    start(tmp_path, Queue(starts=1), *again, callbacks=ModelCheckpoint(tmp_path / "shared"))
    assert [model.began for model in again] == [0, 9, 0]


def test_of_the_newest_ones_it_is_one(tmp_path: Path) -> None:
    start(tmp_path, Queue(), Model(at=8), ckpt_path="auto", code=138)
    (left,) = tmp_path.rglob("interrupted-*.ckpt")
    second = Model()
    start(tmp_path, Queue(starts=1), second, ckpt_path="auto", max_epochs=3)
    assert second.began == 9

    os.utime(left, (1e9, 1e9))  # and then the cluster has lost a node
    third = Model()
    start(tmp_path, Queue(starts=2), third, ckpt_path="auto", max_epochs=4)
    assert third.began == 3 * BATCHES


def left_in(folder: Path) -> set[str]:
    """Notes, checkpoints and their manifests."""
    return {path.name for path in folder.rglob("*queue-7*")}


def end_script(monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> None:
    """What happens when the interpreter ends, after an error that nobody has caught."""
    if error is not None:
        monkeypatch.setattr(sys, "last_value", error, raising=False)
    requeue.remove_what_is_done()


@pytest.mark.filterwarnings("ignore:The checkpoint folder is not empty")
def test_what_was_left_goes_when_the_script_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(tmp_path, Queue(), Model(at=8), code=138, callbacks=ModelCheckpoint(tmp_path / "shared"))
    one = left_in(tmp_path)
    assert len(one) == 3
    start(tmp_path, Queue(1), Model(), Model(at=10), code=138, callbacks=ModelCheckpoint(tmp_path / "shared"))
    end_script(monkeypatch)  # the job comes back, to both of them
    both = left_in(tmp_path)
    assert both > one
    assert len(both) == 6

    start(tmp_path, Queue(2), Model(), Model(), callbacks=ModelCheckpoint(tmp_path / "shared"))
    assert left_in(tmp_path) == both  # the job may still be ended before the script is
    end_script(monkeypatch)
    assert left_in(tmp_path) == set()
    assert list((tmp_path / "shared").glob("epoch*.ckpt"))  # which is the user's


def test_what_was_left_stays_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(tmp_path, Queue(), Model(at=8), code=138)
    left = left_in(tmp_path)
    start(tmp_path, Queue(1), Model())
    end_script(monkeypatch, error=ValueError("of what follows the fit"))
    assert left_in(tmp_path) == left


@pytest.mark.filterwarnings("ignore:Checkpoints go to")
def test_what_a_later_one_replaces_goes(tmp_path: Path) -> None:
    start(tmp_path, Queue(), Model(at=8), code=138)
    (first,) = tmp_path.rglob("interrupted-*.ckpt")
    saver = ModelCheckpoint(tmp_path / "elsewhere")
    start(tmp_path, Queue(starts=1), Model(at=10), code=138, callbacks=saver)
    (second,) = tmp_path.rglob("interrupted-*.ckpt")
    assert first != second
    third = Model()
    start(tmp_path, Queue(starts=2), third, callbacks=saver)
    assert third.began == 11


def test_what_is_gone_is_named(tmp_path: Path) -> None:
    start(tmp_path, Queue(), Model(at=8), code=138)
    (left,) = tmp_path.rglob("interrupted-*.ckpt")
    left.write_bytes(left.read_bytes()[:-100])
    model = Model()
    with pytest.warns(FulmenWarning, match=f"{left} is passed over"):
        start(tmp_path, Queue(starts=1), model)
    assert model.began == 0


def test_nothing_trained_is_no_reason_to_stay_away(tmp_path: Path) -> None:
    class Early(Model):
        def on_fit_start(self) -> None:
            os.kill(os.getpid(), signal.SIGUSR1)

    queue, second = Queue(), Model()
    start(tmp_path, queue, Early(), code=138)
    assert queue.requeues == 1
    start(tmp_path, Queue(starts=1), second)
    assert second.began == 0


def test_what_could_not_be_saved_does_not_begin_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "GRACE_S", 0.2)
    queue = Queue()
    with pytest.warns(FulmenWarning, match="not put back into the queue"):
        start(tmp_path / "a", queue, Model(at=2, hangs=True), code=138)
    assert queue.requeues == 0
    start(tmp_path / "b", queue, Model(at=8, hangs=True), code=138)
    assert queue.requeues == 1
    second = Model()
    start(tmp_path / "b", Queue(starts=1), second)
    assert second.began == BATCHES  # where the last checkpoint was written


def test_weights_alone_are_nothing_to_go_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "GRACE_S", 0.2)
    queue, saver = Queue(), ModelCheckpoint(save_weights_only=True)
    with pytest.warns(FulmenWarning, match="not put back into the queue"):
        start(tmp_path, queue, Model(at=8, hangs=True), code=138, callbacks=saver)
    assert saver.best_model_path
    assert queue.requeues == 0


def test_queue_that_refuses_is_heard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fulmen"):
        start(tmp_path, Queue(refuses=True), Model(at=8), code=138)
    assert "The queue is closed." in caplog.text
    assert "is put back" not in caplog.text


@pytest.mark.parametrize(
    ("queue", "options"),
    [(Queue(size=2), {"strategy": "single_device"}), (Queue(), {"fast_dev_run": 9})],
    ids=["one_of_several_side_by_side", "a_try"],
)
def test_fit_that_is_not_the_jobs(queue: Queue, options: dict[str, Any], tmp_path: Path) -> None:
    start(tmp_path, queue, Model(at=2), code=138, **options)
    assert queue.requeues == 0
    assert not list(tmp_path.rglob("interrupted-*.ckpt"))
