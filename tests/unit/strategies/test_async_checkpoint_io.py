"""Checkpoints that are written while training goes on: whole, in order, and loud when they fail."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.callbacks import ModelCheckpoint
from fulmen.engine.checkpoint import pending_error_check
from fulmen.errors import CheckpointError
from fulmen.strategies import AsyncCheckpointIO, CheckpointIO, TorchCheckpointIO

PATIENCE_S = 30


class Gated(TorchCheckpointIO):
    """torch's files, each written when `gate` is open; notes what it does."""

    def __init__(self, *, open_now: bool = True, links: bool = True) -> None:
        self.gate = threading.Event()
        if open_now:
            self.gate.set()
        self.links = links
        self.failures: dict[str, BaseException] = {}
        """By the name of the file."""
        self.calls: list[tuple[str, str]] = []

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str, storage_options: Any = None) -> None:
        assert self.gate.wait(PATIENCE_S)
        self.note("save", path)
        super().save_checkpoint(checkpoint, path, storage_options)

    def load_checkpoint(
        self, path: str, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        self.note("load", path)
        return super().load_checkpoint(path, map_location, weights_only)

    def remove_checkpoint(self, path: str) -> None:
        self.note("remove", path)
        super().remove_checkpoint(path)

    def link_checkpoint(self, path: str, link: str) -> bool:
        self.note("link", link)
        return self.links and super().link_checkpoint(path, link)

    def teardown(self) -> None:
        self.calls.append(("teardown", ""))

    def note(self, what: str, path: str) -> None:
        name = Path(path).name
        self.calls.append((what, name))
        if name in self.failures:
            raise self.failures[name]


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.layer(batch).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


class At(pl.Callback):
    """Does something at the end of certain batches."""

    def __init__(self, actions: dict[int, Callable[[pl.Trainer], object]]) -> None:
        self.actions = actions

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step in self.actions:
            self.actions[trainer.global_step](trainer)


def save_to(path: Path) -> Callable[[pl.Trainer], None]:
    return lambda trainer: trainer.save_checkpoint(path)


def fit(
    io: CheckpointIO, *callbacks: pl.Callback, module: pl.LightningModule | None = None, steps: int = 6
) -> pl.Trainer:
    torch.manual_seed(0)
    loader = DataLoader([torch.randn(4) for _ in range(6)])  # pyright: ignore[reportArgumentType]
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=steps,
        callbacks=list(callbacks),
        plugins=io,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
    )
    trainer.fit(module or Module(), loader)
    return trainer


def read(path: Path | str) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def test_a_fit_writes_what_a_synchronous_one_writes_though_training_goes_on(tmp_path: Path) -> None:
    fit(TorchCheckpointIO(), At({2: save_to(tmp_path / "at once.ckpt")}))
    slow = Gated(open_now=False)

    def see_that_nothing_is_written(trainer: pl.Trainer) -> None:
        assert slow.calls == []
        slow.gate.set()

    fit(
        AsyncCheckpointIO(slow),
        At({2: save_to(tmp_path / "meanwhile.ckpt"), 5: see_that_nothing_is_written}),
    )
    assert slow.calls == [("save", "meanwhile.ckpt"), ("teardown", "")]
    expected, written = read(tmp_path / "at once.ckpt"), read(tmp_path / "meanwhile.ckpt")
    assert written["global_step"] == expected["global_step"] == 2
    torch.testing.assert_close(written["state_dict"], expected["state_dict"], rtol=0, atol=0)
    torch.testing.assert_close(written["optimizer_states"], expected["optimizer_states"], rtol=0, atol=0)


def test_no_file_holds_two_steps(tmp_path: Path) -> None:
    io = AsyncCheckpointIO()
    state = {"step": [0], **{str(i): torch.zeros(200_000) for i in range(8)}}
    for step in range(6):
        fill(state, step)
        io.save_checkpoint(state, str(tmp_path / f"{step}.ckpt"))
        for _ in range(20):  # while the thread writes
            fill(state, step + 100)
    io.teardown()
    for step in range(6):
        found = read(tmp_path / f"{step}.ckpt")
        assert found.pop("step") == [step]
        assert {value for tensor in found.values() for value in tensor.unique().tolist()} == {step}


