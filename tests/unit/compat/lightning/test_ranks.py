"""What knows of other processes, in one process."""

from __future__ import annotations

import logging
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed

from fulmen.base import report
from fulmen.compat.lightning import ranks


@pytest.fixture
def group_of_one(tmp_path: Path) -> Iterator[None]:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_warnings_come_from_the_line_that_gives_them() -> None:
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        ranks.rank_zero_warn("one")
        ranks.rank_zero_warn("two", RuntimeWarning)
        ranks.rank_zero_warn("three", category=RuntimeWarning)
        ranks.rank_zero_deprecation("four")

    assert [str(warning.message) for warning in given] == ["one", "two", "three", "four"]
    kinds = [UserWarning, RuntimeWarning, RuntimeWarning, ranks.LightningDeprecationWarning]
    assert [warning.category for warning in given] == kinds
    assert {warning.filename for warning in given} == {__file__}


def test_other_ranks_say_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(report.rank_zero_only, "rank", 1)

    ranks.rank_zero_warn("not here")
    with caplog.at_level(logging.DEBUG, "fulmen"):
        ranks.rank_zero_info("nor here")
        ranks.rank_zero_debug("nor here")

    assert not caplog.records
    assert ranks.rank_zero_only(lambda: 1)() is None


def test_messages_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "fulmen"):
        ranks.rank_zero_info("one %s", 1)
        ranks.rank_zero_debug("two")

    assert caplog.messages == ["one 1", "two"]
    assert ranks.rank_prefixed_message("m", 1) == "[rank: 1] m"
    assert ranks.rank_prefixed_message("m", None) == "m"


def test_a_cache_says_each_thing_once() -> None:
    cache = ranks.WarningCache()
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        for _ in range(2):
            cache.warn("one")
            cache.deprecation("two")
            cache.info("three")

    assert [str(warning.message) for warning in given] == ["one", "two"]
    assert {warning.filename for warning in given} == {__file__}
    assert cache == {"one", "two", "three"}


def test_what_probably_is_not_meant_can_be_silenced() -> None:
    with warnings.catch_warnings():
        ranks.disable_possible_user_warnings()
        report.warn("unlikely")


def test_alone_everything_is_as_it_was() -> None:
    tensor = torch.arange(3.0)

    assert not ranks.distributed_available()
    assert ranks.gather_all_tensors(tensor) == [tensor]
    assert ranks.sync_ddp_if_available(tensor) is tensor
    assert ranks.all_gather_ddp_if_available(tensor) is tensor


@pytest.mark.filterwarnings("ignore:torch.distributed.nn.functional.all_gather is deprecated:FutureWarning")
@pytest.mark.usefixtures("group_of_one")
def test_in_a_group_tensors_are_gathered_and_reduced() -> None:
    tensor = torch.arange(6.0).reshape(2, 3).requires_grad_()

    (gathered,) = ranks.gather_all_tensors(tensor.detach())
    assert torch.equal(gathered, tensor)
    for operation in (None, "mean", "AVG", "sum", "max", distributed.ReduceOp.MIN):
        assert torch.equal(ranks.sync_ddp(tensor.detach().clone(), reduce_op=operation), tensor)
    assert torch.equal(ranks.all_gather_ddp_if_available(tensor), tensor[None])
    assert not ranks.all_gather_ddp_if_available(tensor).requires_grad

    for stacked in (
        ranks.all_gather_ddp_if_available(tensor, sync_grads=True),
        ranks.AllGatherGrad.apply(tensor),
    ):
        tensor.grad = None
        stacked.sum().backward()
        assert torch.equal(tensor.grad, torch.ones(2, 3))  # pyright: ignore[reportArgumentType]


def test_a_port_is_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", ranks.find_free_network_port()))


def test_how_processes_talk() -> None:
    assert ranks.get_default_process_group_backend_for_device(torch.device("cuda", 1)) == "nccl"
    assert ranks.get_default_process_group_backend_for_device(torch.device("cpu")) == "gloo"
