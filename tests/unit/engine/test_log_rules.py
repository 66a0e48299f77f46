"""What `self.log` means in each hook: its default, and where it is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.core.hooks import EVENTS, STEP_LOG_RULES
from fulmen.errors import ConfigError, UsageError

from .small import Small, batches, callback, fit, make_trainer, numbers, small

PER_STEP = {
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
}
PER_STEP_IN_MODULE = {
    "training_step",
    "backward",
    "optimizer_step",
    "optimizer_zero_grad",
    "configure_gradient_clipping",
    "clip_gradients",
}
PER_BATCH_OF_EVALUATION = {
    f"on_{stage}_batch_{moment}" for stage in ("validation", "test") for moment in ("start", "end")
}
EVALUATION_STEPS = {"validation_step", "test_step"}
ONCE = {
    "on_train_start",
    "on_train_epoch_start",
    "on_train_epoch_end",
    *(
        f"on_{stage}_{moment}"
        for stage in ("validation", "test")
        for moment in ("start", "epoch_start", "epoch_end")
    ),
}
NEVER = {
    "setup",
    "teardown",
    "on_fit_start",
    "on_fit_end",
    "on_train_end",
    "on_validation_end",
    "on_test_end",
    "on_save_checkpoint",
    *(
        f"on_predict_{moment}"
        for moment in ("start", "end", "epoch_start", "epoch_end", "batch_start", "batch_end")
    ),
}
NEVER_IN_MODULE = {
    "prepare_data",
    "configure_callbacks",
    "configure_model",
    "configure_optimizers",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
    "lr_scheduler_step",
    "on_validation_model_zero_grad",
    "on_validation_model_eval",
    "on_validation_model_train",
    "on_test_model_eval",
    "on_test_model_train",
    "on_predict_model_eval",
    "predict_step",
    "train_dataloader",
    "val_dataloader",
}
NEVER_IN_CALLBACKS = {"on_sanity_check_start", "on_sanity_check_end"}
NOWHERE_TESTED = {"on_exception", "on_load_checkpoint"}  # a logged value could not be seen after these


def with_a_scheduler(module: Small) -> Any:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


class Logging:
    """Logs `x`, the number of the call from 1 on, in one hook, before doing what the base class does."""

    def __init__(self, hook: str, **arguments: Any) -> None:
        self.hook = hook
        self.arguments = arguments
        self.calls = 0

    def log(self, module: pl.LightningModule) -> None:
        self.calls += 1
        module.log("x", float(self.calls), **self.arguments)

    def in_module(self) -> Small:
        logging, base = self, getattr(Small, self.hook)

        def method(module: Small, *args: Any, **kwargs: Any) -> Any:
            logging.log(module)
            return base(module, *args, **kwargs)

        if self.hook == "lr_scheduler_step":
            return small(lr_scheduler_step=method, configure_optimizers=with_a_scheduler)

        if self.hook.endswith("_step") and "optimizer" not in self.hook and "scheduler" not in self.hook:
            return small(**{self.hook: lambda module, batch, batch_idx: method(module, batch, batch_idx)})
        return small(**{self.hook: method})

    def in_callback(self) -> pl.Callback:
        return callback(**{self.hook: lambda _, trainer, module, *args, **kwargs: self.log(module)})


def run_everything(root: Path, hook: str, module: Small, **options: Any) -> dict[str, float]:
    """The metrics after the method that has this hook."""
    trainer = make_trainer(root, num_sanity_val_steps=1, **options)
    if "test" in hook:
        trainer.test(module, batches(), verbose=False)
    elif "predict" in hook:
        trainer.predict(module, batches())
    else:
        trainer.fit(
            module,
            None if hook == "train_dataloader" else batches(),
            None if hook == "val_dataloader" else batches(),
        )
    return numbers(trainer.callback_metrics)


def test_the_lists_are_complete() -> None:
    """A hook that is added to the catalogue has to be added to a list of this file."""
    everywhere = PER_STEP | PER_BATCH_OF_EVALUATION | ONCE | NEVER | NEVER_IN_CALLBACKS | NOWHERE_TESTED
    assert everywhere == {hook.name for hook in EVENTS}
    assert set(STEP_LOG_RULES) == PER_STEP_IN_MODULE | EVALUATION_STEPS


@pytest.mark.parametrize("hook", sorted(PER_STEP | PER_STEP_IN_MODULE))
def test_default_in_training_is_the_value_of_each_step(tmp_path: Path, hook: str) -> None:
    assert run_everything(tmp_path, hook, Logging(hook).in_module()) == {"x": 2.0}


@pytest.mark.parametrize("hook", sorted(PER_STEP))
def test_default_in_training_callbacks_is_the_value_of_each_step(tmp_path: Path, hook: str) -> None:
    metrics = run_everything(tmp_path, hook, Small(), callbacks=[Logging(hook).in_callback()])
    assert metrics == {"x": 2.0}


@pytest.mark.parametrize("hook", sorted(PER_STEP | PER_STEP_IN_MODULE))
def test_training_hooks_may_log_both_ways(tmp_path: Path, hook: str) -> None:
    module = Logging(hook, on_step=True, on_epoch=True).in_module()
    assert run_everything(tmp_path, hook, module) == {"x": 1.5, "x_step": 2.0, "x_epoch": 1.5}


def evaluated(hook: str) -> float:
    """The mean of the calls' numbers: a validation in `fit` comes after a sanity check of one batch."""
    return 1.5 if "test" in hook else 2.5


