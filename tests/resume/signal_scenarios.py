"""Trains, and is sent signals in the middle of it. Run as a script: `signal_scenarios.py FOLDER NAME...`.

The libraries are imported once; each training is a process of its own that is forked from there. It sends the
signals to itself, at a moment that the scenario names, and they are as real as any.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

import fulmen as pl
from fulmen.base.manifest import verify
from fulmen.callbacks import ModelCheckpoint
from fulmen.engine import signals
from fulmen.loggers import CSVLogger
from fulmen.strategies.checkpoint_io import TorchCheckpointIO

FOREVER_S = 60.0  # far more than any test waits for


@dataclass(frozen=True)
class Scenario:
    """One training that is interrupted."""

    place: str
    """Where it happens: a hook, or "item" (a sample is fetched), "save"."""
    turn: int = 1
    """The how-manieth time."""
    send: tuple[int, ...] = (signal.SIGTERM,)
    to_group: bool = False
    """Whether the workers of loaders get the signals too."""
    hangs: bool = False
    """Whether nothing goes on there, and the signals come a little later."""
    worker_hangs: int = 0
    """The how-manieth sample the worker never fetches."""
    handler: str = ""
    """What a handler of the user's does."""
    is_resumed: bool = False
    """Whether another process goes on from there."""
    grace_s: float = FOREVER_S / 2
    workers: int = 0
    options: dict[str, Any] = field(default_factory=dict)


TERM, USR1, USR2, INT = signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT
WINDOWS = {"accumulate_grad_batches": 3}
SCENARIOS = {
    "uninterrupted": Scenario("nowhere"),
    "uninterrupted, with windows": Scenario("nowhere", options=WINDOWS),
    "uninterrupted, with a worker": Scenario("nowhere", workers=1),
    "in a step": Scenario("training_step", 3, is_resumed=True),
    "in a step, SIGUSR1": Scenario("training_step", 3, (USR1,)),
    "in a step, SIGUSR2": Scenario("training_step", 3, (USR2,)),
    "in a step, Ctrl-C": Scenario("training_step", 3, (INT,), is_resumed=True),
    "in a step, Ctrl-C twice": Scenario("training_step", 7, (INT, INT)),
    "in the first step, which hangs": Scenario("training_step", hangs=True, grace_s=0.3),
    "in a step that hangs": Scenario("training_step", 7, hangs=True, grace_s=0.3),
    "in a window": Scenario("training_step", 4, options=WINDOWS, is_resumed=True),
    "while a batch is fetched": Scenario("item", 7, hangs=True, is_resumed=True),
    "while an epoch's first batch is fetched": Scenario("item", 17, hangs=True, is_resumed=True),
    "with the worker": Scenario("training_step", 3, to_group=True, workers=1, is_resumed=True),
    "with the worker, SIGUSR1": Scenario("training_step", 3, (USR1,), to_group=True, workers=1),
    "with the worker, which hangs": Scenario(
        "training_step", 3, to_group=True, workers=1, worker_hangs=7, is_resumed=True
    ),
    "with the worker, in a window": Scenario(
        "training_step", 4, to_group=True, workers=1, worker_hangs=9, options=WINDOWS
    ),
    "between epochs": Scenario("on_train_epoch_end", is_resumed=True),
    "in a validation": Scenario("validation_step", 7, is_resumed=True),
    "while a validation batch is fetched": Scenario("val_item", 5, hangs=True, is_resumed=True),
    "at the end of a validation": Scenario("on_validation_epoch_end", is_resumed=True),
    "in setup": Scenario("setup"),
    "in the sanity check": Scenario("sanity"),
    "in a save": Scenario("save", is_resumed=True),
    "in a save, three of them": Scenario("save", send=(TERM, TERM, USR1)),
    "in a save, Ctrl-C twice": Scenario("save", send=(INT, INT)),
    "in the save at an epoch's end": Scenario("save", 2, (TERM, TERM), is_resumed=True),
    "a handler that sets a flag": Scenario("training_step", 3, handler="flag"),
    "a handler that exits": Scenario("training_step", 3, handler="exit"),
    "a signal that is ignored": Scenario("training_step", 3, handler="ignore"),
}


class Moment:
    """Sends the signals when it is time."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.turns = 0

    def __call__(self, place: str) -> None:
        """Say where the training is."""
        self.turns += place == self.scenario.place
        if place != self.scenario.place or self.turns != self.scenario.turn:
            return
        if self.scenario.hangs:
            threading.Timer(0.1, self.send).start()
            time.sleep(FOREVER_S)
        else:
            self.send()

    def send(self) -> None:
        for signum in self.scenario.send:
            if self.scenario.to_group:
                send_to_group(signum)
            else:
                os.kill(os.getpid(), signum)


def send_to_group(signum: int) -> None:
    """To this process and its workers, by one that is not their parent: torch tells these cases apart."""
    group = os.getpid()
    assert os.getpgid(0) == group  # as it is a session of its own, nobody else is in its group
    sender = os.fork()
    if sender == 0:
        os.killpg(group, signum)
        os._exit(0)
    os.waitpid(sender, 0)


class Data(Dataset[torch.Tensor]):
    """Noisy samples."""

    def __init__(self, length: int, place: str, at: Moment) -> None:
        self.length, self.place, self.at = length, place, at
        self.fetched = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> torch.Tensor:
        self.fetched += 1
        if get_worker_info() is not None and self.fetched == self.at.scenario.worker_hangs:
            time.sleep(FOREVER_S)
        self.at(self.place)
        return torch.full((4,), float(index)).sin() + 0.1 * torch.randn(4)


class Net(pl.LightningModule):
    """With dropout, and momentum, and values that are logged per step and per epoch."""

    def __init__(self, at: Moment) -> None:
        super().__init__()
        self.at = at
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))

    def setup(self, stage: str) -> None:
        self.at("setup")

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.at("training_step")
        loss = self.net(batch).square().mean()
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: torch.Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.at("sanity" if self.trainer.sanity_checking else "validation_step")
        noise = torch.rand(()) if self.trainer.validating else 0.0
        self.log("val", self.net(batch).square().mean() + noise, on_step=True, on_epoch=True)

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.at("on_validation_epoch_end")

    def on_train_epoch_end(self) -> None:
        self.at("on_train_epoch_end")

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.02, momentum=0.9)


class Notes(pl.Callback):
    """Tells what ended the training."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.told.append(type(exception).__name__)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.told.append("teardown")


