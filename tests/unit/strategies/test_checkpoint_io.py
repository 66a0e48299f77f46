"""Where checkpoints go to and come from, and a store of a user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.callbacks import ModelCheckpoint
from fulmen.errors import CheckpointError, ConfigError
from fulmen.strategies import CheckpointIO, SingleDeviceStrategy, TorchCheckpointIO


class InMemory(CheckpointIO):
    """Keeps checkpoints in a dict; writes nothing."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[Any, ...]] = []

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str, storage_options: Any = None) -> None:
        self.calls.append(("save", Path(path).name, storage_options))
        self.kept[str(path)] = checkpoint

    def load_checkpoint(
        self, path: str, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        self.calls.append(("load", Path(path).name, weights_only))
        return self.kept[str(path)]

    def remove_checkpoint(self, path: str) -> None:
        self.calls.append(("remove", Path(path).name))
        del self.kept[str(path)]

    def teardown(self) -> None:
        self.calls.append(("teardown",))


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.layer(batch).mean()

    def test_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def batches() -> DataLoader:
    return DataLoader([torch.ones(1)] * 2)  # pyright: ignore[reportArgumentType]


def make_trainer(*callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    if not callbacks:
        quiet["enable_checkpointing"] = False
    return pl.Trainer(accelerator="cpu", callbacks=list(callbacks), **{**quiet, **options})


# ----------------------------------------------------------------------------------------- a user's own store


@pytest.mark.parametrize("with_strategy", [False, True], ids=["alone", "beside a strategy"])
def test_a_store_of_ones_own_is_used_for_everything(tmp_path: Path, with_strategy: bool) -> None:
    store = InMemory()
    options: dict[str, Any] = {"strategy": SingleDeviceStrategy("cpu")} if with_strategy else {}
    saver = ModelCheckpoint(tmp_path, filename="{epoch}")
    trainer = make_trainer(saver, plugins=[store], max_epochs=2, **options)

    trainer.fit(Module(), batches())
    assert store.calls == [
        ("save", "epoch=0.ckpt", None),
        ("save", "epoch=1.ckpt", None),
        ("remove", "epoch=0.ckpt"),
        ("teardown",),
    ]
    assert not list(tmp_path.rglob("*.ckpt"))

    store.calls.clear()
    trainer.test(Module(), batches(), ckpt_path=tmp_path / "epoch=1.ckpt", weights_only=False, verbose=False)
    assert store.calls == [("load", "epoch=1.ckpt", False), ("teardown",)]


def test_a_store_is_asked_to_finish_whatever_happens() -> None:
    class Fails(Module):
        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            raise KeyError("scripted")

    store = InMemory()
    with pytest.raises(KeyError, match="scripted"):
        make_trainer(plugins=store, max_epochs=1).fit(Fails(), batches())
    assert store.calls == [("teardown",)]


def test_storage_options_reach_the_store(tmp_path: Path) -> None:
    store = InMemory()
    trainer = make_trainer(plugins=store, max_epochs=1)
    trainer.fit(Module(), batches())
    trainer.save_checkpoint(tmp_path / "a.ckpt", storage_options={"fast": True})
    assert store.calls[-1] == ("save", "a.ckpt", {"fast": True})


def test_a_run_goes_on_from_what_a_store_gives(tmp_path: Path) -> None:
    store = InMemory()
    trainer = make_trainer(plugins=store, max_epochs=1)
    trainer.fit(Module(), batches())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    second = make_trainer(plugins=store, max_epochs=3)
    second.fit(Module(), batches(), ckpt_path=tmp_path / "a.ckpt")
    assert second.global_step == 6


def test_two_stores_and_what_is_none() -> None:
    with pytest.raises(ConfigError, match="two of a kind"):
        make_trainer(plugins=[InMemory(), TorchCheckpointIO()])
    with pytest.raises(ConfigError, match="not understood"):
        make_trainer(plugins=[InMemory])
    with pytest.raises(TypeError, match="abstract"):
        CheckpointIO()  # pyright: ignore[reportAbstractUsage]


# ------------------------------------------------------------------------------------------ torch's own files


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "disk" else f"memory://{tmp_path.name}"


def test_save_load_remove(folder: str) -> None:
    io, path = TorchCheckpointIO(), f"{folder}/deep/a.ckpt"
    io.save_checkpoint({"state_dict": {"a": torch.ones(2)}, "epoch": 1}, path)
    loaded = io.load_checkpoint(path)
    assert loaded["state_dict"]["a"].equal(torch.ones(2))
    assert loaded["epoch"] == 1
    io.remove_checkpoint(path)
    io.remove_checkpoint(path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        io.load_checkpoint(path)


def test_what_is_read_is_read_on_the_host(tmp_path: Path) -> None:
    io = TorchCheckpointIO()
    io.save_checkpoint({"a": torch.ones(1)}, str(tmp_path / "a.ckpt"))
    assert io.load_checkpoint(str(tmp_path / "a.ckpt"))["a"].device.type == "cpu"
    assert io.load_checkpoint(str(tmp_path / "a.ckpt"), map_location="meta")["a"].device.type == "meta"


class Custom:
    pass


@pytest.mark.parametrize(("weights_only", "restored"), [(None, False), (True, False), (False, True)])
def test_nothing_is_executed_unless_it_is_asked_for(
    weights_only: bool | None, restored: bool, tmp_path: Path
) -> None:
    io, path = TorchCheckpointIO(), str(tmp_path / "a.ckpt")
    io.save_checkpoint({"mine": Custom()}, path)
    loaded = io.load_checkpoint(path, weights_only=weights_only)
    assert (type(loaded["mine"]) is Custom) is restored


def test_storage_options_mean_nothing_here(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"storage_options(.|\n)*CheckpointIO of your own"):
        TorchCheckpointIO().save_checkpoint({}, str(tmp_path / "a.ckpt"), storage_options={"fast": True})
    assert not list(tmp_path.iterdir())
