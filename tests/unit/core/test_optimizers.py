"""What `configure_optimizers` may return, what is said of all else, and the optimizer that user code sees."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau, StepLR

import fulmen as pl
from fulmen.core.optimizers import (
    LightningOptimizer,
    LRSchedulerConfig,
    NoOptimizer,
    bare,
    parse_configuration,
)
from fulmen.errors import ConfigError

WEIGHT = torch.nn.Parameter(torch.ones(2))


def optimizer() -> SGD:
    return SGD([WEIGHT], lr=0.1)


def parse(
    returned: Any, *, automatic: bool = True, custom_scheduler_step: bool = False
) -> tuple[list[Optimizer], list[LRSchedulerConfig]]:
    return parse_configuration(returned, automatic=automatic, custom_scheduler_step=custom_scheduler_step)


# -------------------------------------------------------------------------------- the forms of Lightning

FORMS: dict[str, Callable[[SGD, StepLR], Any]] = {
    "[o], [s]": lambda o, s: ([o], [s]),
    "list of two lists": lambda o, s: [[o], [s]],
    "(o,), (s,)": lambda o, s: ((o,), (s,)),
    "[o], s": lambda o, s: ([o], s),
    "[o], dict": lambda o, s: ([o], {"scheduler": s}),
    "[o], [dict]": lambda o, s: ([o], [{"scheduler": s, "interval": "epoch"}]),
    "dict": lambda o, s: {"optimizer": o, "lr_scheduler": s},
    "dict with dict": lambda o, s: {"optimizer": o, "lr_scheduler": {"scheduler": s}},
    "[dict]": lambda o, s: [{"optimizer": o, "lr_scheduler": s}],
    "(dict,)": lambda o, s: ({"optimizer": o, "lr_scheduler": {"scheduler": s}},),
}
ALONE: dict[str, Callable[[SGD], Any]] = {
    "o": lambda o: o,
    "[o]": lambda o: [o],
    "(o,)": lambda o: (o,),
    "[o], []": lambda o: ([o], []),
    "dict": lambda o: {"optimizer": o},
    "dict with None": lambda o: {"optimizer": o, "lr_scheduler": None},
    "[dict]": lambda o: [{"optimizer": o}],
}


@pytest.mark.parametrize("form", FORMS)
def test_an_optimizer_and_a_scheduler(form: str) -> None:
    own = optimizer()
    scheduler = StepLR(own, 1)
    optimizers, configs = parse(FORMS[form](own, scheduler))
    assert optimizers == [own]
    assert configs == [LRSchedulerConfig(scheduler, interval="epoch", frequency=1)]


@pytest.mark.parametrize("form", ALONE)
def test_an_optimizer_alone(form: str) -> None:
    own = optimizer()
    assert parse(ALONE[form](own)) == ([own], [])


@pytest.mark.parametrize("form", ["list", "tuple", "dicts"])
def test_several_optimizers_are_for_manual_optimization(form: str) -> None:
    own = [optimizer(), Adam([WEIGHT])]
    returned: Any = {"list": own, "tuple": tuple(own), "dicts": [{"optimizer": o} for o in own]}[form]
    assert parse(returned, automatic=False) == (own, [])

    class Two(pl.LightningModule):
        def training_step(self, batch: Any, batch_idx: int) -> None: ...

        def configure_optimizers(self) -> Any:
            return returned

    trainer = pl.Trainer(barebones=True, max_epochs=1)
    with pytest.raises(ConfigError, match=r"(?s)2 optimizers.*automatic_optimization = False"):
        trainer.fit(Two(), [1])


def test_several_schedulers_of_one_optimizer() -> None:
    own = optimizer()
    first, second = StepLR(own, 1), LambdaLR(own, lambda epoch: 1.0)
    _, configs = parse(
        ([own], [first, {"scheduler": second, "interval": "step", "frequency": 3, "name": "warm"}])
    )
    assert configs == [
        LRSchedulerConfig(first),
        LRSchedulerConfig(second, interval="step", frequency=3, name="warm"),
    ]


def test_schedulers_of_several_dicts() -> None:
    own = [optimizer(), optimizer()]
    schedulers = [StepLR(o, 1) for o in own]
    returned = [{"optimizer": o, "lr_scheduler": s} for o, s in zip(own, schedulers, strict=True)]
    optimizers, configs = parse(returned, automatic=False)
    assert optimizers == own
    assert [config.scheduler for config in configs] == schedulers


def test_none_means_that_nothing_is_updated() -> None:
    with pytest.warns(UserWarning, match="None"):
        ((stand_in,), configs) = parse(None)
    assert isinstance(stand_in, NoOptimizer)
    assert configs == []


@pytest.mark.parametrize("monitor_in", ["outer", "inner"])
def test_plateau_follows_a_monitor(monitor_in: str) -> None:
    own = optimizer()
    inner: dict[str, Any] = {"scheduler": ReduceLROnPlateau(own)}
    returned: dict[str, Any] = {"optimizer": own, "lr_scheduler": inner}
    (returned if monitor_in == "outer" else inner)["monitor"] = "val_loss"
    (config,) = parse(returned)[1]
    assert (config.monitor, config.reduce_on_plateau, config.strict) == ("val_loss", True, True)


def test_plateau_as_the_bare_scheduler_of_a_dict() -> None:
    own = optimizer()
    (config,) = parse({"optimizer": own, "lr_scheduler": ReduceLROnPlateau(own), "monitor": "x"})[1]
    assert (config.monitor, config.reduce_on_plateau) == ("x", True)


def test_the_inner_monitor_goes_before_the_outer_one() -> None:
    own = optimizer()
    inner = {"scheduler": ReduceLROnPlateau(own), "monitor": "inner"}
    (config,) = parse({"optimizer": own, "lr_scheduler": inner, "monitor": "outer"})[1]
    assert config.monitor == "inner"


# ------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("make", "received"),
    [
        (lambda o: 3, "int"),
        (lambda o: "adam", "str"),
        (lambda o: [], "list of nothing"),
        (lambda o: (), "tuple of nothing"),
        (lambda o: (o, StepLR(o, 1)), "tuple of SGD, StepLR"),
        (lambda o: [o, None], "list of SGD, NoneType"),
        (lambda o: ([o], [], []), "tuple of list, list, list"),
        (lambda o: ([], []), "tuple of list, list"),
        (lambda o: SGD, "type"),
        (lambda o: iter([o]), "iterator"),
    ],
)
def test_other_returned_values(make: Callable[[SGD], Any], received: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)configure_optimizers.*{received}"):
        parse(make(optimizer()))


@pytest.mark.parametrize("entry", [{}, {"optimizer": None}, {"optimizer": "adam"}, {"optimizer": SGD}])
def test_dict_without_an_optimizer(entry: Any) -> None:
    with pytest.raises(ConfigError, match="no optimizer"):
        parse(entry)


@pytest.mark.parametrize(
    ("key", "fix"),
    [("optimiser", "optimizer"), ("lr_sheduler", "lr_scheduler"), ("lr_schedulers", "lr_scheduler")],
)
def test_misspelt_key_of_the_dict(key: str, fix: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s){key}.*did you mean '{fix}'"):
        parse({"optimizer": optimizer(), key: None})


def with_scheduler_dict(**entries: Any) -> Any:
    own = optimizer()
    return {"optimizer": own, "lr_scheduler": {"scheduler": StepLR(own, 1), **entries}}


@pytest.mark.parametrize(
    ("key", "fix"),
    [
        ("frequncy", "frequency"),
        ("intervall", "interval"),
        ("moniter", "monitor"),
        ("schedular", "scheduler"),
    ],
)
def test_misspelt_key_of_the_scheduler_dict(key: str, fix: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s){key}.*did you mean '{fix}'"):
        parse(with_scheduler_dict(**{key: 2}))


def test_foreign_keys_are_said_to_be_unread() -> None:
    """Another framework's, perhaps: nothing that is near to a key of ours."""
    with pytest.warns(UserWarning, match="'zzz'"):
        parse(with_scheduler_dict(zzz=1))


