"""What holds for two processes holds for three and four, where numbers divide by none of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from .ranks import Ranks
from .test_ddp import predicted, scored, trained
from .test_ddp_resume import begins, goes_on


@pytest.fixture(scope="module")
def three_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    ranks = Ranks(3, tmp_path_factory.mktemp("three"))
    yield ranks
    ranks.end()


@pytest.fixture(scope="module")
def four_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    ranks = Ranks(4, tmp_path_factory.mktemp("four"))
    yield ranks
    ranks.end()


@pytest.fixture(scope="module", params=[3, 4])
def size(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def ranks(size: int, three_ranks: Ranks, four_ranks: Ranks) -> Ranks:
    return three_ranks if size == 3 else four_ranks


def test_they_train_as_one_with_larger_batches(size: int, ranks: Ranks) -> None:
    found = ranks(trained, "shuffled", 4, size, {})
    weights, steps, losses, logged = trained(0, "shuffled", 4 * size, 1, {})
    for own, _, _, also in found:
        assert torch.equal(own, found[0][0])
        assert also == found[0][3]
    torch.testing.assert_close(found[0][0], weights, rtol=1e-6, atol=1e-6)
    for number, (epoch, samples) in enumerate(steps):
        own_steps = [its_steps[number] for _, its_steps, _, _ in found]
        assert {its_epoch for its_epoch, _ in own_steps} == {epoch}
        assert sorted(sample for _, own in own_steps for sample in own) == sorted(samples)
    means = [sum(each) / size for each in zip(*(its_losses for _, _, its_losses, _ in found), strict=True)]
    assert means == pytest.approx(losses, rel=1e-5)
    assert found[0][3]["loss_epoch"] == pytest.approx(logged["loss_epoch"], rel=1e-5)


@pytest.mark.filterwarnings("ignore:.*before `update`", "ignore:A class has no")
@pytest.mark.parametrize(("length", "batch_size"), [(2, 2), (7, 2), (29, 4)])
def test_each_sample_counts_once(length: int, batch_size: int, size: int, ranks: Ranks) -> None:
    (expected,) = scored(0, 1, length, batch_size, 0, "shuffled")
    assert expected["count"] == length
    has_batches = -(-length // batch_size)
    for rank, (found,) in enumerate(ranks(scored, size, length, batch_size, 0, "shuffled")):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            if name != "median_of_numbers" or rank < has_batches:  # else it does not know the callable
                assert found[name] == pytest.approx(value, rel=1e-6, nan_ok=True), name


@pytest.mark.parametrize(("length", "batch_size"), [(1, 4), (10, 3), (31, 2)])
def test_predictions_are_in_order_on_rank_0(length: int, batch_size: int, size: int, ranks: Ranks) -> None:
    found, *_ = ranks(predicted, size, length, batch_size)
    assert found == predicted(0, 1, length, batch_size)


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_three_go_on_with_the_epoch_of_four(
    batches: int, three_ranks: Ranks, four_ranks: Ranks, tmp_path: Path
) -> None:
    begun: list[list[int]] = four_ranks(begins, str(tmp_path), 4, batches)
    gone_on: list[Any] = three_ranks(goes_on, str(tmp_path), 3)
    done = [number for own in begun for number in own]
    rest = [number for own, _ in gone_on for number in own]
    assert {*done, *rest} == set(range(45))
    assert not set(done) & set(rest)
    assert bool(rest) == (batches < 3)
    assert len(rest) - len(set(rest)) < 3  # who come twice, for all to have equally many
    assert [next_epoch for _, next_epoch in gone_on] == [4, 4, 4]
