"""A module by itself, and what it knows of the run it is in."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fulmen as pl
from fulmen.errors import UsageError

from ..engine.small import Rows, Small, TrainsOnly, batches, fit, make_trainer


class Net(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.norm = nn.BatchNorm1d(1)
        self.frozen = nn.Parameter(torch.zeros(1), requires_grad=False)


def test_freeze_and_unfreeze() -> None:
    net = Net()
    net.freeze()
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert not any(module.training for module in net.modules())
    net.unfreeze()
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(module.training for module in net.modules())


def test_device_and_dtype_follow_the_module() -> None:
    net = Net()
    assert (net.device, net.dtype, net.on_gpu) == (torch.device("cpu"), torch.float32, False)
    for convert, dtype in (
        (lambda: net.double(), torch.float64),
        (lambda: net.half(), torch.float16),
        (lambda: net.bfloat16(), torch.bfloat16),
        (lambda: net.float(), torch.float32),
        (lambda: net.to(torch.float64), torch.float64),
        (lambda: net.type(torch.float16), torch.float16),
        (lambda: net.to(dtype=torch.float32), torch.float32),
    ):
        assert convert() is net
        assert net.dtype == net.layer.weight.dtype == dtype
    net.to("meta")
    assert net.device == net.layer.weight.device == torch.device("meta")
    assert net.dtype == torch.float32
    assert net.to_empty(device="cpu").device == torch.device("cpu")


def test_device_and_dtype_without_parameters() -> None:
    """Nothing to look at: what it was sent to is what counts."""
    empty = pl.LightningModule()
    assert (empty.device, empty.dtype) == (torch.device("cpu"), torch.float32)
    empty.to("meta", torch.float64)
    assert (empty.device, empty.dtype) == (torch.device("meta"), torch.float64)


def test_modules_inside_follow_too() -> None:
    outer = pl.LightningModule()
    outer.inner = Net()
    outer.to("meta", torch.float64)
    assert (
        (outer.inner.device, outer.inner.dtype)
        == (outer.device, outer.dtype)
        == (torch.device("meta"), torch.float64)
    )


def test_dtype_is_that_of_the_precision(tmp_path: Path) -> None:
    module = TrainsOnly()
    fit(tmp_path, module, precision="64-true")
    assert module.dtype == torch.float64


def test_device_and_dtype_cannot_be_set() -> None:
    for name in ("device", "on_gpu"):
        with pytest.raises(AttributeError):
            setattr(Net(), name, "cuda")


# ---------------------------------------------------------------------------------------------- detached


def test_what_a_detached_module_knows() -> None:
    net = Net()
    assert (net.current_epoch, net.global_step, net.global_rank, net.local_rank) == (0, 0, 0, 0)
    assert (net.logger, net.loggers) == (None, [])
    assert (net.automatic_optimization, net.strict_loading, net.example_input_array) == (True, True, None)
    assert net.prepare_data_per_node is True
    assert net.allow_zero_length_dataloader_with_multiple_devices is False
    assert net.device_mesh is None


def test_trainer_of_a_detached_module() -> None:
    with pytest.raises(UsageError, match=r"(?s)Net.*not attached.*__init__") as caught:
        _ = Net().trainer
    assert isinstance(caught.value, RuntimeError)  # what code of old catches


@pytest.mark.parametrize(
    "call",
    [
        lambda net: net.optimizers(),
        lambda net: net.lr_schedulers(),
        lambda net: net.manual_backward(torch.zeros((), requires_grad=True)),
        lambda net: net.clip_gradients(torch.optim.SGD(net.parameters(), lr=0.1), 1.0),
        lambda net: net.all_gather(torch.zeros(1)),
    ],
    ids=["optimizers", "lr_schedulers", "manual_backward", "clip_gradients", "all_gather"],
)
def test_what_needs_a_run(call: Any) -> None:
    with pytest.raises(UsageError, match="not in a run"):
        call(Net())


def test_steps_that_are_not_defined() -> None:
    for step in ("training_step", "validation_step", "test_step", "configure_optimizers"):
        with pytest.raises(NotImplementedError):
            getattr(Net(), step)()


def test_loaders_that_are_not_defined() -> None:
    for kind in ("train", "val", "test", "predict"):
        with pytest.raises(UsageError, match=rf"Net defines no `{kind}_dataloader`"):
            getattr(Net(), f"{kind}_dataloader")()


def test_print(capsys: pytest.CaptureFixture[str]) -> None:
    Net().print("a", 1, sep="-")
    assert capsys.readouterr().out == "a-1\n"


def test_example_input_array_may_be_set_in_either_way() -> None:
    class ByProperty(Net):
        @property
        def example_input_array(self) -> Any:
            return torch.zeros(3)

    net = Net()
    net.example_input_array = example = torch.ones(2)
    assert net.example_input_array is example
    assert ByProperty().example_input_array.shape == (3,)
    assert "example_input_array" not in net.state_dict()


def test_settings_as_class_attributes() -> None:
    """Users write them so, too."""

    class Sets(TrainsOnly):
        automatic_optimization = False  # pyright: ignore[reportAssignmentType]
        strict_loading = False  # pyright: ignore[reportAssignmentType]

    assert (Sets().automatic_optimization, Sets().strict_loading) == (False, False)


# ---------------------------------------------------------------------------------------------- in a run


def test_what_it_knows_in_a_run(tmp_path: Path) -> None:
    logger, seen = Rows(), []

    class Looks(TrainsOnly):
        def on_train_batch_end(self, *args: Any) -> None:
            assert self.trainer.lightning_module is self
            assert (self.logger, self.loggers) == (logger, [logger])
            assert self.all_gather({"x": torch.ones(1)})["x"].tolist() == [1]
            seen.append((self.current_epoch, self.global_step))

    fit(tmp_path, Looks(), train=2, max_epochs=2, logger=logger)
    assert seen == [(0, 1), (0, 2), (1, 3), (1, 4)]


def test_what_it_knows_afterwards(tmp_path: Path) -> None:
    module = TrainsOnly()
    trainer = fit(tmp_path, module, max_epochs=2)
    assert module.trainer is trainer
    assert (module.current_epoch, module.global_step) == (2, 4)
    with pytest.raises(UsageError, match="not in a run"):
        module.optimizers()


def test_print_in_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Prints(TrainsOnly):
        def on_train_start(self) -> None:
            self.print("hello")

    fit(tmp_path, Prints())
    assert capsys.readouterr().out == "hello\n"


def test_trainer_cannot_be_reached_in_init(tmp_path: Path) -> None:
    class Early(TrainsOnly):
        def __init__(self) -> None:
            super().__init__()
            _ = self.trainer

    with pytest.raises(UsageError, match="not attached"):
        Early()


class Copies(Small):
    """Copies itself after each batch."""

    copied: Any = None

    def on_train_batch_end(self, *args: Any) -> None:
        kept.append(type(self).copied(self))


kept: list[Any] = []


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_of_a_module_in_a_run_are_detached(
    tmp_path: Path, copied: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And they have weights of their own: what a moving average needs."""
    monkeypatch.setattr(Copies, "copied", staticmethod(copied))
    kept.clear()
    module = Copies()
    fit(tmp_path, module, train=2)
    first, second = kept
    assert (first.w.item(), second.w.item()) == (-0.5, -1.5)
    with pytest.raises(UsageError, match="not attached"):
        _ = first.trainer
    assert fit(tmp_path, first, train=1).lightning_module is first
    assert (module.w.item(), first.w.item()) == (-1.5, -1.0)