def fill(state: dict[str, Any], step: int) -> None:
    state["step"][0] = step
    for value in state.values():
        if isinstance(value, torch.Tensor):
            value.fill_(step)


def test_all_is_done_in_order_and_teardown_waits_for_it(tmp_path: Path) -> None:
    slow = Gated(open_now=False)
    io = AsyncCheckpointIO(slow)
    io.save_checkpoint({"a": 1}, str(tmp_path / "new"))
    io.remove_checkpoint(str(tmp_path / "old"))
    assert slow.calls == []
    slow.gate.set()
    io.teardown()
    assert slow.calls == [("save", "new"), ("remove", "old"), ("teardown", "")]
    io.teardown()
    io.save_checkpoint({"a": 2}, str(tmp_path / "new"))  # a torn down one can be used again
    io.teardown()
    assert read(tmp_path / "new") == {"a": 2}


def test_a_save_waits_for_the_one_before(tmp_path: Path) -> None:
    slow = Gated(open_now=False)
    io = AsyncCheckpointIO(slow)
    io.save_checkpoint({"a": torch.ones(1)}, str(tmp_path / "a"))
    second = threading.Thread(target=io.save_checkpoint, args=({"a": torch.zeros(1)}, str(tmp_path / "b")))
    second.start()
    second.join(0.05)
    assert second.is_alive()
    slow.gate.set()
    second.join(PATIENCE_S)
    io.teardown()
    assert (read(tmp_path / "a")["a"], read(tmp_path / "b")["a"]) == (1, 0)


def test_what_is_being_written_can_be_loaded(tmp_path: Path) -> None:
    slow = Gated(open_now=False)
    io = AsyncCheckpointIO(slow)
    io.save_checkpoint({"a": 1}, str(tmp_path / "a"))
    threading.Timer(0.05, slow.gate.set).start()
    assert io.load_checkpoint(str(tmp_path / "a")) == {"a": 1}
    io.teardown()


# ----------------------------------------------------------------------------------------------- what fails


