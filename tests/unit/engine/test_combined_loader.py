"""Several loaders as one: the four modes, by themselves and in a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import fulmen as pl
from fulmen.engine.combined_loader import CombinedLoader
from fulmen.errors import ConfigError

from .small import Given, TrainsOnly, batches, make_trainer, stream

LONG, SHORT = Given([1, 2, 3]), Given([10, 20])


class Pair(NamedTuple):
    left: Any
    right: Any


class Endless:
    """0, 0, 0, ... without a length."""

    def __iter__(self) -> Any:
        while True:
            yield 0


@pytest.mark.parametrize(
    ("mode", "items"),
    [
        ("min_size", [([1, 10], 0, 0), ([2, 20], 1, 0)]),
        ("max_size_cycle", [([1, 10], 0, 0), ([2, 20], 1, 0), ([3, 10], 2, 0)]),
        ("max_size", [([1, 10], 0, 0), ([2, 20], 1, 0), ([3, None], 2, 0)]),
        ("sequential", [(1, 0, 0), (2, 1, 0), (3, 2, 0), (10, 0, 1), (20, 1, 1)]),
    ],
)
def test_modes(mode: str, items: list[Any]) -> None:
    """(batch, batch_idx, dataloader_idx); the same in each pass, with as many items as `len` says."""
    combined = CombinedLoader([LONG, SHORT], mode)
    assert list(combined) == items
    assert list(combined) == items
    assert len(combined) == len(items)


def test_the_default_is_the_shortest() -> None:
    assert CombinedLoader([LONG, SHORT]).mode == "min_size"


@pytest.mark.parametrize(
    ("collection", "first"),
    [
        ([LONG, SHORT], [1, 10]),
        ((LONG, SHORT), (1, 10)),
        ({"a": LONG, "b": SHORT}, {"a": 1, "b": 10}),
        ({"a": [LONG, SHORT], "b": {"c": SHORT}}, {"a": [1, 10], "b": {"c": 10}}),
        (Pair(LONG, [SHORT]), Pair(1, [10])),
        ([LONG], [1]),
        (LONG, 1),
    ],
    ids=["list", "tuple", "dict", "nested", "named tuple", "list of one", "loader"],
)
def test_batch_is_a_collection_like_that_of_the_loaders(collection: Any, first: Any) -> None:
    combined = CombinedLoader(collection, "max_size_cycle")
    batch, _, _ = next(iter(combined))
    assert batch == first
    assert type(batch) is type(first)


def test_flattened_loaders() -> None:
    combined = CombinedLoader({"a": LONG, "b": [SHORT, LONG]})
    assert combined.flattened == [LONG, SHORT, LONG]
    combined.flattened = [SHORT, SHORT, LONG]
    assert combined.iterables == {"a": SHORT, "b": [SHORT, LONG]}


@pytest.mark.parametrize("count", [1, 4])
def test_flattened_takes_as_many_as_there_are(count: int) -> None:
    combined = CombinedLoader([LONG, SHORT])
    with pytest.raises(ConfigError, match=rf"(?s){count}.*2"):
        combined.flattened = [LONG] * count


@pytest.mark.parametrize(
    ("mode", "length"), [("min_size", 2), ("max_size", 3), ("max_size_cycle", 3), ("sequential", 5)]
)
def test_length_is_known_before_the_first_pass(mode: str, length: int) -> None:
    assert len(CombinedLoader({"a": LONG, "b": SHORT}, mode)) == length


@pytest.mark.parametrize(("mode", "length"), [("min_size", 3), ("max_size", None), ("sequential", None)])
def test_length_with_a_loader_that_has_none(mode: str, length: int | None) -> None:
    combined = CombinedLoader([LONG, stream(5)], mode)
    if length is None:
        with pytest.raises(TypeError, match="no length"):
            len(combined)
    else:
        assert len(combined) == length


def test_shortest_beside_an_endless_one() -> None:
    assert [batch for batch, *_ in CombinedLoader([LONG, Endless()], "min_size")] == [[1, 0], [2, 0], [3, 0]]


@pytest.mark.parametrize("mode", ["max_size", "max_size_cycle"])
def test_without_lengths_the_end_is_found_on_the_way(mode: str) -> None:
    combined = CombinedLoader([stream(1), stream(3)], mode)
    assert len(list(combined)) == 3


def test_cycling_begins_a_loader_again_and_not_a_copy_of_it() -> None:
    """Its next pass is a real one: a shuffling loader shuffles anew."""
    short = Given([10, 20])
    list(CombinedLoader([Given(range(5)), short], "max_size_cycle"))
    assert short.begun == 3


def test_cycling_an_empty_loader_gives_none() -> None:
    assert list(CombinedLoader([LONG, Given([])], "max_size_cycle")) == [
        ([n, None], n - 1, 0) for n in (1, 2, 3)
    ]


@pytest.mark.parametrize("mode", ["min_size", "max_size", "max_size_cycle", "sequential"])
def test_nothing_to_combine(mode: str) -> None:
    for empty in ([], [Given([])], [Given([]), Given([])]):
        assert list(CombinedLoader(empty, mode)) == []
        assert len(CombinedLoader(empty, mode)) == 0


@pytest.mark.parametrize(
    ("limits", "items"),
    [
        ([2, 1], [(1, 0, 0), (2, 1, 0), (10, 0, 1)]),
        ([0, 1], [(10, 0, 1)]),
        ([float("inf"), 0], [(1, 0, 0), (2, 1, 0), (3, 2, 0)]),
    ],
)
def test_sequential_with_limits(limits: list[float], items: list[Any]) -> None:
    combined = CombinedLoader([LONG, SHORT], "sequential")
    combined.limits = limits
    assert list(combined) == items
    assert len(combined) == len(items)


@pytest.mark.parametrize(("mode", "fix"), [("max_size_cycel", "max_size_cycle"), ("min", "min_size")])
def test_unknown_mode(mode: str, fix: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{fix}'"):
        CombinedLoader([], mode)


# ---------------------------------------------------------------------------------------------- in a run


class Keeps(TrainsOnly):
    """Keeps the batches of training and validation, as plain numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.trained: list[Any] = []
        self.validated: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.trained.append(plain(batch))

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.validated.append((plain(batch), batch_idx, dataloader_idx))