@pytest.mark.parametrize(
    ("interval", "fix"), [("steps", "step"), ("epochs", "epoch"), ("batch", None), (3, None), (None, None)]
)
def test_unknown_interval(interval: Any, fix: str | None) -> None:
    with pytest.raises(
        ConfigError, match=rf"(?s)'interval'.*{(fix and f'did you mean .{fix}.') or 'expected'}"
    ):
        parse(with_scheduler_dict(interval=interval))


@pytest.mark.parametrize("frequency", [0, -1, 1.5, "2", True, None])
def test_frequency_that_is_no_count(frequency: Any) -> None:
    with pytest.raises(ConfigError, match="'frequency'"):
        parse(with_scheduler_dict(frequency=frequency))


def test_scheduler_dict_without_a_scheduler() -> None:
    with pytest.raises(ConfigError, match="no 'scheduler'"):
        parse({"optimizer": optimizer(), "lr_scheduler": {"interval": "step"}})


def test_list_of_schedulers_in_the_dict() -> None:
    own = optimizer()
    with pytest.raises(ConfigError, match="one scheduler"):
        parse({"optimizer": own, "lr_scheduler": [StepLR(own, 1)]})


@pytest.mark.parametrize("form", ["dict", "lists"])
def test_plateau_without_a_monitor(form: str) -> None:
    own = optimizer()
    scheduler = ReduceLROnPlateau(own)
    returned = {"optimizer": own, "lr_scheduler": scheduler} if form == "dict" else ([own], [scheduler])
    with pytest.raises(ConfigError, match=r"(?s)ReduceLROnPlateau.*'monitor'"):
        parse(returned)