@pytest.mark.parametrize("hook", sorted(PER_BATCH_OF_EVALUATION | EVALUATION_STEPS))
def test_default_in_evaluation_is_the_mean(tmp_path: Path, hook: str) -> None:
    assert run_everything(tmp_path, hook, Logging(hook).in_module()) == {"x": evaluated(hook)}


@pytest.mark.parametrize("hook", sorted(PER_BATCH_OF_EVALUATION))
def test_default_in_evaluation_callbacks_is_the_mean(tmp_path: Path, hook: str) -> None:
    metrics = run_everything(tmp_path, hook, Small(), callbacks=[Logging(hook).in_callback()])
    assert metrics == {"x": evaluated(hook)}


@pytest.mark.parametrize("hook", sorted(PER_BATCH_OF_EVALUATION | EVALUATION_STEPS))
def test_callback_metrics_never_hold_the_steps_of_an_evaluation(tmp_path: Path, hook: str) -> None:
    module = Logging(hook, on_step=True, on_epoch=True).in_module()
    mean = evaluated(hook)
    assert run_everything(tmp_path, hook, module) == {"x": mean, "x_epoch": mean}


@pytest.mark.parametrize("hook", sorted(ONCE))
def test_default_in_a_hook_that_fires_once_is_its_value(tmp_path: Path, hook: str) -> None:
    calls_before = 1 if "validation" in hook else 0  # in the sanity check
    assert run_everything(tmp_path, hook, Logging(hook).in_module()) == {"x": 1.0 + calls_before}


@pytest.mark.parametrize("hook", sorted(ONCE))
def test_default_in_a_callback_hook_that_fires_once_is_its_value(tmp_path: Path, hook: str) -> None:
    calls_before = 1 if "validation" in hook else 0
    metrics = run_everything(tmp_path, hook, Small(), callbacks=[Logging(hook).in_callback()])
    assert metrics == {"x": 1.0 + calls_before}


@pytest.mark.parametrize("hook", sorted(ONCE))
@pytest.mark.parametrize(
    "arguments", [{"on_step": True}, {"on_epoch": False}, {"on_step": True, "on_epoch": True}]
)
def test_a_hook_that_fires_once_has_no_steps(tmp_path: Path, hook: str, arguments: dict[str, bool]) -> None:
    with pytest.raises(UsageError, match=hook):
        run_everything(tmp_path, hook, Logging(hook, **arguments).in_module())


@pytest.mark.parametrize("hook", sorted(NEVER | NEVER_IN_MODULE))
def test_error_where_logging_has_no_meaning(tmp_path: Path, hook: str) -> None:
    with pytest.raises(UsageError, match=r"self\.log\('x'\)"):
        run_everything(tmp_path, hook, Logging(hook).in_module(), enable_checkpointing=True)


@pytest.mark.parametrize("hook", sorted(NEVER | NEVER_IN_CALLBACKS))
def test_error_where_logging_in_a_callback_has_no_meaning(tmp_path: Path, hook: str) -> None:
    with pytest.raises(UsageError, match=r"self\.log\('x'\)"):
        run_everything(
            tmp_path, hook, Small(), callbacks=[Logging(hook).in_callback()], enable_checkpointing=True
        )


def test_error_names_the_hook(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="on_fit_start"):
        fit(tmp_path, small(on_fit_start=lambda self: self.log("x", 1.0)))


def test_without_a_trainer_logging_warns_once_and_does_nothing() -> None:
    module = Small()
    with pytest.warns(UserWarning, match="without a Trainer"):
        module.log("x", 1.0)
    module.log("x", 2.0)  # a second warning would be an error
    module.log_dict({"a": 1.0, "b": 2.0})


