"""How many batches each loop takes, and what is said about limits that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fulmen.errors import ConfigError

from .small import Small, TrainsOnly, batches, fit, make_trainer, stream

KINDS = ("train", "val", "test", "predict")


class Counts(Small):
    """Notes the numbers in the batches of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, list[float]] = {kind: [] for kind in KINDS}

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        self.seen["train"] += batch.tolist()
        return self(batch).mean()

    def validation_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.seen["val"] += batch.tolist()

    def test_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.seen["test"] += batch.tolist()

    def predict_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.seen["predict"] += batch.tolist()


def run(root: Path, kind: str, loader: Any, **options: Any) -> tuple[Any, Counts]:
    """The Trainer and the module after the method that takes batches of this kind."""
    trainer, module = make_trainer(root, **options), Counts()
    if kind == "train":
        trainer.fit(module, loader, batches(1))
    elif kind == "val":
        trainer.validate(module, loader, verbose=False)
    elif kind == "test":
        trainer.test(module, loader, verbose=False)
    else:
        trainer.predict(module, loader)
    return trainer, module


def taken(root: Path, kind: str, loader: Any, **options: Any) -> int:
    return len(run(root, kind, loader, **options)[1].seen[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("limit", "count"),
    [(0.19, 1), (0.55, 5), (0.99, 9), (1.0, 10), (0.3, 3), (0.7, 7), (1, 1), (4, 4), (10, 10), (11, 10)],
)
def test_limit(tmp_path: Path, kind: str, limit: float, count: int) -> None:
    """A fraction is rounded down; 1 is one batch, and 1.0 is all."""
    assert taken(tmp_path, kind, batches(10), **{f"limit_{kind}_batches": limit}) == count


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [-1, 1.1, 2.0, -0.5, "1", True, None.__class__, float("nan"), [1]])
def test_limits_that_are_out_of_range(kind: str, limit: Any) -> None:
    with pytest.raises(ConfigError, match=f"limit_{kind}_batches"):
        make_trainer(Path(), **{f"limit_{kind}_batches": limit})


def test_limit_that_was_meant_to_be_whole() -> None:
    with pytest.raises(ConfigError, match="limit_train_batches=20"):
        make_trainer(Path(), limit_train_batches=20.0)


@pytest.mark.parametrize("kind", KINDS)
def test_fraction_that_leaves_nothing(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)limit_{kind}_batches.*0\.05 of 10.*0\.1"):
        run(tmp_path, kind, batches(10), **{f"limit_{kind}_batches": 0.05})


@pytest.mark.parametrize("kind", KINDS)
def test_fraction_of_what_has_no_length(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match=f"limit_{kind}_batches"):
        run(tmp_path, kind, stream(3), **{f"limit_{kind}_batches": 0.5})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("limit", "count"), [(1.0, 3), (2, 2), (3, 3), (10, 3)])
def test_loader_without_length(tmp_path: Path, kind: str, limit: float, count: int) -> None:
    assert taken(tmp_path, kind, stream(3), **{f"limit_{kind}_batches": limit}) == count


@pytest.mark.parametrize("limit", [2, 3, 10, 1.0])
def test_last_batch_of_a_loader_without_length_is_known(tmp_path: Path, limit: float) -> None:
    """The epoch ends as any other, and validation runs, also where the limit is not reached."""
    last, validated = [], []

    class Watches(Counts):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            last.append(self.trainer.is_last_batch)
            return super().training_step(batch, batch_idx)

        def on_validation_start(self) -> None:
            validated.append(len(self.seen["train"]))

    trainer = make_trainer(tmp_path, limit_train_batches=limit)
    trainer.fit(Watches(), stream(3), batches(1))
    count = min(3, int(limit) if isinstance(limit, int) else 3)
    assert last == [False] * (count - 1) + [True]
    assert validated == [count]
    assert trainer.num_training_batches == (limit if isinstance(limit, int) else float("inf"))


@pytest.mark.parametrize("zero", [0, 0.0])
def test_no_training_batches(tmp_path: Path, zero: float) -> None:
    trainer, module = run(tmp_path, "train", batches(2), limit_train_batches=zero, num_sanity_val_steps=1)
    assert (trainer.global_step, trainer.current_epoch, module.seen["train"]) == (0, 0, [])


@pytest.mark.parametrize("zero", [0, 0.0])
def test_no_validation_batches(tmp_path: Path, zero: float) -> None:
    trainer, module = run(tmp_path, "train", batches(2), limit_val_batches=zero, num_sanity_val_steps=1)
    assert (trainer.global_step, module.seen["val"]) == (2, [])


@pytest.mark.parametrize("zero", [0, 0.0])
def test_nothing_to_evaluate_or_predict(tmp_path: Path, zero: float) -> None:
    limits = {f"limit_{kind}_batches": zero for kind in KINDS}
    trainer, module = make_trainer(tmp_path, **limits), Counts()
    assert trainer.validate(module, batches(), verbose=False) == []
    assert trainer.test(module, batches(), verbose=False) == []
    assert trainer.predict(module, batches()) is None


