"""What watches a training does not change a bit of it, nor draws a random number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from fulmen import Callback, Trainer, callbacks, loggers
from fulmen.core.hooks import EVENTS

from . import science
from .bare import Case, train_bare
from .ours import QUIET, Science, outcome_of, train
from .outcome import Outcome, assert_same_outcome, differences

CASE = Case("", validates_every=2, accumulate=2, clip=0.05)
PRECISIONS = ("32-true", "16-mixed")


@pytest.fixture(scope="module", params=PRECISIONS)
def expected(request: pytest.FixtureRequest) -> tuple[Case, Outcome]:
    case = replace(CASE, precision=request.param)
    return case, train_bare(case)


class Logs(Science):
    """Logs in every way, from every hook that may."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss, prog_bar=True, on_step=True, on_epoch=True)
        self.log("largest", loss, reduce_fx="max", on_epoch=True)
        self.log("own", loss, reduce_fx=torch.median, on_step=False, on_epoch=True)
        self.log("weighted", loss, batch_size=7, on_epoch=True)
        self.log_dict({"float": 0.5, "int": batch_idx, "sum": torch.tensor(1.0)}, logger=False)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("norm", torch.stack([weight.norm() for weight in self.parameters()]).sum())

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.log(
            "gradient", next(weight.grad for weight in self.parameters() if weight.grad is not None).norm()
        )


class Summarized(Science):
    """Has an input that summaries and graphs run the net on, dropout and batch norm included."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.example_input_array = torch.ones(3, science.FEATURES)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.net(inputs)


class OverridesEverything(Science):
    """Every hook there is, doing nothing."""


for _hook in EVENTS:
    if _hook.module:
        setattr(OverridesEverything, _hook.name, lambda self, *args, **kwargs: None)


class ListensToEverything(Callback):
    """Every hook there is, doing nothing."""


for _hook in EVENTS:
    setattr(ListensToEverything, _hook.name, lambda self, *args, **kwargs: None)


class ReadsEverything(Callback):
    """Reads each table after each batch."""

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert outputs["loss"].requires_grad is False
        _ = trainer.callback_metrics, trainer.logged_metrics, trainer.progress_bar_metrics
        _ = trainer.estimated_stepping_batches, trainer.current_epoch, trainer.global_step


class SavesAtEachBatch(Callback):
    """Through the Trainer, as soon as a window is complete."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "saved.ckpt"

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not trainer.accumulating:
            trainer.save_checkpoint(self.path)


@dataclass(frozen=True)
class Bystander:
    """Something that a user may add; `options` makes Trainer arguments from a folder for files."""

    title: str
    options: Callable[[Path], dict[str, Any]] = lambda folder: {}
    module: type[Science] = Science
    may_overflow: bool = True
    """Whether it puts up with the infinite gradients that the first scaled steps have."""

    def __str__(self) -> str:
        return self.title.replace(" ", "_")


def every_step(folder: Path) -> dict[str, Any]:
    return {"log_every_n_steps": 1, "logger": loggers.CSVLogger(folder)}


def with_callbacks(*given: Callback) -> Callable[[Path], dict[str, Any]]:
    return lambda folder: {"callbacks": list(given), "logger": loggers.CSVLogger(folder)}


