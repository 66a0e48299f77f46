"""An update without records of torch is the update that torch makes, and who listens to it still hears it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from fulmen.base.updates import update, zero_grad

OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "SGD": lambda parameters: optim.SGD(parameters, lr=0.1, momentum=0.9),
    "one by one": lambda parameters: optim.SGD(parameters, lr=0.1, foreach=False),
    "Adam": lambda parameters: optim.Adam(parameters, lr=0.1),
    "AdamW": lambda parameters: optim.AdamW(parameters, lr=0.1, fused=True),
    "RMSprop": lambda parameters: optim.RMSprop(parameters, lr=0.1),
    "Adagrad": lambda parameters: optim.Adagrad(parameters, lr=0.1),
}


def trained(
    make: Callable[[Any], optim.Optimizer], step: Callable[[optim.Optimizer], None], clear: Any
) -> nn.Linear:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    optimizer = make(net.parameters())
    for _ in range(4):
        clear(optimizer)
        net(torch.randn(5, 3)).square().mean().backward()
        step(optimizer)
    return net


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_updates_are_those_of_torch(make: Callable[[Any], optim.Optimizer]) -> None:
    ours = trained(make, update, zero_grad)
    theirs = trained(make, lambda optimizer: optimizer.step(), lambda optimizer: optimizer.zero_grad())
    for own, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(own, expected)


def ready(kind: type[optim.Optimizer] = optim.SGD) -> optim.Optimizer:
    """An optimizer whose only parameter has a gradient."""
    weight = nn.Parameter(torch.zeros(()))
    weight.grad = torch.ones(())
    return kind([weight], lr=1.0)  # pyright: ignore[reportCallIssue]


def weight_of(optimizer: optim.Optimizer) -> float:
    return optimizer.param_groups[0]["params"][0].item()


@pytest.mark.parametrize("register", ["register_step_pre_hook", "register_step_post_hook"])
def test_hooks_of_an_optimizer_are_called(register: str) -> None:
    optimizer, calls = ready(), []
    getattr(optimizer, register)(lambda *arguments: calls.append(arguments[0]))
    update(optimizer)
    assert calls == [optimizer]
    assert weight_of(optimizer) == -1


@pytest.fixture(params=[register_optimizer_step_pre_hook, register_optimizer_step_post_hook])
def calls(request: pytest.FixtureRequest) -> Iterator[list[Any]]:
    called: list[Any] = []
    handle = request.param(lambda *arguments: called.append(arguments[0]))
    yield called
    handle.remove()


def test_hooks_of_all_optimizers_are_called(calls: list[Any]) -> None:
    optimizer = ready()
    update(optimizer)
    assert calls == [optimizer]
    assert weight_of(optimizer) == -1


def test_step_that_somebody_put_into_the_optimizer_is_called() -> None:
    optimizer = ready()
    optimizer.step = lambda closure=None: None  # pyright: ignore[reportAttributeAccessIssue]
    update(optimizer)
    assert weight_of(optimizer) == 0


def test_step_that_somebody_put_into_the_class_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer, calls = ready(), []
    original = optim.SGD.step

    @functools.wraps(original)  # as tracing tools do
    def traced(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments[0])
        return original(*arguments, **options)

    monkeypatch.setattr(optim.SGD, "step", traced)
    update(optimizer)
    assert calls == [optimizer]
    assert weight_of(optimizer) == -1


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_updates_with_a_scheduler_are_those_of_torch(make: Callable[[Any], optim.Optimizer]) -> None:
    schedulers: dict[optim.Optimizer, Any] = {}

    def scheduled(parameters: Any) -> optim.Optimizer:
        optimizer = make(parameters)
        schedulers[optimizer] = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        return optimizer

    def steps(one: Callable[[optim.Optimizer], Any]) -> Callable[[optim.Optimizer], None]:
        def step(optimizer: optim.Optimizer) -> None:
            one(optimizer)
            schedulers[optimizer].step()  # torch warns if it did not hear of the update

        return step

    ours = trained(scheduled, steps(update), zero_grad)
    theirs = trained(scheduled, steps(lambda optimizer: optimizer.step()), zero_grad)
    for own, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(own, expected)


@pytest.mark.parametrize("first", ["scheduler", "tool"])
def test_step_that_a_tool_puts_into_an_optimizer_with_a_scheduler_is_called(first: str) -> None:
    optimizer, calls = ready(), []

    def put(optimizer: Any) -> None:
        original = optimizer.step

        @functools.wraps(original)
        def traced(self: Any, *arguments: Any) -> Any:
            calls.append(self)
            return original(*arguments)

        optimizer.step = MethodType(traced, optimizer)

    if first == "tool":
        put(optimizer)
    scheduler = optim.lr_scheduler.StepLR(optimizer, 1)
    if first == "scheduler":
        put(optimizer)
    update(optimizer)
    scheduler.step()
    assert calls == [optimizer]
    assert weight_of(optimizer) == -1


def test_profiler_that_runs_has_its_records() -> None:
    optimizer = ready()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        update(optimizer)
        zero_grad(optimizer)
    names = {event.key for event in profile.key_averages()}
    assert {"Optimizer.step#SGD.step", "Optimizer.zero_grad#SGD.zero_grad"} <= names