def test_plateau_without_a_monitor_is_the_users_business_in_manual_optimization() -> None:
    own = optimizer()
    (config,) = parse(([own], [ReduceLROnPlateau(own)]), automatic=False)[1]
    assert config.monitor is None


def test_scheduler_of_an_optimizer_that_was_not_returned() -> None:
    with pytest.raises(ConfigError, match="did not return"):
        parse(([optimizer()], [StepLR(optimizer(), 1)]))


def test_cadence_of_a_scheduler_has_no_effect_in_manual_optimization() -> None:
    with pytest.warns(UserWarning, match="no effect"):
        parse(with_scheduler_dict(interval="step"), automatic=False)


class OwnScheduler:
    """Steps in a way that torch does not know."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer


def test_class_of_ones_own_needs_to_be_told_how_it_steps() -> None:
    own = optimizer()
    with pytest.raises(ConfigError, match=r"(?s)OwnScheduler.*lr_scheduler_step"):
        parse(([own], [OwnScheduler(own)]))
    (config,) = parse(([own], [OwnScheduler(own)]), custom_scheduler_step=True)[1]
    assert type(config.scheduler) is OwnScheduler


@pytest.mark.parametrize("wrong", [3, "cosine", StepLR], ids=["number", "name", "class"])
def test_something_else_for_a_scheduler(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="scheduler"):
        parse(([optimizer()], [wrong]))


# ------------------------------------------------------------------------------------ LightningOptimizer


def test_it_passes_for_its_optimizer() -> None:
    own = Adam([WEIGHT], lr=0.25)
    wrapped = LightningOptimizer(own)
    assert isinstance(wrapped, Adam)
    assert isinstance(wrapped, Optimizer)
    assert isinstance(wrapped, LightningOptimizer)
    assert not isinstance(wrapped, SGD)
    assert wrapped.optimizer is own is bare(wrapped) is bare(own)
    assert "Adam" in repr(wrapped)


def test_attributes_are_the_optimizers() -> None:
    own = optimizer()
    wrapped: Any = LightningOptimizer(own)
    assert wrapped.param_groups is own.param_groups
    assert wrapped.state is own.state
    assert wrapped.defaults["lr"] == 0.1
    wrapped.param_groups[0]["lr"] = 0.5
    assert own.param_groups[0]["lr"] == 0.5
    wrapped.mark = "here"
    assert own.mark == "here"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = wrapped.nothing_like_it


def test_outside_of_a_run_it_steps_like_the_optimizer() -> None:
    weight = torch.nn.Parameter(torch.ones(()))
    wrapped: Any = LightningOptimizer(SGD([weight], lr=0.5))
    weight.sum().backward()
    wrapped.step()
    assert weight.item() == 0.5
    wrapped.zero_grad()
    assert weight.grad is None

    def closure() -> torch.Tensor:
        loss = weight * 2
        loss.backward()
        return loss

    assert wrapped.step(closure).item() == 1.0
    assert weight.item() == -0.5


def test_a_scheduler_takes_it() -> None:
    own = optimizer()
    wrapped: Any = LightningOptimizer(own)
    scheduler = StepLR(wrapped, 1, gamma=0.5)
    own.step()
    scheduler.step()
    assert own.param_groups[0]["lr"] == 0.05


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"]
)
def test_it_can_be_copied(copied: Callable[[Any], Any]) -> None:
    again = copied(LightningOptimizer(optimizer()))
    assert type(again) is LightningOptimizer
    assert again.param_groups[0]["lr"] == 0.1
