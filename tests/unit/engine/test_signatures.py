"""What steps and hooks may take, and what is said of those that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fulmen.errors import UsageError

from .small import Given, batches, fit, make_trainer, small


@pytest.mark.parametrize(
    "step",
    [
        lambda self, batch: self(batch).mean(),
        lambda self, batch, batch_idx: self(batch).mean(),
        lambda self, *args: self(args[0]).mean(),
        lambda self, batch, batch_idx, extra=None: self(batch).mean(),
        lambda self, batch, batch_idx, *, extra=None: self(batch).mean(),
        lambda self, batch, **kwargs: self(batch).mean(),
    ],
    ids=["batch", "both", "*args", "default", "keyword default", "**kwargs"],
)
def test_signatures_of_training_step(tmp_path: Path, step: Any) -> None:
    module = small(training_step=step)
    fit(tmp_path, module, train=2)
    assert module.w.item() == -1.5


@pytest.mark.parametrize(
    "step",
    [
        lambda self: None,
        lambda self, batch, batch_idx, optimiser_idx, more: None,
        lambda self, batch, batch_idx, *, hidden: None,
    ],
    ids=["nothing", "too many", "required keyword"],
)
def test_signatures_of_training_step_that_do_not_fit(tmp_path: Path, step: Any) -> None:
    with pytest.raises(UsageError, match=r"(?s)Scripted\.training_step.*batch, batch_idx"):
        fit(tmp_path, small(training_step=step))


EVALUATION_SIGNATURES = {
    "default": lambda self, batch, batch_idx, dataloader_idx=0: self.seen.append(dataloader_idx),
    "position": lambda self, batch, batch_idx, dataloader_idx: self.seen.append(dataloader_idx),
    "*args": lambda self, *args: self.seen.append(args[2]),
    "**kwargs": lambda self, batch, batch_idx, **kwargs: self.seen.append(kwargs["dataloader_idx"]),
    "keyword": lambda self, batch, batch_idx, *, dataloader_idx: self.seen.append(dataloader_idx),
}


@pytest.mark.parametrize("signature", EVALUATION_SIGNATURES)
@pytest.mark.parametrize("method", ["validate", "test", "predict"])
def test_several_loaders_are_told_apart(tmp_path: Path, method: str, signature: str) -> None:
    step = {"validate": "validation_step", "test": "test_step", "predict": "predict_step"}[method]
    module = small(**{step: EVALUATION_SIGNATURES[signature], "seen": []})  # type: ignore[arg-type]
    getattr(make_trainer(tmp_path), method)(module, [batches(1), batches(1)])
    assert module.seen == [0, 1]


@pytest.mark.parametrize("method", ["validate", "test", "predict"])
def test_several_loaders_need_an_argument_to_be_told_apart(tmp_path: Path, method: str) -> None:
    step = {"validate": "validation_step", "test": "test_step", "predict": "predict_step"}[method]
    with pytest.raises(
        UsageError, match=rf"(?s){step}.*def {step}\(self, batch, batch_idx, dataloader_idx=0\)"
    ):
        getattr(make_trainer(tmp_path), method)(
            small(**{step: lambda self, batch, batch_idx: None}), [batches(1), batches(1)]
        )


@pytest.mark.parametrize("method", ["validate", "test", "predict"])
def test_one_loader_is_the_first(tmp_path: Path, method: str) -> None:
    """For a step that insists on an index."""
    step = {"validate": "validation_step", "test": "test_step", "predict": "predict_step"}[method]
    module = small(**{step: lambda self, batch, batch_idx, dataloader_idx: self.seen.append(dataloader_idx)})
    module.seen = []  # type: ignore[assignment]
    getattr(make_trainer(tmp_path), method)(module, batches(1))
    assert module.seen == [0]


def test_batch_hook_that_does_not_take_the_loader(tmp_path: Path) -> None:
    """The error names the hook, before or at the first batch."""
    module = small(
        validation_step=EVALUATION_SIGNATURES["default"],
        seen=[],  # type: ignore[arg-type]
        on_validation_batch_end=lambda self, outputs, batch, batch_idx: None,
    )
    with pytest.raises(UsageError, match=r"on_validation_batch_end"):
        make_trainer(tmp_path).validate(module, [batches(1), batches(1)])


def test_a_batch_of_its_own_kind_is_handed_on(tmp_path: Path) -> None:
    """Whatever a loader gives is the batch."""
    seen: list[Any] = []
    things = [None, "text", object(), {1, 2}]
    fit(tmp_path, small(training_step=lambda self, batch, batch_idx: seen.append(batch)), train=Given(things))
    assert seen == things
