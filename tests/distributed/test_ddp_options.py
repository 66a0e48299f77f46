"""What DDPStrategy hands on to torch, and what modules and callbacks can ask of other processes."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import (
    PostLocalSGDState,
    post_localSGD_hook,
)
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.base.report import rank_zero_only
from fulmen.errors import UsageError
from fulmen.strategies import DDPStrategy

from .ranks import Ranks
from .test_ddp import FEATURES, QUIET, Numbered, Regression, loader_of


def count_buckets(counted, bucket):  # without annotations: torch does not understand those that are strings
    """A communication hook that counts what it is given, and averages."""
    counted.append(bucket.index())
    return default_hooks.allreduce_hook(None, bucket)  # pyright: ignore[reportArgumentType]


class Wide(Regression):
    """Has more than a megabyte of weights."""

    def __init__(self) -> None:
        super().__init__()
        wide = [layer for _ in range(3) for layer in (nn.Linear(400, 400), nn.Tanh())]
        self.net = nn.Sequential(nn.Linear(FEATURES, 400), *wide, nn.Linear(400, 1))


def fit(module: pl.LightningModule, batch_size: int = 4, **options: Any) -> pl.Trainer:
    """Two epochs of 32 samples, by two processes unless `devices` says otherwise."""
    trainer = pl.Trainer(**{"devices": 2, "max_epochs": 2, **QUIET, **options})
    trainer.fit(module, loader_of("shuffled", 32, batch_size))
    return trainer


def weights_with(rank: int, kind: type[Regression], arguments: dict[str, Any]) -> Tensor:
    pl.seed_everything(5, verbose=False)
    module = kind()
    fit(module, strategy=DDPStrategy(**arguments))
    return module.weights()


def weights_alone(kind: type[Regression]) -> Tensor:
    pl.seed_everything(5, verbose=False)
    module = kind()
    fit(module, batch_size=8, devices=1)
    return module.weights()


# ------------------------------------------------------------------------------------ unused, static, buckets


class Branches(Regression):
    """Uses another of its parts in each step."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(FEATURES, FEATURES) for _ in range(3))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y, numbers = batch
        return super().training_step((self.parts[batch_idx % 2](x), y, numbers), batch_idx)


def test_parameters_that_a_step_leaves_out_are_found(two_ranks: Ranks) -> None:
    first, second = two_ranks(weights_with, Branches, {"find_unused_parameters": True})
    assert torch.equal(first, second)
    torch.testing.assert_close(first, weights_alone(Branches), rtol=1e-5, atol=1e-6)


def leaves_out(rank: int) -> str:
    with pytest.raises(UsageError) as caught:
        fit(Branches())
    return str(caught.value)


def test_parameters_that_a_step_leaves_out_are_named(two_ranks: Ranks) -> None:
    for said in two_ranks(leaves_out):
        assert "parts.1.weight, parts.1.bias, parts.2.weight, parts.2.bias" in said
        assert "ddp_find_unused_parameters_true" in said


@pytest.mark.filterwarnings("ignore:.*static_graph")
@pytest.mark.parametrize(
    "arguments",
    [
        {"static_graph": True},
        {"gradient_as_bucket_view": True},
        {"bucket_cap_mb": 1},
        {"broadcast_buffers": False},
    ],
    ids=str,
)
def test_arguments_of_torchs_change_no_result(arguments: dict[str, Any], two_ranks: Ranks) -> None:
    first, second = two_ranks(weights_with, Regression, arguments)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, weights_alone(Regression), rtol=1e-5, atol=1e-6)


def reductions(rank: int, kind: type[Regression], arguments: dict[str, Any], window: int) -> Any:
    counted: list[int] = []
    strategy = DDPStrategy(ddp_comm_hook=count_buckets, ddp_comm_state=counted, **arguments)
    trainer = fit(kind(), strategy=strategy, max_epochs=1, accumulate_grad_batches=window)
    return len(counted), trainer.global_step


def test_gradients_travel_once_in_an_accumulation_window(two_ranks: Ranks) -> None:
    assert two_ranks(reductions, Regression, {}, 1) == [(4, 4)] * 2
    assert two_ranks(reductions, Regression, {}, 2) == [(2, 2)] * 2
    assert two_ranks(reductions, Regression, {}, 3) == [(2, 2)] * 2


def test_gradients_travel_in_buckets_as_large_as_asked_for(two_ranks: Ranks) -> None:
    (large, _), _ = two_ranks(reductions, Wide, {"bucket_cap_mb": 100}, 1)
    (small, _), _ = two_ranks(reductions, Wide, {"bucket_cap_mb": 1}, 1)
    assert large == 4
    assert small >= 1 + 3 * 2  # torch does without them in the first step


# ------------------------------------------------------------------------------------------------ compression


def compressed(rank: int, how: str) -> Any:
    arguments: dict[str, Any] = {}
    if how == "fp16":
        arguments = {"ddp_comm_hook": default_hooks.fp16_compress_hook}
    if how.startswith("powerSGD"):
        state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=4, start_powerSGD_iter=2)
        arguments = {"ddp_comm_state": state, "ddp_comm_hook": powerSGD_hook.powerSGD_hook}
    if how == "powerSGD in fp16":
        arguments["ddp_comm_wrapper"] = default_hooks.fp16_compress_wrapper
    return weights_with(rank, Regression, arguments)


