"""Which signals a run handles, what it does about them, and what it leaves alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import BinaryPrecision, BinaryRecall

import fulmen as pl
from fulmen.callbacks import ModelCheckpoint
from fulmen.engine.signals import SignalInterrupt
from fulmen.errors import CheckpointError
from fulmen.strategies.checkpoint_io import TorchCheckpointIO

from .small import Rows, Small, TrainsOnly, batches, callback, make_trainer, small

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send these to itself there")

TERM, INT = signal.SIGTERM, signal.SIGINT
ALL = (TERM, signal.SIGUSR1, signal.SIGUSR2, INT)


@pytest.fixture(autouse=True)
def handlers_stay() -> Iterator[None]:
    """Whatever happens in a run, the handlers of before are there again."""
    before = handlers()
    yield
    left = handlers()
    for signum, handler in before.items():
        signal.signal(signum, handler)
    assert left == before


def handlers() -> dict[int, Any]:
    return {signum: signal.getsignal(signum) for signum in ALL}


def send(*signums: int) -> None:
    """To this process, which is the one that trains."""
    for signum in signums:
        os.kill(os.getpid(), signum)


def sends_in_step(*signums: int, at: int = 1) -> Any:
    """A module that gets the signals in one of its steps."""

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        if batch_idx == at:
            send(*signums)
        return TrainsOnly.training_step(self, batch, batch_idx)

    return small(training_step=training_step)


def saver(folder: Path) -> dict[str, Any]:
    return {"callbacks": [ModelCheckpoint(folder, every_n_train_steps=100)], "enable_checkpointing": True}


def test_what_a_fit_handles(tmp_path: Path) -> None:
    seen: dict[int, Any] = {}
    looks = callback(on_train_start=lambda self, *args: seen.update(handlers()))
    before = handlers()
    make_trainer(tmp_path, callbacks=[looks]).fit(Small(), batches())
    assert all(callable(seen[signum]) and seen[signum] != before[signum] for signum in ALL)


@pytest.mark.parametrize("method", ["validate", "test", "predict"])
def test_what_an_evaluation_handles(tmp_path: Path, method: str) -> None:
    """Ctrl-C; it has nothing to save."""
    seen: dict[int, Any] = {}
    looks = callback(setup=lambda self, *args, **kwargs: seen.update(handlers()))
    before = handlers()
    trainer = make_trainer(tmp_path, callbacks=[looks])
    getattr(trainer, method)(Small(), batches(), **({} if method == "predict" else {"verbose": False}))
    assert [signum for signum in ALL if seen[signum] != before[signum]] == [INT]


def test_a_fit_in_another_thread_handles_nothing(tmp_path: Path) -> None:
    seen: dict[int, Any] = {}
    looks = callback(on_train_start=lambda self, *args: seen.update(handlers()))
    trainer = make_trainer(tmp_path, callbacks=[looks])
    thread = threading.Thread(target=trainer.fit, args=(Small(), batches()))
    thread.start()
    thread.join()
    assert seen == handlers()


def test_a_handler_installed_on_the_way_stays(tmp_path: Path) -> None:
    called: list[int] = []

    def note(signum: int, frame: Any) -> None:
        called.append(signum)

    installs = callback(on_train_start=lambda self, *args: signal.signal(TERM, note))
    make_trainer(tmp_path, callbacks=[installs]).fit(sends_in_step(TERM), batches(3))
    assert called == [TERM]
    assert signal.getsignal(TERM) is note
    signal.signal(TERM, signal.SIG_DFL)


def test_a_handler_of_before_is_called_at_once_with_signal_and_frame(tmp_path: Path) -> None:
    called: list[tuple[int, bool, int]] = []
    trainer = make_trainer(tmp_path)
    signal.signal(TERM, lambda signum, frame: called.append((signum, frame is not None, trainer.global_step)))
    with pytest.raises(SystemExit) as raised:
        trainer.fit(sends_in_step(TERM), batches(3))
    signal.signal(TERM, signal.SIG_DFL)
    assert raised.value.code == 143
    assert called == [(TERM, True, 1)]
    assert trainer.global_step == 2


def test_what_a_handler_of_before_raises_comes_after_the_save(tmp_path: Path) -> None:
    def leave(signum: int, frame: Any) -> None:
        raise TimeoutError("the queue's time is over")

    signal.signal(signal.SIGUSR1, leave)
    with pytest.raises(TimeoutError, match="the queue's time is over"):
        make_trainer(tmp_path, **saver(tmp_path)).fit(sends_in_step(signal.SIGUSR1), batches(3))
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    assert torch.load(tmp_path / "interrupted.ckpt", weights_only=True)["global_step"] == 2


@pytest.mark.parametrize("moment", ["before torch is told", "after"])
def test_workers_that_the_signal_ends_as_well(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch raises an error for a worker that was killed; here, one ends while the signal is handled."""
    find_handler = signal.getsignal
    endings = ["worker"]

    def fail(*_: Any) -> None:
        raise RuntimeError("DataLoader worker is killed by signal: Terminated.")

    def let_one_end(*_: Any) -> None:
        if endings:
            endings.pop()
            send(signal.SIGCHLD)

    def find_slowly(signum: int) -> Any:
        if signum == signal.SIGCHLD:
            let_one_end()
        return find_handler(signum)

    chld = signal.signal(signal.SIGCHLD, fail)
    if moment == "after":
        signal.signal(TERM, let_one_end)
    else:
        monkeypatch.setattr(signal, "getsignal", find_slowly)
    try:
        with pytest.raises(SystemExit, match=r"^143$"):
            make_trainer(tmp_path, **saver(tmp_path)).fit(sends_in_step(TERM), batches(3))
    finally:
        monkeypatch.undo()
        signal.signal(signal.SIGCHLD, chld)
        signal.signal(TERM, signal.SIG_DFL)
    assert not endings
    assert (tmp_path / "interrupted.ckpt").exists()