def plain(batch: Any) -> Any:
    if isinstance(batch, Tensor):
        return batch.item()
    if isinstance(batch, dict):
        return {key: plain(value) for key, value in batch.items()}
    return None if batch is None else [plain(value) for value in batch]


def fit(root: Path, train: Any, val: Any = None, **options: Any) -> tuple[pl.Trainer, Keeps]:
    module, trainer = (
        Keeps(),
        make_trainer(root, **({"limit_val_batches": 0} if val is None else {}), **options),
    )
    trainer.fit(module, train, val)
    return trainer, module


def long() -> Any:
    return batches(3)


def short() -> Any:
    return batches(2, first=10)


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_a_collection_to_train_on_runs_to_the_longest_and_cycles_the_others(
    tmp_path: Path, kind: str
) -> None:
    loaders = [long(), short()] if kind == "list" else {"a": long(), "b": short()}
    trainer, module = fit(tmp_path, loaders)
    pairs = [[1, 10], [2, 11], [3, 10]]
    assert module.trained == (pairs if kind == "list" else [{"a": a, "b": b} for a, b in pairs])
    assert trainer.num_training_batches == 3


@pytest.mark.parametrize(
    ("mode", "trained"),
    [
        ("min_size", [[1, 10], [2, 11]]),
        ("max_size_cycle", [[1, 10], [2, 11], [3, 10]]),
        ("max_size", [[1, 10], [2, 11], [3, None]]),
        ("sequential", [1, 2, 3, 10, 11]),
    ],
)
def test_modes_in_training(tmp_path: Path, mode: str, trained: list[Any]) -> None:
    trainer, module = fit(tmp_path, CombinedLoader([long(), short()], mode), max_epochs=2)
    assert module.trained == trained * 2
    assert (trainer.num_training_batches, trainer.global_step) == (len(trained), 2 * len(trained))


@pytest.mark.parametrize(("limit", "count"), [(2, 2), (0.5, 1), (1.0, 3)])
def test_limit_counts_combined_batches(tmp_path: Path, limit: float, count: int) -> None:
    trainer, module = fit(tmp_path, {"a": long(), "b": short()}, limit_train_batches=limit)
    assert len(module.trained) == trainer.num_training_batches == count


def test_a_collection_without_length(tmp_path: Path) -> None:
    trainer, module = fit(tmp_path, [long(), stream(4)])
    assert module.trained == [[1, 1], [2, 2], [3, 3], [1, 4]]
    assert trainer.num_training_batches == float("inf")


def test_means_weigh_by_the_first_tensor_of_a_combined_batch(tmp_path: Path) -> None:
    class Logs(Keeps):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.log("x", float(batch_idx), on_step=False, on_epoch=True)

    trainer = make_trainer(tmp_path, limit_val_batches=0)
    trainer.fit(Logs(), {"a": Given([torch.zeros(1), torch.zeros(3)]), "b": batches(2)})
    assert trainer.callback_metrics["x"].item() == 0.75


@pytest.mark.parametrize("mode", ["list", "sequential"])
def test_validation_takes_loaders_one_after_the_other(tmp_path: Path, mode: str) -> None:
    loaders = [long(), short()]
    _, module = fit(
        tmp_path, batches(1), loaders if mode == "list" else CombinedLoader(loaders, "sequential")
    )
    assert module.validated == [(1, 0, 0), (2, 1, 0), (3, 2, 0), (10, 0, 1), (11, 1, 1)]


@pytest.mark.parametrize(
    ("mode", "validated"),
    [
        ("min_size", [([1, 10], 0, 0), ([2, 11], 1, 0)]),
        ("max_size_cycle", [([1, 10], 0, 0), ([2, 11], 1, 0), ([3, 10], 2, 0)]),
        ("max_size", [([1, 10], 0, 0), ([2, 11], 1, 0), ([3, None], 2, 0)]),
    ],
)
def test_validation_of_combined_batches(tmp_path: Path, mode: str, validated: list[Any]) -> None:
    trainer, module = fit(tmp_path, batches(1), CombinedLoader([long(), short()], mode))
    assert module.validated == validated
    assert trainer.num_val_batches == [len(validated)]


def test_validation_of_a_dict_of_loaders(tmp_path: Path) -> None:
    _, module = fit(tmp_path, batches(1), {"a": long(), "b": short()})
    assert [index for *_, index in module.validated] == [0, 0, 0, 1, 1]


def test_prediction_of_combined_batches(tmp_path: Path) -> None:
    class Predicts(TrainsOnly):
        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return plain(batch)

    trainer = make_trainer(tmp_path)
    assert trainer.predict(Predicts(), CombinedLoader([long(), short()], "min_size")) == [[1, 10], [2, 11]]
    assert trainer.predict(Predicts(), CombinedLoader(long(), "sequential")) == [1, 2, 3]


def test_loader_objects_of_the_user_are_not_changed(tmp_path: Path) -> None:
    """What `overfit_batches` makes of the loaders stays inside the run."""
    combined = CombinedLoader({"a": batches(3, shuffle=True)}, "min_size")
    before = combined.flattened
    fit(tmp_path, combined, overfit_batches=1)
    assert combined.flattened == before