@pytest.mark.parametrize("how", ["fp16", "powerSGD", "powerSGD in fp16"])
def test_gradients_are_compressed(how: str, two_ranks: Ranks) -> None:
    exact = weights_alone(Regression)
    first, second = two_ranks(compressed, how)
    assert torch.equal(first, second)
    assert not torch.equal(first, exact)
    torch.testing.assert_close(first, exact, rtol=0.05, atol=0.02)


class ByHand(Regression):
    """In manual optimization."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        optimizer.step()


def compresses_by_hand(rank: int) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(ByHand(), strategy=DDPStrategy(ddp_comm_hook=default_hooks.fp16_compress_hook))
    return " ".join(str(warning.message) for warning in caught)


def test_a_hook_that_is_not_used_is_said(two_ranks: Ranks) -> None:
    assert "`ddp_comm_hook` is not used in manual optimization" in two_ranks(compresses_by_hand)[0]


# ---------------------------------------------------------------------------------------------- local updates


class Drifts(Regression):
    """Remembers the weights that each step begins with."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.seen.append(self.weights().clone())
        return super().training_step(batch, batch_idx)


def drifts(rank: int) -> list[Tensor]:
    pl.seed_everything(5, verbose=False)
    module = Drifts()
    alone, _ = torch.distributed.new_subgroups(1)
    strategy = DDPStrategy(
        ddp_comm_state=PostLocalSGDState(None, alone, start_localSGD_iter=2),
        ddp_comm_hook=post_localSGD_hook,
        model_averaging_period=3,
    )
    fit(module, strategy=strategy, max_epochs=3)
    return module.seen


def test_weights_are_averaged_after_each_period_of_local_updates(two_ranks: Ranks) -> None:
    first, second = two_ranks(drifts)
    same = [torch.equal(a, b) for a, b in zip(first, second, strict=True)]
    # Two updates with common gradients; the third, sixth and ninth are followed by an average.
    assert same == [True, True, True, True, False, False, True, False, False, True, False, False]


# ---------------------------------------------------------------------------------- models that are made late


class MadeLate(Regression):
    """Makes its layers when the strategy is known."""

    def __init__(self) -> None:
        super().__init__()
        del self.net
        self.made = 0

    def configure_model(self) -> None:
        if self.made == 0:
            self.net = nn.Sequential(nn.Linear(FEATURES, 4), nn.Tanh(), nn.Linear(4, 1))
        self.made += 1


class OnlyTheBatch(Regression):
    """Its step has no use for the index."""

    def training_step(self, batch: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().training_step(batch, 0)


@pytest.mark.parametrize("kind", [MadeLate, OnlyTheBatch])
def test_modules_of_all_kinds_train_as_in_one_process(kind: type[Regression], two_ranks: Ranks) -> None:
    first, second = two_ranks(weights_with, kind, {})
    assert torch.equal(first, second)
    torch.testing.assert_close(first, weights_alone(kind), rtol=1e-5, atol=1e-6)


# ----------------------------------------------------------------------------------------- talk of the user's


class Talks(pl.LightningModule):
    """Gathers, broadcasts and waits in its hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.found: dict[str, Any] = {}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        own = self.weight * (self.global_rank + 1)
        nested = {"whole": own, "pair": [own[:1], (own.sum(), 3)], "word": "kept"}
        gathered = self.all_gather(nested, sync_grads=True)
        self.found["shapes"] = [
            tuple(part.shape) for part in (gathered["whole"], gathered["pair"][0], gathered["pair"][1][0])
        ]
        self.found["values"] = gathered["whole"].tolist()
        self.found["others"] = gathered["pair"][1][1], gathered["word"]
        self.found["plain"] = self.all_gather({"count": batch_idx + self.global_rank})
        # What a rank makes of the weights of rank r counts r times: in all 2 * (0 * 1 + 1 * 2) for each.
        return (gathered["whole"] * torch.tensor([[0.0], [1.0]])).sum()

    def on_after_backward(self) -> None:
        self.found["gradient"] = self.weight.grad.tolist() if self.weight.grad is not None else None

    def on_train_end(self) -> None:
        strategy = self.trainer.strategy
        strategy.barrier("the end")
        self.found["sent"] = strategy.broadcast(
            {"rank": self.global_rank, "x": torch.ones(1) * self.global_rank}, 1
        )
        self.found["reduced"] = [
            strategy.reduce(torch.tensor(float(self.global_rank + 1)), op).item()
            for op in ("sum", "mean", "max", "min")
        ]
        self.found["first"] = only_first(self.global_rank)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


@rank_zero_only
def only_first(rank: int) -> str:
    return f"rank {rank}"


def talk(rank: int) -> dict[str, Any]:
    module = Talks()
    pl.Trainer(devices=2, max_steps=1, **QUIET).fit(module, DataLoader(Numbered(4), 2))
    return module.found


def test_what_users_say_to_other_processes(two_ranks: Ranks) -> None:
    first, second = two_ranks(talk)
    for found in (first, second):
        assert found["shapes"] == [(2, 2), (2, 1), (2,)]
        assert found["values"] == [[1.0, 1.0], [2.0, 2.0]]
        assert found["others"] == (3, "kept")
        assert found["gradient"] == [2.0, 2.0]
        assert found["sent"] == {"rank": 1, "x": torch.ones(1)}
        assert found["reduced"] == [3.0, 1.5, 2.0, 1.0]
    assert (first["first"], second["first"]) == ("rank 0", None)