FAILURES = {
    "disk": OSError(28, "No space left on device"),
    "own": CheckpointError("scripted", received="No space left on device"),
    "other": RuntimeError("No space left on device"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_a_failed_write_ends_training_at_the_next_step(failure: Exception, tmp_path: Path) -> None:
    flaky = Gated()
    flaky.failures["2.ckpt"] = failure
    io = AsyncCheckpointIO(flaky)
    ended: list[int] = []

    def save_and_remove(trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(tmp_path / "2.ckpt")
        trainer.strategy.remove(str(tmp_path / "1.ckpt"))

    steps = {step: lambda trainer: (io.finish(), ended.append(trainer.global_step)) for step in (3, 4)}
    with pytest.raises(CheckpointError, match="No space left on device") as raised:
        fit(io, At({1: save_to(tmp_path / "1.ckpt"), 2: save_and_remove, **steps}))
    assert raised.value is failure or str(tmp_path / "2.ckpt") in str(raised.value)
    assert raised.value is failure or raised.value.__cause__ is failure
    assert ended in ([], [3])  # it may have failed before the step was over that asked for it
    assert read(tmp_path / "1.ckpt")["global_step"] == 1  # what was to follow the failed one was dropped
    assert ("remove", "1.ckpt") not in flaky.calls


def test_a_failed_write_is_told_once_and_the_next_one_succeeds(tmp_path: Path) -> None:
    flaky = Gated()
    flaky.failures["a"] = OSError("scripted")
    io = AsyncCheckpointIO(flaky)
    io.save_checkpoint({}, str(tmp_path / "a"))
    io.finish()
    io.save_checkpoint({}, str(tmp_path / "b"))
    io.remove_checkpoint(str(tmp_path / "before"))  # nobody knows yet that the first one is missing
    with pytest.raises(CheckpointError, match=r"could not be written(.|\n)*scripted"):
        io.raise_pending_error()
    io.raise_pending_error()
    io.remove_checkpoint(str(tmp_path / "after"))
    io.teardown()
    assert read(tmp_path / "b") == {}
    assert flaky.calls == [("save", "a"), ("save", "b"), ("remove", "after"), ("teardown", "")]


@pytest.mark.parametrize("pause_s", [0, 0.1], ids=["at once", "when the next save is due"])
def test_a_run_may_go_on_after_a_failed_write(pause_s: float, tmp_path: Path) -> None:
    flaky = Gated()
    flaky.failures["step=2.ckpt"] = OSError("scripted")
    saver = ModelCheckpoint(
        tmp_path, filename="{step}", every_n_train_steps=1, save_last=True, on_save_error="warn"
    )

    def hold(trainer: pl.Trainer) -> None:
        flaky.gate.clear()
        threading.Timer(pause_s, flaky.gate.set).start()

    with pytest.warns(UserWarning, match=r"Training goes on(.|\n)*step=2.ckpt(.|\n)*scripted"):
        fit(AsyncCheckpointIO(flaky), At({2: hold}), saver, steps=4)
    assert saver.failed_saves == 1
    assert names(tmp_path) == ["last.ckpt", "step=4.ckpt"]
    assert read(saver.best_model_path)["global_step"] == 4


def test_a_failed_removal_is_told_as_well(tmp_path: Path) -> None:
    flaky = Gated()
    flaky.failures["a"] = PermissionError("scripted")
    io = AsyncCheckpointIO(flaky)
    io.remove_checkpoint(str(tmp_path / "a"))
    with pytest.raises(CheckpointError, match=r"could not be removed(.|\n)*PermissionError: scripted"):
        io.teardown()


def test_what_fails_after_the_last_step_is_raised_by_fit(tmp_path: Path) -> None:
    flaky = Gated()
    flaky.failures["last.ckpt"] = OSError("scripted")
    io = AsyncCheckpointIO(flaky)
    with pytest.raises(CheckpointError, match="scripted"):
        fit(io, At({6: save_to(tmp_path / "last.ckpt")}))
    assert ("teardown", "") in flaky.calls


def test_training_asks_only_stores_that_write_in_the_background(tmp_path: Path) -> None:
    asked: list[bool] = []

    class Looks(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            asked.append(pending_error_check(trainer._run) is not None)  # pyright: ignore[reportArgumentType]

    fit(TorchCheckpointIO(), Looks(), steps=1)
    fit(AsyncCheckpointIO(), Looks(), steps=1)
    assert asked == [False, True]


# ----------------------------------------------------------------------------------------- in whole trainings


def test_after_a_fit_everything_is_in_place(tmp_path: Path) -> None:
    slow = Gated()
    saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=2, save_last="link")
    trainer = fit(AsyncCheckpointIO(slow), saver)
    assert names(tmp_path) == ["last.ckpt", "step=6.ckpt"]
    assert (tmp_path / "last.ckpt").resolve() == Path(saver.best_model_path).resolve()
    assert read(saver.last_model_path)["global_step"] == 6
    assert [call for call in slow.calls if call[0] != "teardown"] == [
        ("save", "step=2.ckpt"),
        ("link", "last.ckpt"),
        ("save", "step=4.ckpt"),
        ("link", "last.ckpt"),
        ("remove", "step=2.ckpt"),
        ("save", "step=6.ckpt"),
        ("link", "last.ckpt"),
        ("remove", "step=4.ckpt"),
    ]

    trainer.save_checkpoint(tmp_path / "after.ckpt")  # is there as soon as that returns
    assert read(tmp_path / "after.ckpt")["global_step"] == 6


def test_where_there_are_no_links_the_same_copy_is_written_again(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=3, save_last="link")
    fit(AsyncCheckpointIO(Gated(links=False)), saver)
    assert not (tmp_path / "last.ckpt").is_symlink()
    assert (tmp_path / "last.ckpt").read_bytes() == (tmp_path / "step=6.ckpt").read_bytes()


def test_a_link_to_an_older_checkpoint(tmp_path: Path) -> None:
    io = AsyncCheckpointIO()
    io.save_checkpoint({"a": 1}, str(tmp_path / "a"))
    io.save_checkpoint({"a": 2}, str(tmp_path / "b"))
    assert io.link_checkpoint(str(tmp_path / "a"), str(tmp_path / "link"))
    assert not io.link_checkpoint(str(tmp_path / "missing"), str(tmp_path / "link"))
    io.teardown()
    assert read(tmp_path / "link") == {"a": 1}


def test_checkpoints_of_one_name_do_not_replace_one_another(tmp_path: Path) -> None:
    slow = Gated(open_now=False)
    saver = ModelCheckpoint(tmp_path, filename="{epoch}", every_n_train_steps=2, save_top_k=-1)
    opener = At({3: lambda _: threading.Timer(0.1, slow.gate.set).start()})
    fit(AsyncCheckpointIO(slow), saver, opener)
    assert names(tmp_path) == ["epoch=0-v1.ckpt", "epoch=0-v2.ckpt", "epoch=0.ckpt"]
    assert [read(tmp_path / name)["global_step"] for name in names(tmp_path)] == [4, 6, 2]


def test_a_run_goes_on_from_what_was_written_in_the_background(tmp_path: Path) -> None:
    whole = fit(AsyncCheckpointIO(), At({3: save_to(tmp_path / "a.ckpt")}))
    resumed = Module()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=6,
        plugins=AsyncCheckpointIO(),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    torch.manual_seed(0)
    loader = DataLoader([torch.randn(4) for _ in range(6)])  # pyright: ignore[reportArgumentType]
    trainer.fit(resumed, loader, ckpt_path=tmp_path / "a.ckpt")
    assert trainer.global_step == 6
    for name, weight in whole.lightning_module.state_dict().items():
        assert weight.equal(resumed.state_dict()[name])


def test_the_checkpoint_of_an_exception_is_in_place_when_fit_has_raised(tmp_path: Path) -> None:
    class Fails(Module):
        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            if batch_idx == 4:
                raise KeyError("scripted")
            return super().training_step(batch, batch_idx)

    saver = ModelCheckpoint(
        tmp_path, filename="{step}", every_n_train_steps=3, save_top_k=-1, save_on_exception=True
    )
    with pytest.raises(KeyError, match="scripted"):
        fit(AsyncCheckpointIO(), saver, module=Fails())
    assert names(tmp_path) == ["step=3.ckpt", "step=4.ckpt"]
    assert read(tmp_path / "step=4.ckpt")["global_step"] == 4


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


# ---------------------------------------------------------------------------------------- ends of the process


SAVES_TWICE = """
import sys, time
import torch
from fulmen.base import files
from fulmen.strategies import AsyncCheckpointIO, CheckpointIO, TorchCheckpointIO

class Slow(CheckpointIO):
    def save_checkpoint(self, checkpoint, path, storage_options=None):
        if checkpoint["step"] == 1:
            return TorchCheckpointIO().save_checkpoint(checkpoint, path)
        def write(file):
            file.write(b"half")
            file.flush()
            print("half", flush=True)
            time.sleep(float(sys.argv[2]))
            torch.save(checkpoint, file)
        files.write_whole(path, write)
    def load_checkpoint(self, path, map_location=None, weights_only=None): ...
    def remove_checkpoint(self, path):
        files.remove(path)

io = AsyncCheckpointIO(Slow())
for step in (1, 2):
    io.save_checkpoint({"step": step}, f"{sys.argv[1]}/{sys.argv[3].format(step)}")
io.remove_checkpoint(sys.argv[1] + "/1")
"""


def start(folder: Path, pause_s: float, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SAVES_TWICE, str(folder), str(pause_s), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_process_ends_when_all_is_written(tmp_path: Path) -> None:
    with start(tmp_path, 0.2, "{}") as process:
        assert process.wait(PATIENCE_S) == 0
    assert names(tmp_path) == ["2"]
    assert (tmp_path / "2").stat().st_size > 500


@pytest.mark.parametrize("name", ["{}", "one"], ids=["another name", "the same name"])
def test_a_process_killed_while_it_writes_leaves_the_checkpoint_before(name: str, tmp_path: Path) -> None:
    with start(tmp_path, 60, name) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.kill()
    assert names(tmp_path) == [name.format(1)]
    assert read(tmp_path / name.format(1)) == {"step": 1}
