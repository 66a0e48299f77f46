"""After which training batches validation runs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from fulmen.errors import ConfigError

from .small import Small, TrainsOnly, batches, make_trainer, stream

Times = list[tuple[int, int]]


class Watches(Small):
    """Notes (epoch, batch) of the training batch before each validation."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_idx = -1
        self.validated: Times = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        self.batch_idx = batch_idx
        return self(batch).mean()

    def on_validation_start(self) -> None:
        self.validated.append((self.trainer.current_epoch, self.batch_idx))


def times(root: Path, train: Any = 10, **options: Any) -> Times:
    module = Watches()
    trainer = make_trainer(root, **options)
    trainer.fit(module, batches(train) if isinstance(train, int) else train, batches(1))
    return module.validated


def each_epoch(*batch_indices: int, epochs: tuple[int, ...] = (0,)) -> Times:
    return [(epoch, batch_idx) for epoch in epochs for batch_idx in batch_indices]


@pytest.mark.parametrize(
    ("interval", "after"),
    [
        (1.0, [9]),
        (None, [9]),
        (0.5, [4, 9]),
        (0.25, [1, 3, 5, 7, 9]),
        (0.3, [2, 5, 8]),
        (0.33, [2, 5, 8]),
        (0.01, list(range(10))),
        (1, list(range(10))),
        (4, [3, 7]),
        (10, [9]),
    ],
)
def test_within_each_epoch(tmp_path: Path, interval: float | None, after: list[int]) -> None:
    """A fraction of the epoch, or a number of batches; the count starts again with each epoch."""
    found = times(tmp_path, val_check_interval=interval, max_epochs=2)
    assert found == each_epoch(*after, epochs=(0, 1))


def test_fraction_is_of_the_batches_that_count(tmp_path: Path) -> None:
    assert times(tmp_path, val_check_interval=0.5, limit_train_batches=4) == [(0, 1), (0, 3)]


@pytest.mark.parametrize(
    ("every", "found"),
    [(1, [(0, 9), (1, 9), (2, 9), (3, 9)]), (2, [(1, 9), (3, 9)]), (3, [(2, 9)]), (5, [])],
)
def test_every_so_many_epochs(tmp_path: Path, every: int, found: Times) -> None:
    assert times(tmp_path, check_val_every_n_epoch=every, max_epochs=4) == found


def test_within_every_second_epoch(tmp_path: Path) -> None:
    found = times(tmp_path, check_val_every_n_epoch=2, val_check_interval=4, max_epochs=4)
    assert found == each_epoch(3, 7, epochs=(1, 3))


@pytest.mark.parametrize(
    ("interval", "found"),
    [
        (4, [(0, 3), (0, 7), (1, 1), (1, 5), (1, 9), (2, 3), (2, 7)]),
        (15, [(1, 4), (2, 9)]),
        (10, [(0, 9), (1, 9), (2, 9)]),
    ],
)
def test_batches_counted_over_epochs(tmp_path: Path, interval: int, found: Times) -> None:
    options = {"check_val_every_n_epoch": None, "val_check_interval": interval, "max_epochs": 3}
    assert times(tmp_path, **options) == found


@pytest.mark.parametrize(("every", "found"), [(1, [(0, 4)]), (2, []), (None, [(0, 4)])])
def test_a_stop_validates_only_where_the_epoch_is_to_be_validated(
    tmp_path: Path, every: int | None, found: Times
) -> None:
    """Asked for in the middle of the first epoch."""

    class Stops(Watches):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.trainer.should_stop = batch_idx == 4

    module = Stops()
    options = {
        "check_val_every_n_epoch": every,
        "max_epochs": 3,
        "val_check_interval": 8 if every is None else 1.0,
    }
    make_trainer(tmp_path, **options).fit(module, batches(10), batches(1))
    assert module.validated == found


def test_within_accumulation_windows_too(tmp_path: Path) -> None:
    found = times(tmp_path, train=4, val_check_interval=1, accumulate_grad_batches=2)
    assert found == each_epoch(0, 1, 2, 3)


@pytest.mark.parametrize("interval", ["00:00:00:01", {"hours": 1}, timedelta(hours=1)])
@pytest.mark.parametrize("every", [1, None])
def test_duration_that_does_not_pass(tmp_path: Path, interval: Any, every: int | None) -> None:
    """Time alone decides: nothing is due at the end of an epoch."""
    interval = {"00:00:00:01": "01:00:00:00"}.get(str(interval), interval)
    assert times(tmp_path, val_check_interval=interval, check_val_every_n_epoch=every, max_epochs=2) == []