def test_copy_of_a_module_after_a_run_is_detached(tmp_path: Path) -> None:
    module = TrainsOnly()
    fit(tmp_path, module)
    with pytest.raises(UsageError, match="not attached"):
        _ = copy.deepcopy(module).trainer


def test_configure_model_makes_layers_in_time(tmp_path: Path) -> None:
    """Before the optimizers are made; once for each run, so that it must do nothing the second time."""
    calls: list[str] = []

    class Late(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = None

        def configure_model(self) -> None:
            calls.append("configure_model")
            if self.layer is None:
                self.layer = nn.Linear(1, 1)

        def configure_optimizers(self) -> Any:
            calls.append("configure_optimizers")
            return torch.optim.SGD(self.parameters(), lr=0.1)

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return self.layer(batch[:, None]).mean() if self.layer else None

        def test_step(self, batch: Tensor, batch_idx: int) -> None:
            pass

    module = Late()
    trainer = fit(tmp_path, module)
    trainer.test(module, batches(1), verbose=False)
    assert calls == ["configure_model", "configure_optimizers", "configure_model"]


def test_configure_model_makes_layers_in_the_precision(tmp_path: Path) -> None:
    dtypes: list[torch.dtype] = []

    class Late(TrainsOnly):
        def configure_model(self) -> None:
            self.late = nn.Linear(1, 1)
            dtypes.append(self.late.weight.dtype)

    fit(tmp_path, Late(), precision="bf16-true", train=batches(1))
    assert dtypes == [torch.bfloat16]


def test_one_module_in_two_trainers(tmp_path: Path) -> None:
    """It belongs to the one whose run is under way, or was the last."""
    module = Small()
    first, second = fit(tmp_path, module), make_trainer(tmp_path)
    second.test(module, batches(1), verbose=False)
    assert module.trainer is second
    first.test(module, batches(1), verbose=False)
    assert module.trainer is first


def test_a_module_is_an_ordinary_module() -> None:
    """Nothing of ours is in its state, its repr or its attributes that torch copies about."""
    net = Net()
    expected = ["frozen", "layer.bias", "layer.weight"]
    assert sorted(name for name in net.state_dict() if "norm" not in name) == expected
    assert repr(net).startswith("Net(\n  (layer): Linear(")
    replica = nn.Sequential(Net(), nn.Linear(1, 1))
    assert len(list(replica.parameters())) == 7
    assert torch.equal(copy.deepcopy(net).layer.weight, net.layer.weight)