BYSTANDERS = [
    Bystander("nothing"),
    # -- before training
    Bystander("no sanity check", lambda folder: {"num_sanity_val_steps": 0}),
    Bystander("full sanity check", lambda folder: {"num_sanity_val_steps": -1}),
    Bystander("summary", lambda folder: {"enable_model_summary": True}),
    Bystander("summary of sizes", lambda folder: {"enable_model_summary": True}, Summarized),
    Bystander("rich summary of sizes", with_callbacks(callbacks.RichModelSummary(max_depth=-1)), Summarized),
    # -- logging
    Bystander("logging to nobody", module=Logs),
    Bystander("logging seldom", lambda folder: {"logger": loggers.CSVLogger(folder)}, Logs),
    Bystander("logging each step", every_step, Logs),
    Bystander(
        "TensorBoard with a graph",
        lambda folder: {"logger": loggers.TensorBoardLogger(folder, log_graph=True), "log_every_n_steps": 1},
        Summarized,
    ),
    Bystander("default logger", lambda folder: {"logger": True, "default_root_dir": folder}, Logs),
    # -- files
    Bystander(
        "default checkpoints", lambda folder: {"enable_checkpointing": True, "default_root_dir": folder}
    ),
    Bystander(
        "checkpoints each step",
        lambda folder: {
            "enable_checkpointing": True,
            "callbacks": callbacks.ModelCheckpoint(
                folder, every_n_train_steps=1, save_top_k=-1, save_last=True
            ),
        },
    ),
    Bystander("checkpoints by hand", lambda folder: {"callbacks": SavesAtEachBatch(folder)}),
    # -- the screen
    Bystander("default bar", lambda folder: {"enable_progress_bar": True}, Logs),
    Bystander("rich bar", with_callbacks(callbacks.RichProgressBar()), Logs),
    Bystander("tqdm bar", with_callbacks(callbacks.TQDMProgressBar()), Logs),
    # -- callbacks and hooks
    Bystander("every hook of the module", module=OverridesEverything),
    Bystander("every hook of a callback", with_callbacks(ListensToEverything())),
    Bystander("a reader", lambda folder: {"callbacks": ReadsEverything(), "log_every_n_steps": 1}, Logs),
    Bystander("early stopping", with_callbacks(callbacks.EarlyStopping("val_loss", patience=10))),
    Bystander("learning-rate monitor", with_callbacks(callbacks.LearningRateMonitor())),
    Bystander("device monitor", with_callbacks(callbacks.DeviceStatsMonitor(cpu_stats=True))),
    Bystander("timer", lambda folder: {"max_time": "01:00:00:00"}),
    # -- looking closely
    Bystander("simple profiler", lambda folder: {"profiler": "simple"}),
    Bystander("advanced profiler", lambda folder: {"profiler": "advanced"}),
    Bystander("anomaly detection", lambda folder: {"detect_anomaly": True}, may_overflow=False),
    Bystander("deterministic algorithms", lambda folder: {"deterministic": True}),
    Bystander("everything off", lambda folder: {"barebones": True, **dict.fromkeys(NAMES_OFF, None)}),
]
NAMES_OFF = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")


@pytest.mark.parametrize("bystander", BYSTANDERS, ids=str)
def test_the_training_is_the_same(
    bystander: Bystander, expected: tuple[Case, Outcome], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    case, outcome = expected
    if case.precision == "16-mixed" and not bystander.may_overflow:
        pytest.skip("the first scaled steps overflow")
    options = bystander.options(tmp_path)
    if bystander.title.endswith("bar"):
        options["enable_progress_bar"] = True
    assert_same_outcome(train(case, bystander.module, **options), outcome)


@pytest.mark.parametrize("steps", [0, 1, -1])
def test_a_generator_that_both_loaders_draw_from(steps: int) -> None:
    """The sanity check draws from it no more than from the global ones."""

    def fit(steps: int) -> Outcome:
        science.seed_generators()
        model = Science(CASE)
        shared = torch.Generator().manual_seed(5)
        ours, others = (
            DataLoader(samples, batch_size=science.BATCH_SIZE, shuffle=True, generator=shared)
            for samples in (science.Samples(), science.Samples(seed=2))
        )
        trainer = Trainer(accelerator="cpu", max_epochs=2, num_sanity_val_steps=steps, **QUIET)
        trainer.fit(model, ours, others)
        return outcome_of(trainer, model)

    assert_same_outcome(fit(steps), fit(0))


def test_evaluation_changes_neither_weights_nor_buffers_nor_modes() -> None:
    science.seed_generators()
    model = Summarized(CASE)
    model.net[3].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    trainer = Trainer(accelerator="cpu", **QUIET)
    trainer.validate(model, science.validation_data(), verbose=False)
    trainer.predict(model, DataLoader(science.Samples().inputs, batch_size=4))  # pyright: ignore[reportArgumentType]
    assert not list(differences(model.state_dict(), before))
    assert [module.training for module in model.modules()] == modes
