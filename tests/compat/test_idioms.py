"""Ways of writing code that were common between 2020 and 2024, each against a loop without any framework."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial, partialmethod, wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.callbacks import (
    BackboneFinetuning,
    EarlyStopping,
    LambdaCallback,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from fulmen.compat.lightning.step_result import EvalResult, TrainResult

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.OldSpelling")
QUIET: dict[str, Any] = {
    "logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None,
    "num_sanity_val_steps": 0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def random_state() -> Iterator[None]:
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


def loader(samples: int = 8, batch_size: int = 2) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    points, values = (torch.randn(samples, size, generator=generator) for size in (3, 1))
    return DataLoader(TensorDataset(points, values), batch_size)


class Line(pl.LightningModule):
    """A line through points, which notes what it is told in `seen`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.line = nn.Linear(3, 1)
        self.seen: list[Any] = []

    def forward(self, points: Tensor) -> Tensor:
        return self.line(points)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return F.mse_loss(self.line(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def bare_line(
    epochs: int = 1, before_step: Callable[[Any, int], None] = lambda optimizer, step: None
) -> Tensor:
    """The weights that `Line` has after as many epochs."""
    module = Line()
    optimizer, step = module.configure_optimizers(), 0
    for _ in range(epochs):
        for batch in loader():
            optimizer.zero_grad()
            module.training_step(batch, 0).backward()
            before_step(optimizer, step)
            optimizer.step()
            step += 1
    return module.line.weight.detach()


def fit(module: pl.LightningModule, *loaders: Any, **arguments: Any) -> pl.Trainer:
    trainer = pl.Trainer(**{**QUIET, "max_epochs": 1, **arguments})
    trainer.fit(module, *(loaders or (loader(),)))
    return trainer


# ------------------------------------------------------------------------------- how methods are defined


def test_static_methods() -> None:
    seen: list[Any] = []

    class Module(Line):
        @staticmethod
        def training_epoch_end(outputs: Any) -> None:
            seen.append(("outputs", len(outputs)))

        @staticmethod
        def on_train_batch_end(outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            seen.append((batch_idx, dataloader_idx))

        @classmethod
        def on_epoch_end(cls) -> None:
            seen.append(cls.__name__)

    class Callback(pl.Callback):
        @staticmethod
        def on_train_batch_end(
            trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int
        ) -> None:
            seen.append(("callback", batch_idx, dataloader_idx))

        @classmethod
        def on_train_epoch_end(cls, trainer: Any, pl_module: Any, outputs: Any) -> None:
            seen.append((cls.__name__, len(outputs)))

    fit(Module(), loader(2), callbacks=[Callback()])
    assert seen == [("callback", 0, 0), (0, 0), ("outputs", 1), ("Callback", 1), "Module"]  # as of 1.4


def test_methods_of_one_object() -> None:
    module, seen = Line(), []
    module.on_train_batch_start = lambda batch, batch_idx, dataloader_idx: seen.append(dataloader_idx)
    module.validation_step = lambda batch, batch_idx, dataloader_idx: {"loader": dataloader_idx}
    module.validation_epoch_end = lambda outputs: seen.append(outputs)
    module.training_epoch_end = partial(lambda tag, outputs: seen.append((tag, len(outputs))), "train")
    fit(module, loader(4), loader(2))
    assert seen == [0, 0, [{"loader": 0}], ("train", 2)]


def test_partial_methods_and_decorators() -> None:
    def noted(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def noting(self: Any, *args: Any, **kwargs: Any) -> Any:
            self.seen.append(method.__name__)
            return method(self, *args, **kwargs)

        return noting

    def end(self: Any, tag: str, outputs: Any) -> None:
        self.seen.append((tag, len(outputs)))

    class Module(Line):
        training_epoch_end = partialmethod(end, "end")

        @noted
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            self.seen.append(dataloader_idx)

        @noted
        def optimizer_step(
            self, epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure, on_tpu=False,
            using_native_amp=False, using_lbfgs=False,
        ) -> None:  # fmt: skip
            self.gradient = next(self.parameters()).grad
            optimizer.step(closure=optimizer_closure)

    module = Module()
    fit(module, loader(2))
    assert module.seen == ["optimizer_step", "on_train_batch_end", 0, ("end", 1)]
    assert module.gradient is None  # the closure computes it, as since 1.1


def test_a_method_that_wraps_something_written_in_c() -> None:
    class Module(Line):
        @wraps(torch.relu)
        def activate(self, points: Tensor) -> Tensor:
            return torch.relu(points)

        def training_epoch_end(self, outputs: Any) -> None:
            self.seen.append(len(outputs))

    module = Module()
    fit(module)
    assert module.seen == [4]


def test_code_whose_source_is_not_there() -> None:
    """As in a session at a prompt."""
    names: dict[str, Any] = {"Line": Line}
    lines = (
        "class Module(Line):",
        "    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure, *args):",
        "        self.seen.append(next(self.parameters()).grad is None)",
        "        optimizer.step(closure=optimizer_closure)",
    )
    exec("\n".join(lines), names)
    module = names["Module"]()
    fit(module)
    assert torch.equal(module.line.weight, bare_line())
    assert module.seen[0]  # the closure computes gradients, as since 1.1


def test_abstract_bases_and_mixins() -> None:
    class Base(Line, ABC):
        @abstractmethod
        def loss(self, batch: Any) -> Tensor: ...

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"loss": self.loss(batch)}

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            return {"val_loss": self.loss(batch)}

        def validation_epoch_end(self, outputs: Any) -> Any:
            mean = torch.stack([x["val_loss"] for x in outputs]).mean()
            return {"val_loss": mean, "log": {"val_loss": mean}}

    class Noting:
        def on_epoch_end(self) -> None:
            self.seen.append("mixin")

    class Module(Noting, Base):
        def loss(self, batch: Any) -> Tensor:
            return F.mse_loss(self(batch[0]), batch[1])

    class Last(Module):
        def on_epoch_end(self) -> None:
            super().on_epoch_end()
            self.seen.append("last")

    module = Last()
    trainer = fit(module, loader(), loader())
    points, values = loader().dataset.tensors
    assert trainer.callback_metrics["val_loss"].item() == pytest.approx(
        F.mse_loss(module(points), values).item()
    )
    assert module.seen == ["mixin", "last"] * 2  # of validation too, as up to 1.7
    assert torch.equal(module.line.weight, bare_line())


def test_a_method_that_is_called_predict_by_chance() -> None:
    class Module(Line):
        def forward(self, batch: Any) -> Tensor:
            return self.line(batch[0])

        def predict(self, points: Tensor, threshold: float = 0.5) -> Tensor:
            raise AssertionError("this is nobody's hook")

    module = Module()
    trainer = pl.Trainer(enable_progress_bar=False, logger=False, enable_checkpointing=False)
    predictions = trainer.predict(module, loader())
    torch.testing.assert_close(torch.cat(predictions), module.line(loader().dataset.tensors[0]).detach())
    assert trainer._run.adapter is None


def test_predict_of_1_2() -> None:
    class Module(Line):
        def predict(self, batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
            return batch_idx, dataloader_idx

    trainer = pl.Trainer(**QUIET)
    assert trainer.predict(Module(), loader(4)) == [(0, 0), (1, 0)]
    assert trainer.predict(Module(), [loader(2), loader(2)]) == [[(0, 0)], [(0, 1)]]


def test_lambda_callback() -> None:
    seen: list[Any] = []
    callback = LambdaCallback(
        on_init_end=lambda trainer: seen.append("made"),
        on_epoch_start=lambda trainer, module: seen.append("epoch"),
        on_train_batch_end=lambda trainer, module, outputs, batch, batch_idx, dataloader_idx: seen.append(
            dataloader_idx
        ),
        on_batch_end=lambda trainer, module: seen.append("batch"),
        on_epoch_end=None,
    )
    fit(Line(), loader(2), callbacks=[callback])
    assert seen == ["made", "epoch", 0, "batch"]
    with pytest.raises(pl.errors.UnknownArgumentError, match="on_epoch_begin"):
        LambdaCallback(on_epoch_begin=print)


# ------------------------------------------------------------------------------ overrides that call super


class CallsSuper(Line):
    def on_train_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
        return super().on_train_batch_start(batch, batch_idx, dataloader_idx)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        super().on_train_batch_end(outputs, batch, batch_idx, dataloader_idx)

    def on_epoch_end(self) -> None:
        super().on_epoch_end()
        self.seen.append("epoch")

    def on_pretrain_routine_start(self) -> None:
        super().on_pretrain_routine_start()

    def transfer_batch_to_device(self, batch: Any, device: Any) -> Any:
        return super().transfer_batch_to_device(batch, device)

    def backward(self, loss: Tensor, optimizer: Any, optimizer_idx: int, *args: Any, **kwargs: Any) -> None:
        super().backward(loss, optimizer, optimizer_idx, *args, **kwargs)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int) -> None:
        super().optimizer_zero_grad(epoch, batch_idx, optimizer, optimizer_idx)

    def on_before_optimizer_step(self, optimizer: Any, optimizer_idx: int) -> None:
        super().on_before_optimizer_step(optimizer, optimizer_idx)

    def lr_scheduler_step(self, scheduler: Any, optimizer_idx: int, metric: Any) -> None:
        super().lr_scheduler_step(scheduler, optimizer_idx, metric)

    def configure_gradient_clipping(
        self, optimizer: Any, optimizer_idx: int, gradient_clip_val: Any, gradient_clip_algorithm: Any
    ) -> None:
        super().configure_gradient_clipping(
            optimizer, optimizer_idx, gradient_clip_val=gradient_clip_val,
            gradient_clip_algorithm=gradient_clip_algorithm,
        )  # fmt: skip

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


def test_hooks_that_call_their_base_as_it_was() -> None:
    class Callback(pl.Callback):
        def on_init_start(self, trainer: Any) -> None:
            super().on_init_start(trainer)

        def on_batch_end(self, trainer: Any, pl_module: Any) -> None:
            super().on_batch_end(trainer, pl_module)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any, outputs: Any) -> None:
            super().on_train_epoch_end(trainer, pl_module, outputs)

        def on_save_checkpoint(self, trainer: Any, pl_module: Any) -> Any:
            return super().on_save_checkpoint(trainer, pl_module)

    def clip(optimizer: Any, step: int) -> None:
        nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 0.5)
        optimizer.param_groups[0]["lr"] = 0.1 if step < 4 else 0.05

    module = CallsSuper()
    fit(module, callbacks=[Callback()], gradient_clip_val=0.5, max_epochs=2)
    torch.testing.assert_close(module.line.weight.detach(), bare_line(2, clip))
    assert module.seen == ["epoch"] * 2


def test_hooks_that_are_called_on_the_base_class() -> None:
    called: list[str] = []

    class Module(Line):
        def on_epoch_end(self) -> None:
            pl.LightningModule.on_epoch_end(self)
            called.append("module")

    class Callback(pl.Callback):
        def on_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            pl.Callback.on_epoch_end(self, trainer, pl_module)
            called.append("callback")

    fit(Module(), callbacks=[Callback()])
    assert called == ["callback", "module"]


@pytest.mark.parametrize("kind", ["by position", "by name", "all", "closure by name"])
@pytest.mark.parametrize("version", [None, "1.0", "1.1", "1.5"])
def test_an_optimizer_step_that_calls_its_base(kind: str, version: str | None) -> None:
    def warm_up(optimizer: Any, step: int) -> None:
        optimizer.param_groups[0]["lr"] = 0.1 * min(1.0, (step + 1) / 3)

    class Module(Line):
        def optimizer_step(
            self, epoch=None, batch_idx=None, optimizer=None, optimizer_idx=None, optimizer_closure=None,
            on_tpu=None, using_native_amp=None, using_lbfgs=None,
        ) -> None:  # fmt: skip
            warm_up(optimizer, self.trainer.global_step)
            parent = super().optimizer_step
            if kind == "by position":
                parent(
                    epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure, on_tpu, using_native_amp
                )
            elif kind == "closure by name":
                parent(epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure=optimizer_closure)
            else:
                parent(epoch=epoch, batch_idx=batch_idx, optimizer=optimizer, optimizer_idx=optimizer_idx,
                       optimizer_closure=optimizer_closure)  # fmt: skip

    class Passing(Line):
        def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            warm_up(args[2], self.trainer.global_step)
            super().optimizer_step(*args, **kwargs)

    module = Passing() if kind == "all" else Module()
    fit(module, **({} if version is None else {"compat": version}))
    assert torch.equal(module.line.weight, bare_line(1, warm_up))


def test_callbacks_of_ours_that_are_subclassed(tmp_path: Path) -> None:
    class Saver(ModelCheckpoint):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx) -> None:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any, outputs: Any) -> None:
            super().on_train_epoch_end(trainer, pl_module, outputs)

    class Rates(LearningRateMonitor):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx) -> None:
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx, dataloader_idx)

    class Stopper(EarlyStopping):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any, outputs: Any) -> None:
            super().on_train_epoch_end(trainer, pl_module, outputs)

    class Module(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", 1.0)

    callbacks = [Saver(str(tmp_path)), Stopper("val_loss", patience=1), Rates()]
    trainer = fit(
        Module(), loader(), loader(), callbacks=callbacks, max_epochs=9, checkpoint_callback=True,
        logger=pl.loggers.CSVLogger(tmp_path), default_root_dir=tmp_path,
    )  # fmt: skip
    assert trainer.current_epoch == 2
    assert Path(callbacks[0].best_model_path).name == "epoch=0-step=4.ckpt"  # by val_loss


def test_toggling_with_an_index() -> None:
    class Two(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second = nn.Linear(3, 1), nn.Linear(3, 1)
            self.seen: list[Any] = []

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(part.parameters(), 0.1) for part in (self.first, self.second)]

        def toggle_optimizer(self, optimizer: Any, optimizer_idx: int) -> None:
            self.seen.append(optimizer_idx)
            super().toggle_optimizer(optimizer, optimizer_idx)

        def untoggle_optimizer(self, optimizer_idx: int) -> None:
            self.seen.append(optimizer_idx)
            super().untoggle_optimizer(optimizer_idx)

        def loss(self, batch: Any) -> Tensor:
            return F.mse_loss(self.first(batch[0]) + self.second(batch[0]), batch[1])

    class Automatic(Two):
        def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
            return self.loss(batch)

    class Manual(Two):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            for index, optimizer in enumerate(self.optimizers()):
                self.toggle_optimizer(optimizer, index)
                optimizer.zero_grad()
                self.manual_backward(self.loss(batch))
                optimizer.step()
                self.untoggle_optimizer(index)

    modules = [Automatic(), Manual()]
    for module in modules:
        fit(module, loader(4))
        assert module.seen == [0, 0, 1, 1] * 2
    assert torch.equal(modules[0].first.weight, modules[1].first.weight)


# ------------------------------------------------------------------------------------ what is not there yet


class Asking(Line):
    def answers(self) -> list[bool]:
        found = [self.trainer is None, not self.trainer, self.trainer is not None]
        found.append(bool(self.trainer and self.trainer.is_global_zero))
        if self.trainer:
            found.append(True)
        while self.trainer is None:
            return [*found, False]
        return found


def test_asking_whether_there_is_a_trainer() -> None:
    module = Asking()
    assert module.answers() == [True, True, False, False, False]
    with pytest.raises(RuntimeError, match="not attached"):
        module.trainer.max_epochs  # noqa: B018
    fit(module)
    assert module.answers() == [False, False, True, True, True]


def test_the_epoch_among_logged_metrics() -> None:
    class Module(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            self.log("loss", loss)
            return loss

    assert fit(Module(), max_epochs=2, compat="1.4").logged_metrics["epoch"] == 1
    assert "epoch" not in fit(Module(), max_epochs=2, compat="1.5").logged_metrics


# -------------------------------------------------------------------------------------------- what is logged


def test_dicts_and_several_elements() -> None:
    class Module(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("parts", {"a": torch.tensor(float(batch_idx)), "b": 2.0}, on_step=True, on_epoch=True)
            self.log("vector", torch.tensor([[0.0, batch_idx]]), on_epoch=True, on_step=False)
            return super().training_step(batch, batch_idx)

    with pytest.warns(pl.compat.OldSpelling, match="values.mean"):
        metrics = fit(Module()).callback_metrics
    assert metrics["parts/a_step"] == 3.0
    assert metrics["parts/a_epoch"] == 1.5
    assert metrics["parts/b"] == 2.0
    assert metrics["vector"] == 0.75


def test_early_stopping_by_what_a_step_returns() -> None:
    class Module(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            return {"val_loss": torch.tensor(1.0)}

    for arguments in ({"callbacks": [EarlyStopping("val_loss")]}, {"early_stop_callback": True}):
        trainer = fit(Module(), loader(), loader(), max_epochs=9, **arguments)
        assert trainer.current_epoch == 4  # the first, and a patience of three
        assert trainer.callback_metrics["val_loss"] == 1.0


def test_result_objects_without_a_version() -> None:
    class Module(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            result = TrainResult(super().training_step(batch, batch_idx))
            result.log("train", result.minimize, on_epoch=True, prog_bar=True)
            return result

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            result = EvalResult(checkpoint_on=torch.tensor(3.0))
            result.log_dict({"a": torch.tensor(float(batch_idx)), "b": torch.tensor(2.0)})
            return result

        def test_step(self, batch: Any, batch_idx: int) -> Any:
            result = self.validation_step(batch, batch_idx)
            result.rename_keys({"a": "c"})
            return result

    module = Module()
    trainer = fit(module, loader(), loader())
    assert torch.equal(module.line.weight, bare_line())
    assert trainer.callback_metrics["a"] == 1.5
    assert trainer.callback_metrics["checkpoint_on"] == 3.0
    [tested] = trainer.test(module, loader(), verbose=False)
    assert tested["c"] == 1.5
    assert "a" not in tested


# ---------------------------------------------------------------------------------------- manual optimization


def test_manual_steps_inside_of_functions_clear_by_themselves() -> None:
    """Who clears gradients within a closure is not somebody who never does."""

    class Module(Line):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer = self.optimizers()

            def closure() -> Tensor:
                loss = F.mse_loss(self.line(batch[0]), batch[1])
                optimizer.zero_grad()
                self.manual_backward(loss)
                return loss

            optimizer.step(closure=closure)

    module = Module()
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, max_epochs=1)
    trainer.fit(module, loader())
    assert torch.equal(module.line.weight, bare_line())
    assert trainer._run.adapter is None


def test_the_trainer_clips_in_manual_optimization_of_1_0() -> None:
    class Module(Line):
        def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> None:
            optimizer = self.optimizers()
            self.manual_backward(super().training_step(batch, batch_idx), optimizer)
            optimizer.step()
            optimizer.zero_grad()

    def clip(optimizer: Any, step: int) -> None:
        nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 0.01)

    for version in (None, "1.0", "1.1"):
        module = Module()
        declared = {} if version is None else {"compat": version}
        fit(module, automatic_optimization=False, gradient_clip_val=0.01, **declared)
        assert torch.equal(module.line.weight, bare_line(1, clip))


# -------------------------------------------------------------------------------------------------- going on


def test_the_best_checkpoint_without_a_monitor_is_known_after_a_resume(tmp_path: Path) -> None:
    class Module(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            return {"val_loss": torch.tensor(1.0 + (self.current_epoch == 2))}

        def validation_epoch_end(self, outputs: Any) -> Any:
            return {"val_loss": torch.stack([x["val_loss"] for x in outputs]).mean()}

    def saver() -> ModelCheckpoint:
        return ModelCheckpoint(filepath=f"{tmp_path}/{{epoch}}")

    first = fit(Module(), loader(), loader(), max_epochs=2, checkpoint_callback=saver())
    first.save_checkpoint(tmp_path / "last.ckpt")
    trainer = fit(
        Module(), loader(), loader(), max_epochs=3, checkpoint_callback=saver(),
        resume_from_checkpoint=tmp_path / "last.ckpt",
    )  # fmt: skip
    assert trainer.checkpoint_callback.best_model_score == 1.0
    assert Path(trainer.checkpoint_callback.best_model_path).name == "epoch=0.ckpt"


def test_training_goes_on_after_max_epochs_is_set() -> None:
    module = Line()
    trainer = fit(module)
    trainer.max_epochs = 2
    trainer.fit(module, loader())
    assert trainer.current_epoch == 2
    assert torch.equal(module.line.weight, bare_line(2))


# --------------------------------------------------------------------------------- what decides the version


@pytest.mark.parametrize(
    ("argument", "make", "version"),
    [
        ("checkpoint_callback", partial(bool, 0), "1.6"),
        ("checkpoint_callback", partial(ModelCheckpoint, filepath="{epoch}"), "1.1"),
        ("checkpoint_callback", partial(ModelCheckpoint, period=2), "1.4"),
        ("callbacks", partial(EarlyStopping, mode="auto"), "1.2"),
        ("callbacks", partial(EarlyStopping), "1.5"),
        ("callbacks", partial(StochasticWeightAveraging), "1.6"),
        ("callbacks", partial(LambdaCallback, on_keyboard_interrupt=print), "1.6"),
    ],
)
def test_what_callbacks_are_made_with_decides(
    argument: str, make: Callable[[], Any], version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Module(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("early_stop_on", 1.0)

    monkeypatch.chdir(tmp_path)
    trainer = fit(Module(), loader(), loader(), max_epochs=2, **{argument: make()})
    assert trainer._run.adapter.era.version == version


def test_the_keyword_of_fit_decides() -> None:
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, max_epochs=1)
    trainer.fit(Line(), train_dataloader=loader())
    assert trainer._run.adapter.era.version == "1.5"


def test_numbers_that_count_otherwise_are_named() -> None:
    class Module(Line):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            self.seen.append(self.global_step)

        def on_train_end(self) -> None:
            self.seen.append(self.current_epoch)

    for version, said in (("1.4", 2), ("1.6", 0)):
        module = Module()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit(module, compat=version)
        assert module.seen == [1, 2, 3, 4, 1]
        assert sum("counted at once" in str(w.message) or "is over" in str(w.message) for w in caught) == said


# ------------------------------------------------------------------------------- constructors of callbacks


def test_weight_averaging_without_a_rate() -> None:
    with pytest.warns(pl.compat.OldSpelling, match="swa_lrs"):
        callback = StochasticWeightAveraging(swa_epoch_start=0.5, annealing_epochs=1)
    module, named = Line(), Line()
    fit(module, callbacks=[callback], max_epochs=4)
    fit(named, callbacks=[StochasticWeightAveraging(0.1, 0.5, annealing_epochs=1)], max_epochs=4)
    assert torch.equal(module.line.weight, named.line.weight)
    assert not torch.equal(module.line.weight, bare_line(4))


def test_rounding_by_its_first_name() -> None:
    with pytest.warns(pl.compat.OldSpelling, match="rounding="):
        assert BackboneFinetuning(3, round=5).rounding == 5


def test_the_precision_equals_its_number() -> None:
    trainer = pl.Trainer(precision=16, **QUIET)
    assert trainer.precision == 16
    assert trainer.precision == "16-mixed"
    assert trainer.precision != 32
    assert trainer.precision in {"16-mixed"}
    assert pl.Trainer(**QUIET).precision == 32
    assert pl.Trainer(logger=False, precision="32").precision == 32
    modern = pl.Trainer(logger=False, enable_checkpointing=False, precision="32-true").precision
    assert type(modern) is str
    assert modern != 32


def test_loaders_that_somebody_else_provides() -> None:
    class Data(pl.LightningDataModule):
        def train_dataloader(self) -> Any:
            return loader(8)

    class Module(Line):
        def configure_optimizers(self) -> Any:
            self.seen.append(len(self.train_dataloader()))
            return super().configure_optimizers()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.seen.append(len(self.trainer.val_dataloaders[0]))

        def validation_epoch_end(self, outputs: Any) -> None:
            self.seen.append(len(self.val_dataloader()))

    module = Module()
    fit(module, loader(8), loader(2))
    assert module.seen == [4, 1, 1]
    module = Module()
    fit(module, Data())
    assert module.seen == [4]
    with pytest.raises(pl.errors.UsageError, match="defines no `train_dataloader`"):
        Line().train_dataloader()


# -------------------------------------------------------------------------------------------- as programs


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:The TorchScript type system")
def test_torchscript(tmp_path: Path) -> None:
    module = Line()
    fit(module)
    points = loader().dataset.tensors[0]
    programs = [module.to_torchscript(tmp_path / "line.pt"), module.to_torchscript(None, "trace", points)]
    programs.append(torch.jit.load(tmp_path / "line.pt"))
    for program in programs:
        assert torch.equal(program(points), module(points))
    assert module.training
    module.example_input_array = points
    assert torch.equal(module.to_torchscript(method="trace")(points), module(points))
    module.example_input_array = None
    with pytest.raises(pl.errors.UsageError, match="example_input_array"):
        module.to_torchscript(method="trace")


def test_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch does it; what it is given is told by `example_input_array`."""
    calls: list[Any] = []
    monkeypatch.setattr(
        torch.onnx, "export", lambda *args, **kwargs: calls.append((args[0].training, *args[1:], kwargs))
    )
    module = Line()
    module.example_input_array = torch.zeros(1, 3)
    fit(module)
    module.to_onnx("line.onnx", export_params=True)
    [(training, inputs, path, options)] = calls
    assert not training
    assert torch.equal(inputs[0], torch.zeros(1, 3))
    assert (path, options) == ("line.onnx", {"export_params": True})
    assert module.training
