"""What DDPStrategy does before, and beside, the talk of processes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import PostLocalSGDState

import fulmen as pl
from fulmen.errors import ConfigError
from fulmen.runtime.world import World
from fulmen.strategies import DDPStrategy, ddp

QUIET: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}


class Normed(nn.Module):
    """Has layers that can be synchronised."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3))
        self.outer = nn.BatchNorm2d(4, momentum=0.3)


def test_batch_norm_cannot_be_synchronised_on_the_cpu() -> None:
    with pytest.raises(ConfigError, match="batch norm on the CPU"):
        pl.Trainer(devices=2, sync_batchnorm=True, **QUIET)


def test_one_process_has_nobody_to_synchronise_with() -> None:
    trainer = pl.Trainer(devices=1, strategy="ddp", sync_batchnorm=True, **QUIET)
    module = Normed()
    trainer.strategy.setup(module)
    assert not any(isinstance(part, nn.SyncBatchNorm) for part in module.modules())


def test_layers_become_synchronised_ones_with_the_same_state() -> None:
    strategy = DDPStrategy(sync_batchnorm=True)
    strategy.world, strategy.root_device = World(size=2), torch.device("meta")
    module = Normed()
    parameters = dict(module.named_parameters())
    strategy.setup(module)
    assert isinstance(module.inner[1], nn.SyncBatchNorm)
    assert isinstance(module.outer, nn.SyncBatchNorm)
    assert module.outer.momentum == 0.3
    assert dict(module.named_parameters()).keys() == parameters.keys()
    assert all(parameter.is_meta for parameter in module.parameters())


def test_synchronised_batch_norm_does_not_go_with_joining() -> None:
    strategy = DDPStrategy(uneven="join", sync_batchnorm=True)
    strategy.environment = pl.Trainer(**QUIET).strategy.environment
    with pytest.raises(ConfigError, match="sync_batchnorm=True"):
        strategy.place([torch.device("cuda", 0), torch.device("cuda", 1)], 1)


@pytest.mark.parametrize(("period", "has_state"), [(4, False), (None, True), (0, True)])
def test_post_local_sgd_needs_both_its_parts(period: int | None, has_state: bool) -> None:
    state = PostLocalSGDState(None, None, start_localSGD_iter=1) if has_state else None
    with pytest.raises(ConfigError, match="model_averaging_period"):
        DDPStrategy(ddp_comm_state=state, model_averaging_period=period)


@pytest.mark.parametrize("backend", [None, "mpi"])
def test_backend_and_timeout_reach_the_group(backend: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(ddp, "connect", lambda *args, **options: given.update(options))
    monkeypatch.setattr(ddp, "ProcessGroup", lambda: None)
    monkeypatch.setattr(ddp.watch, "begin", lambda *args, **options: given.update(options))
    strategy = DDPStrategy(process_group_backend=backend, timeout=timedelta(minutes=7), hang_timeout_s=9.0)
    strategy.environment = pl.Trainer(**QUIET).strategy.environment
    strategy.place([torch.device("cpu")], 1)
    strategy.connect()
    assert given["backend"] == (backend or "gloo")
    assert given["timeout"] == timedelta(minutes=7)
    assert given["hang_timeout_s"] == 9.0