@pytest.mark.parametrize("interval", [{"microseconds": 1}, timedelta(microseconds=1)])
@pytest.mark.parametrize("every", [1, None])
def test_duration_that_passes_at_once(tmp_path: Path, interval: Any, every: int | None) -> None:
    found = times(tmp_path, train=3, val_check_interval=interval, check_val_every_n_epoch=every)
    assert found == each_epoch(0, 1, 2)


@pytest.mark.parametrize(
    ("text", "duration"),
    [("00:00:01:00", timedelta(minutes=1)), ("1:02:03:04", timedelta(days=1, hours=2, minutes=3, seconds=4))],
)
def test_duration_as_text(text: str, duration: timedelta) -> None:
    assert make_trainer(Path(), val_check_interval=text).val_check_interval == duration


@pytest.mark.parametrize(
    "options",
    [
        {"val_check_interval": 0},
        {"val_check_interval": 0.0},
        {"val_check_interval": -1},
        {"val_check_interval": 1.5},
        {"val_check_interval": 2.0},
        {"val_check_interval": True},
        {"val_check_interval": "often"},
        {"val_check_interval": "10:00"},
        {"val_check_interval": {"fortnights": 1}},
        {"val_check_interval": timedelta(0)},
        {"val_check_interval": timedelta(seconds=-1)},
        {"val_check_interval": 0.5, "check_val_every_n_epoch": None},
        {"check_val_every_n_epoch": None},
        {"check_val_every_n_epoch": 0},
        {"check_val_every_n_epoch": -1},
        {"check_val_every_n_epoch": 1.0},
    ],
    ids=str,
)
def test_times_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="val"):
        make_trainer(Path(), **options)


def test_interval_that_never_comes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)val_check_interval.*11 > 10.*check_val_every_n_epoch=None"):
        times(tmp_path, val_check_interval=11)


@pytest.mark.parametrize(("interval", "found"), [(1.0, [2]), (2, [1]), (1, [0, 1, 2]), (7, [])])
def test_loader_without_length(tmp_path: Path, interval: float, found: list[int]) -> None:
    assert times(tmp_path, stream(3), val_check_interval=interval) == each_epoch(*found)


def test_fraction_of_a_loader_without_length(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="val_check_interval"):
        times(tmp_path, stream(3), val_check_interval=0.5)


def test_fraction_of_a_limited_loader_without_length(tmp_path: Path) -> None:
    """The limit says how many batches there are to be."""
    assert times(tmp_path, stream(9), limit_train_batches=4, val_check_interval=0.5) == each_epoch(1, 3)


def test_it_is_known_what_is_due(tmp_path: Path) -> None:
    due: list[bool] = []

    class Looks(Watches):
        def on_train_batch_end(self, *args: Any) -> None:
            due.append(self.trainer.validation_is_due)  # pyright: ignore[reportAttributeAccessIssue]

    trainer = make_trainer(tmp_path, val_check_interval=2)
    trainer.fit(Looks(), batches(5), batches(1))
    assert due == [False, True, False, True, False]
    assert trainer.val_check_batch == 2


def test_a_validation_step_without_a_loader_is_said_to_be_unused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_trainer(tmp_path).fit(Watches(), batches(1))
    assert "there is no validation loader" in caplog.text


def test_a_loader_without_a_validation_step_is_said_to_be_unused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="has no `validation_step`"):
        make_trainer(tmp_path).fit(TrainsOnly(), batches(1), batches(1))


def test_the_weights_are_not_touched_by_validation(tmp_path: Path) -> None:
    """And its gradients are off: a loss computed there has no graph."""
    graphs: list[bool] = []

    class Validates(Small):
        def validation_step(self, batch: Tensor, batch_idx: int) -> Any:
            graphs.append(self(batch).mean().requires_grad)

    def trained(interval: float) -> float:
        module = Validates()
        trainer = make_trainer(tmp_path, val_check_interval=interval, accumulate_grad_batches=2)
        trainer.fit(module, batches(5), batches(2))
        return module.w.item()

    assert trained(1.0) == trained(1)
    assert set(graphs) == {False}
