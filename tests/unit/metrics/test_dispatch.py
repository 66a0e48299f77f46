"""Names that stand for one of several metrics, by task."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import pytest
import torch

from fulmen.errors import ConfigError
from fulmen.metrics import classification, functional
from fulmen.metrics.classification.dispatch import by_task

from ...plugins.metric_cases.compare import check_same

TASKS = ("binary", "multiclass", "multilabel")
BATCHES = {
    "binary": (torch.tensor([0.2, 0.7, 0.6]), torch.tensor([0, 1, 0])),
    "multiclass": (torch.eye(3) * 0.4 + 0.2, torch.tensor([0, 1, 2])),
    "multilabel": (torch.eye(3) * 0.6 + 0.2, torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 1]])),
}
SIZES = {"binary": {}, "multiclass": {"num_classes": 3}, "multilabel": {"num_labels": 3}}
CLASSES = [name for name in classification.__all__ if f"Binary{name}" in classification.__all__]
FUNCTIONS = [name for name in functional.__all__ if f"binary_{name}" in functional.__all__]


def needed(of_any: Any, of_task: Any) -> dict[str, Any]:
    """What both take, and has to be said or is not the same by default."""
    values = {"beta": 2.0, "average": "macro"}
    both = inspect.signature(of_any).parameters.keys() & inspect.signature(of_task).parameters.keys()
    return {name: value for name, value in values.items() if name in both}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", CLASSES)
def test_each_class_of_a_task(name: str, task: str) -> None:
    of_any: Any = getattr(classification, name)
    kind: Any = getattr(classification, f"{task.title()}{name}", None)
    if kind is None:
        with pytest.raises(ConfigError, match="`task` is unknown"):
            of_any(task)
        return
    options = SIZES[task] | needed(of_any, kind)
    alone = kind(**options)
    metric = of_any(task, ignore_index=7, compute_with_cache=False, **options)
    assert type(metric) is type(alone)
    assert metric.ignore_index == 7
    assert not metric.compute_with_cache
    check_same(metric(*BATCHES[task]), alone(*BATCHES[task]))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_of_a_task(name: str, task: str) -> None:
    of_any: Any = getattr(functional, name)
    form: Any = getattr(functional, f"{task}_{name}", None)
    if form is None:
        with pytest.raises(ConfigError, match="`task` is unknown"):
            of_any(*BATCHES[task], task)
        return
    options = SIZES[task] | needed(of_any, form)
    check_same(of_any(*BATCHES[task], task, **options), form(*BATCHES[task], **options))
    assert pickle.loads(pickle.dumps(of_any)) is of_any


def binary(preds: int, target: int, threshold: float) -> Any:
    return preds, target, threshold


def multiclass(preds: int, target: int, num_classes: int | None, **further: Any) -> Any:
    return preds, target, num_classes, further


@by_task(binary, multiclass)
def any_of_them(
    preds: int, target: int, task: str, threshold: float = 0.5, num_classes: int | None = None, **kwargs: Any
) -> Any:
    """What is said about it."""


def test_each_gets_what_it_takes() -> None:
    assert any_of_them(1, 2, "binary") == (1, 2, 0.5)
    assert any_of_them(1, task="binary", num_classes=3, target=4, threshold=0.25) == (1, 4, 0.25)
    assert any_of_them(1, 2, "multiclass", 0.25, 3, top_k=5) == (1, 2, 3, {"top_k": 5})


def test_the_signature_is_that_which_was_written() -> None:
    assert list(inspect.signature(any_of_them).parameters)[2:5] == ["task", "threshold", "num_classes"]
    assert any_of_them.__doc__ == "What is said about it."


def test_arguments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="'multilabel'"):
        any_of_them(1, 2, "multilabel")
    with pytest.raises(TypeError, match=r"any_of_them\(\) missing 1 required positional argument: 'task'"):
        any_of_them(1, 2)  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match=r"accuracy\(\) got an unexpected keyword argument 'treshold'"):
        functional.accuracy(*BATCHES["binary"], "binary", treshold=0.1)  # pyright: ignore[reportCallIssue]