@pytest.mark.parametrize("kind", ["val", "test", "predict"])
def test_each_of_several_loaders_is_limited(tmp_path: Path, kind: str) -> None:
    loaders = [batches(4), batches(10, first=101)]
    _, module = run(tmp_path, kind, loaders, **{f"limit_{kind}_batches": 0.5})
    assert module.seen[kind] == [1, 2, 101, 102, 103, 104, 105]


def test_numbers_of_batches_are_known(tmp_path: Path) -> None:
    trainer = fit(
        tmp_path,
        Counts(),
        train=5,
        val=[batches(4), batches(10)],
        limit_val_batches=0.5,
        num_sanity_val_steps=3,
    )
    assert trainer.num_training_batches == 5
    assert trainer.num_val_batches == [2, 5]
    assert trainer.num_sanity_val_batches == [2, 3]
    trainer.test(Counts(), batches(7), verbose=False)
    assert trainer.num_test_batches == [7]
    trainer.predict(Counts(), [batches(2), batches(3)])
    assert trainer.num_predict_batches == [2, 3]


@pytest.mark.parametrize(("steps", "count"), [(0, 0), (1, 2), (2, 4), (3, 5), (-1, 8), (None, 4)])
def test_sanity_check(tmp_path: Path, steps: int | None, count: int) -> None:
    """So many batches of each of two loaders, with 2 and 6 batches; the default is 2, and -1 is all."""
    seen: list[int] = []

    class Watches(Counts):
        def on_train_start(self) -> None:
            seen.append(len(self.seen["val"]))

    fit(tmp_path, Watches(), val=[batches(2), batches(6)], num_sanity_val_steps=steps)
    assert seen == [count]


def test_sanity_check_is_limited_as_validation_is(tmp_path: Path) -> None:
    module = Counts()
    fit(tmp_path, module, val=batches(10), num_sanity_val_steps=-1, limit_val_batches=3)
    assert module.seen["val"] == [1, 2, 3] * 2


def test_sanity_check_draws_no_random_numbers_from_training(tmp_path: Path) -> None:
    """The order of a shuffled train loader does not depend on it."""

    def order(steps: int) -> list[float]:
        torch.manual_seed(3)
        module = Counts()
        fit(
            tmp_path,
            module,
            train=batches(20, shuffle=True),
            val=batches(4, shuffle=True),
            num_sanity_val_steps=steps,
        )
        return module.seen["train"]

    assert order(0) == order(2)


@pytest.mark.parametrize(("overfit", "count"), [(1, 1), (3, 3), (0.5, 5), (20, 10)])
def test_overfit_batches(tmp_path: Path, overfit: float, count: int) -> None:
    """The same first batches in every epoch, though the loader shuffles; validation has as many."""
    module = Counts()
    trainer = make_trainer(tmp_path, overfit_batches=overfit, max_epochs=2)
    trainer.fit(module, batches(10, shuffle=True), batches(10, first=101))
    numbers = [float(number) for number in range(1, count + 1)]
    assert module.seen["train"] == numbers * 2
    assert module.seen["val"] == [100 + number for number in numbers] * 2
    assert trainer.num_training_batches == count


def test_overfit_batches_leave_evaluation_methods_alone(tmp_path: Path) -> None:
    assert taken(tmp_path, "test", batches(10), overfit_batches=1) == 10
    assert taken(tmp_path, "predict", batches(10), overfit_batches=1) == 10


def test_overfit_batches_keep_a_sampler_of_the_users(tmp_path: Path) -> None:
    seen: list[float] = []

    class Notes(TrainsOnly):
        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            seen.append(batch.item())

    with pytest.warns(UserWarning, match="your own sampler"):
        make_trainer(tmp_path, overfit_batches=2).fit(Notes(), batches(3, sampler=[2, 0, 1]))
    assert seen == [3, 1]


@pytest.mark.parametrize(("fast", "count"), [(True, 1), (1, 1), (3, 3)])
def test_fast_dev_run(tmp_path: Path, fast: int | bool, count: int) -> None:
    """So many batches of everything, once, and nothing is written."""
    trainer, module = (
        make_trainer(tmp_path, fast_dev_run=fast, max_epochs=5, num_sanity_val_steps=2),
        Counts(),
    )
    trainer.fit(module, batches(10), batches(10))
    trainer.test(module, batches(10), verbose=False)
    trainer.predict(module, batches(10))
    assert {kind: len(seen) for kind, seen in module.seen.items()} == dict.fromkeys(KINDS, count)
    assert (trainer.max_epochs, trainer.max_steps, trainer.num_sanity_val_steps) == (1, count, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fast", [-1, 1.0, "yes"])
def test_fast_dev_run_takes_a_switch_or_a_count(fast: Any) -> None:
    with pytest.raises(ConfigError, match="fast_dev_run"):
        make_trainer(Path(), fast_dev_run=fast)