class SlowIO(TorchCheckpointIO):
    """Writes a part of a file before it tells where it is."""

    def __init__(self, at: Moment) -> None:
        self.at = at

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str, storage_options: Any = None) -> None:
        class Tells:
            def __reduce__(self) -> Any:
                at("save")
                return (OrderedDict, ())

        at = self.at
        super().save_checkpoint(checkpoint | {"tells": Tells()}, path, storage_options)


def train(folder: Path, scenario: Scenario, *, resumes: bool) -> dict[str, Any]:
    """One process's share of a training; what it came to."""
    torch.set_num_threads(1)
    pl.seed_everything(3, workers=True, verbose=False)
    signals.GRACE_S = scenario.grace_s
    at = Moment(Scenario("nowhere") if resumes else scenario)
    called: list[int] = []
    before = install_handler("" if resumes else scenario.handler, called)
    notes = Notes()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        val_check_interval=4,
        num_sanity_val_steps=2 if scenario.place == "sanity" else 0,
        log_every_n_steps=1,
        default_root_dir=folder,
        logger=CSVLogger(folder, flush_logs_every_n_steps=3),
        callbacks=[ModelCheckpoint(dirpath=folder / "saved", save_top_k=-1), notes],
        plugins=[] if resumes else [SlowIO(at)],
        enable_progress_bar=False,
        enable_model_summary=False,
        **scenario.options,
    )
    more = {"num_workers": scenario.workers, "persistent_workers": scenario.workers > 0}
    net = Net(at)
    outcome: dict[str, Any] = {}
    try:
        result = trainer.fit(
            net,
            DataLoader(Data(16, "item", at), batch_size=2, shuffle=True, **more),
            [DataLoader(Data(4, "val_item", at), batch_size=2) for _ in range(2)],
            ckpt_path="auto",
        )
        outcome["stopped_because"] = result.stopped_because
    finally:
        outcome |= {
            "told": notes.told,
            "called": called,
            "handlers are back": before == install_handler("", called),
            "status": str(trainer.state.status),
            "steps": trainer.global_step,
            "saved": sorted(path.name for path in (folder / "saved").glob("*.ckpt")),
            "intact": all(verify(str(path)).intact for path in (folder / "saved").glob("*.ckpt")),
            "threads": threads_left(),
        }
        if (path := folder / "saved" / "interrupted.ckpt").exists():
            own = torch.load(path, weights_only=True)
            outcome["interrupted at"] = own["global_step"]
            outcome["exact"] = own["fulmen"]["exact"]
        (folder / "outcome.json").write_text(json.dumps(outcome))
        torch.save(net.state_dict(), folder / "weights.pt")
    return outcome


def threads_left() -> list[str]:
    """Those that are still there when they had time to end."""
    give_up_s = time.monotonic() + 2
    while True:
        names = [thread.name for thread in threading.enumerate() if not isinstance(thread, threading.Timer)]
        if len(names) == 1 or time.monotonic() > give_up_s:
            return names
        time.sleep(0.01)


def install_handler(kind: str, called: list[int]) -> list[Any]:
    """A handler of the user's; what is there then."""

    def note(signum: int, frame: Any) -> None:
        called.append(signum)
        if kind == "exit":
            raise SystemExit(3)

    if kind:
        signal.signal(TERM, signal.SIG_IGN if kind == "ignore" else note)
    return [signal.getsignal(signum) for signum in (*signals.ENDING, INT)]


def in_a_process(work: Callable[[], Any], log: Path) -> int | None:
    """The exit code of a process, in a group of its own, that does this work."""
    process = multiprocessing.get_context("fork").Process(target=alone, args=(work, log))
    process.start()
    process.join()
    return process.exitcode


def alone(work: Callable[[], Any], log: Path) -> None:
    os.setsid()
    with log.open("a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    signal.alarm(60)
    try:
        work()
    except KeyboardInterrupt:
        sys.exit(130)  # as a script ends


def main() -> None:
    """Interrupt each of the named trainings, and go on with it."""
    weight = torch.zeros(1, requires_grad=True)
    torch.optim.SGD([weight], lr=0.1).step()  # imports half of torch, once
    for name in sys.argv[2:]:
        folder = Path(sys.argv[1]) / name
        folder.mkdir()
        log, scenario = folder / "log.txt", SCENARIOS[name]
        code = in_a_process(partial(train, folder, scenario, resumes=False), log)
        first = json.loads((folder / "outcome.json").read_text())
        if scenario.is_resumed:
            in_a_process(partial(train, folder, scenario, resumes=True), log)
        print(json.dumps({"name": name, "code": code, **first}), flush=True)


if __name__ == "__main__":
    main()