def test_the_first_signal_counts(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as raised:
        make_trainer(tmp_path).fit(sends_in_step(signal.SIGUSR2, TERM), batches(3))
    assert raised.value.code == 128 + signal.SIGUSR2


def test_ctrl_c_does_not_hide_that_the_process_is_to_end(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as raised:
        make_trainer(tmp_path).fit(sends_in_step(INT, TERM), batches(3))
    assert raised.value.code == 143


def test_everybody_is_told(tmp_path: Path) -> None:
    calls: list[Any] = []
    notes = callback(
        on_exception=lambda self, trainer, module, error: calls.append((type(error), error.signum)),
        teardown=lambda self, trainer, module, stage: calls.append("teardown"),
        on_train_end=lambda self, *args: calls.append("on_train_end"),
    )
    logger = Rows()
    trainer = make_trainer(tmp_path, callbacks=[notes], logger=logger)
    with pytest.raises(SystemExit):
        trainer.fit(sends_in_step(TERM), batches(3))
    assert calls == [(SignalInterrupt, TERM), "teardown"]
    assert logger.calls[-1] == ("finalize", "interrupted")
    assert trainer.interrupted
    assert trainer.received_sigterm


def test_without_a_folder_nothing_is_saved_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        make_trainer(tmp_path).fit(sends_in_step(TERM), batches(3))
    assert "SIGTERM: nothing is saved, for no ModelCheckpoint says where." in caplog.messages
    assert not list(tmp_path.rglob("*.ckpt"))


def test_ctrl_c_saves_as_well(tmp_path: Path) -> None:
    result = make_trainer(tmp_path, **saver(tmp_path)).fit(sends_in_step(INT), batches(3))
    assert result.interrupted
    assert result.last_checkpoint == str(tmp_path / "interrupted.ckpt")
    assert torch.load(tmp_path / "interrupted.ckpt", weights_only=True)["global_step"] == 2


def test_ctrl_c_twice_saves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path, **saver(tmp_path)).fit(sends_in_step(INT, INT), batches(3))
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_save_that_fails_is_an_error_like_any(tmp_path: Path) -> None:
    """An exit code that promises a checkpoint would be a lie."""

    class FullDisk(TorchCheckpointIO):
        def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            raise CheckpointError("No space left.")

    trainer = make_trainer(tmp_path, plugins=[FullDisk()], **saver(tmp_path))
    with pytest.raises(CheckpointError, match="No space left"):
        trainer.fit(sends_in_step(TERM), batches(3))


def test_an_error_after_a_signal_is_not_hidden(tmp_path: Path) -> None:
    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        send(TERM)
        raise ValueError("a wrong shape")

    with pytest.raises(ValueError, match="a wrong shape"):
        make_trainer(tmp_path, **saver(tmp_path)).fit(small(training_step=training_step), batches(3))


def test_a_loader_that_breaks_after_a_signal_is_taken_for_its_victim(tmp_path: Path) -> None:
    """Its workers get the signal as well."""

    class Breaks(torch.utils.data.Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> torch.Tensor:
            if index == 2:
                send(TERM)
                raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Terminated.")
            return torch.ones(())

    with pytest.raises(SystemExit) as raised:
        make_trainer(tmp_path, **saver(tmp_path)).fit(
            Small(), torch.utils.data.DataLoader(Breaks(), batch_size=1)
        )
    assert raised.value.code == 143
    assert torch.load(tmp_path / "interrupted.ckpt", weights_only=True)["global_step"] == 2


def test_a_signal_after_the_last_step_ends_the_process_when_all_is_done(tmp_path: Path) -> None:
    calls: list[str] = []
    notes = callback(
        on_train_end=lambda self, *args: send(TERM),
        on_fit_end=lambda self, *args: calls.append("on_fit_end"),
        teardown=lambda self, *args, **kwargs: calls.append("teardown"),
    )
    with pytest.raises(SystemExit) as raised:
        make_trainer(tmp_path, callbacks=[notes]).fit(Small(), batches())
    assert raised.value.code == 143
    assert calls == ["on_fit_end", "teardown"]


def test_a_process_that_is_forked_on_the_way_can_be_terminated(tmp_path: Path) -> None:
    """It has nothing to save, and must not go on."""
    exit_codes: list[int | None] = []

    fork_context = multiprocessing.get_context("fork")
    works = fork_context.Event()

    def work() -> None:
        works.set()
        time.sleep(60)

    def fork(self: Any, *args: Any) -> None:
        child = fork_context.Process(target=work)
        child.start()
        works.wait()
        child.terminate()
        child.join()
        exit_codes.append(child.exitcode)

    make_trainer(tmp_path, callbacks=[callback(on_train_start=fork)]).fit(Small(), batches())
    assert exit_codes == [-TERM]


class CountsInMetrics(Small):
    """Two metrics that nobody logs; the signal comes when both have seen half of a validation."""

    def __init__(self) -> None:
        super().__init__()
        self.of_validation, self.of_both = MeanMetric(), MeanMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.of_both.update(1.0)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.of_validation.update(2.0)
        self.of_both.update(2.0)
        send(TERM)


def test_metrics_of_an_abandoned_validation(tmp_path: Path) -> None:
    """What one has seen before the validation cannot be told apart, so it is named."""
    with pytest.raises(SystemExit):
        make_trainer(tmp_path, **saver(tmp_path)).fit(CountsInMetrics(), batches(), batches(3))
    saved = torch.load(tmp_path / "interrupted.ckpt", weights_only=True)["fulmen"]
    assert list(saved["metrics"]) == ["of_both"]
    assert saved["exact"]["resumable"] is False
    assert any("of_both" in reason for reason in saved["exact"]["reasons"])


def test_to_know_what_to_undo_takes_no_copy_of_metrics(tmp_path: Path) -> None:
    """A collection copies the states that its metrics share when it is asked for them."""
    asked: list[bool] = []

    class Watched(MetricCollection):
        def items(self, keep_base: bool = False, copy_state: bool = True) -> Any:
            asked.append(copy_state)
            return super().items(keep_base, copy_state)

    class Collects(Small):
        def __init__(self) -> None:
            super().__init__()
            self.metrics = Watched([BinaryPrecision(), BinaryRecall()])

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.metrics.update(torch.ones(1), torch.ones(1, dtype=torch.int64))
            return super().training_step(batch, batch_idx)

    make_trainer(tmp_path, val_check_interval=1).fit(Collects(), batches(), batches())
    assert True not in asked


def test_a_callback_that_counted_in_an_abandoned_validation_is_named(tmp_path: Path) -> None:
    """What it counted cannot be taken back, so the checkpoint does not claim to be exact."""

    class Counts(pl.Callback):
        def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
            pass

        def state_dict(self) -> dict[str, Any]:
            return {"batches": 1}

    def validation_step(self: Any, batch: Any, batch_idx: int) -> None:
        send(TERM)

    options = saver(tmp_path)
    options["callbacks"].append(Counts())
    with pytest.raises(SystemExit):
        make_trainer(tmp_path, **options).fit(small(validation_step=validation_step), batches(), batches(3))
    exact = torch.load(tmp_path / "interrupted.ckpt", weights_only=True)["fulmen"]["exact"]
    assert exact["resumable"] is False
    assert any("Counts" in reason for reason in exact["reasons"])