def test_after_the_run_logging_is_as_without_a_trainer(tmp_path: Path) -> None:
    module = Small()
    trainer = fit(tmp_path, module)
    with pytest.warns(UserWarning, match="without a Trainer"):
        module.log("late", 1.0)
    assert "late" not in trainer.callback_metrics


@pytest.mark.parametrize(
    ("value", "received"),
    [
        ("text", "str"),
        (None, "NoneType"),
        ([1.0], "list"),
        (torch.ones(0), r"shape \(0,\)"),
        (torch.ones(1, 0), r"shape \(1, 0\)"),
    ],
)
def test_values_that_are_no_single_number(tmp_path: Path, value: Any, received: str) -> None:
    with pytest.raises(UsageError, match=rf"(?s)'x'.*{received}"):
        fit(tmp_path, small(training_step=lambda self, batch, batch_idx: self.log("x", value)))


@pytest.mark.parametrize("arguments", [{"on_step": False}, {"on_step": False, "on_epoch": False}])
def test_nothing_to_log(tmp_path: Path, arguments: dict[str, bool]) -> None:
    """`on_step=False` alone leaves nothing in a training step, where `on_epoch` is off by default."""
    with pytest.raises(UsageError, match="'x'"):
        fit(tmp_path, small(training_step=lambda self, batch, batch_idx: self.log("x", 1.0, **arguments)))


@pytest.mark.parametrize("reduce_fx", ["median", "maen", 3])
def test_unknown_reduction(tmp_path: Path, reduce_fx: Any) -> None:
    def training_step(self: Small, batch: Any, batch_idx: int) -> None:
        self.log("x", 1.0, on_epoch=True, reduce_fx=reduce_fx)

    with pytest.raises(ConfigError, match=r"(?s)reduce_fx.*mean, sum, min, max"):
        fit(tmp_path, small(training_step=training_step))


def test_unknown_reduction_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'mean'"):
        fit(tmp_path, small(validation_step=lambda self, b, i: self.log("x", 1.0, reduce_fx="maen")), val=1)


def test_a_name_that_looks_like_a_loader_suffix(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="dataloader_idx_"):
        fit(tmp_path, small(training_step=lambda self, b, i: self.log("x/dataloader_idx_0", 1.0)))


@pytest.mark.parametrize(
    "other",
    [
        {"prog_bar": True},
        {"logger": False},
        {"on_epoch": True},
        {"reduce_fx": "sum"},
        {"sync_dist": True},
        {"add_dataloader_idx": False},
        {"enable_graph": True},
        {"rank_zero_only": True},
    ],
    ids=lambda other: next(iter(other)),
)
def test_conflicting_arguments(tmp_path: Path, other: dict[str, Any]) -> None:
    """The same name in one hook, with arguments that say something else."""

    def training_step(self: Small, batch: Any, batch_idx: int) -> None:
        self.log("x", 1.0)
        self.log("x", 2.0, **other)

    with pytest.raises(UsageError, match=r"(?s)'x'.*training_step"):
        fit(tmp_path, small(training_step=training_step))


def test_conflict_between_batches(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'x'"):
        fit(tmp_path, small(training_step=lambda self, b, i: self.log("x", 1.0, on_epoch=bool(i))))


def test_conflict_between_functions_made_anew(tmp_path: Path) -> None:
    """What they do depends on the batch, so they are not the same reduction."""

    def training_step(self: Small, batch: Any, batch_idx: int) -> None:
        self.log("x", 1.0, reduce_fx=lambda values: values.sum() * batch_idx)

    with pytest.raises(UsageError, match="'x'"):
        fit(tmp_path, small(training_step=training_step))


def test_batch_size_may_differ_between_calls(tmp_path: Path) -> None:
    def validation_step(self: Small, batch: Any, batch_idx: int) -> None:
        self.log("x", float(batch_idx), batch_size=batch_idx + 1)

    assert numbers(fit(tmp_path, small(validation_step=validation_step), val=2).callback_metrics) == {
        "x": pytest.approx(2 / 3)
    }


def test_same_name_in_two_hooks_is_two_values(tmp_path: Path) -> None:
    """They may have different arguments; readers see the one that was logged last."""

    def on_train_epoch_end(self: Small) -> None:
        self.log("x", 7.0, prog_bar=True)

    module = small(training_step=lambda self, b, i: self.log("x", 1.0), on_train_epoch_end=on_train_epoch_end)
    trainer = fit(tmp_path, module)
    assert float(trainer.callback_metrics["x"]) == 7.0
    assert numbers(trainer.progress_bar_metrics) == {"x": 7.0}
