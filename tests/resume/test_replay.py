"""How a position in the data is found again: by indices, not by fetching; and what is said otherwise."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from . import feeds
from .journal import Journal
from .law import Case, Killed, Moment, after, make_killer, train, train_whole
from .nets import Net

WHOLE_EPOCH = feeds.SAMPLES


def stop_at(case: Case, moment: Moment, folder: Path) -> Path:
    """A checkpoint of this moment."""
    journal = Journal()
    killer = make_killer(moment, folder / "saved.ckpt", journal)
    case.seed()
    with pytest.raises(Killed):
        train(case, folder, journal, killer=killer)
    return killer.path


SAMPLERS = {
    "shuffled": lambda data: feeds.loader(data, shuffle=True),
    "weighted": lambda data: feeds.loader(data, sampler=feeds.weighted().sampler),
    "lazy": lambda data: feeds.loader(data, sampler=feeds.DrawnOneByOne(feeds.from_all)),
    "own batches": lambda data: feeds.loader(
        data, batch_sampler=feeds.OwnBatches(feeds.DrawnOneByOne(feeds.from_all))
    ),
    "list": lambda data: [feeds.loader(data, shuffle=True)],
}


@pytest.mark.parametrize("kind", SAMPLERS)
def test_samples_of_finished_batches_are_not_fetched(kind: str, tmp_path: Path) -> None:
    made: list[feeds.Samples] = []

    def loader() -> Any:
        made.append(feeds.Samples())
        return SAMPLERS[kind](made[-1])

    case = Case(kind, loader)
    path = stop_at(case, after(4), tmp_path)
    train(case, tmp_path, Journal(), ckpt_path=path)
    assert [data.fetched for data in made] == [
        4 * feeds.BATCH_SIZE,
        WHOLE_EPOCH - 4 * feeds.BATCH_SIZE + WHOLE_EPOCH,
    ]


def test_collating_and_workers_see_nothing_of_finished_batches(tmp_path: Path) -> None:
    """Of workers only the batches that arrive can be seen: these are tensors that collating has made."""
    collated = torch.zeros((), dtype=torch.int64).share_memory_()

    def collate(samples: Sequence[Any]) -> Any:
        collated.add_(1)
        return torch.utils.data.default_collate(list(samples))

    case = Case("counted", partial(feeds.in_workers, 1, collate_fn=collate), validation=None)
    path = stop_at(case, after(3), tmp_path)
    collated.zero_()
    train(case, tmp_path, Journal(), ckpt_path=path)
    assert collated == 2 * feeds.BATCHES - 3


class Many(Dataset[Any]):
    """More samples than anybody wants to fetch."""

    def __init__(self) -> None:
        self.fetched: list[int] = []

    def __len__(self) -> int:
        return 100_000

    def __getitem__(self, index: int) -> Any:
        self.fetched.append(index)
        return feeds.make_sample(index, 0.0)


def test_a_position_far_into_the_data_costs_no_fetches(tmp_path: Path) -> None:
    """The order after 90 000 batches is the one that was drawn at the start; none of them is made again."""
    data: list[Many] = []

    def loader() -> Any:
        data.append(Many())
        return feeds.loader(data[-1], shuffle=True, batch_size=1)

    case = Case(
        "many", loader, partial(Net, norm=False), validation=None, callbacks=lambda _: [],
        options=lambda: {"max_epochs": 1, "max_steps": 5},
    )  # fmt: skip
    path = stop_at(case, after(2), tmp_path)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["fulmen"]["progress"]["batch"] = 90_000
    moved = tmp_path / "moved.ckpt"
    torch.save(checkpoint, moved)

    train(case, tmp_path, Journal(), ckpt_path=moved)

    assert len(data[1].fetched) == 3
    assert not set(data[1].fetched) & set(data[0].fetched)


def test_an_opaque_iterable_is_drawn_again_and_the_user_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case = Case("opaque", feeds.OpaqueBatches)
    path = stop_at(case, after(3), tmp_path)
    with caplog.at_level(logging.INFO, "fulmen"):
        train(case, tmp_path, Journal(), ckpt_path=path)
    told = [record.getMessage() for record in caplog.records if "OpaqueBatches" in record.getMessage()]
    assert len(told) == 1
    assert "state_dict" in told[0]


@pytest.mark.parametrize(
    "moment", [Moment("on_train_epoch_end", 5), Moment("on_train_epoch_start", 5)], ids=str
)
def test_nothing_is_said_where_nothing_is_drawn_again(
    moment: Moment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case = Case("opaque", feeds.OpaqueBatches)
    path = stop_at(case, moment, tmp_path)
    caplog.clear()
    train(case, tmp_path, Journal(), ckpt_path=path)
    assert not [record for record in caplog.records if "OpaqueBatches" in record.getMessage()]


def test_a_stateful_stream_makes_no_sample_twice(tmp_path: Path) -> None:
    made: list[feeds.StatefulBatches] = []

    def loader() -> Any:
        made.append(feeds.StatefulBatches())
        return made[-1]

    case = Case("stateful", loader)
    path = stop_at(case, after(3), tmp_path)
    train(case, tmp_path, Journal(), ckpt_path=path)
    assert made[1].stream.made == [*range(9, WHOLE_EPOCH), *range(WHOLE_EPOCH)]


def record_of(case: Case, folder: Path, moment: Moment) -> dict[str, Any]:
    return torch.load(stop_at(case, moment, folder), weights_only=True)["fulmen"]["exact"]


@pytest.mark.parametrize(
    ("loader", "resumable"),
    [
        (feeds.shuffled, True),
        (feeds.in_workers, True),
        (feeds.StatefulBatches, True),
        (lambda: feeds.loader(feeds.StatefulStream()), True),
        (feeds.OpaqueBatches, False),
        (lambda: feeds.loader(feeds.Stream()), False),
        (lambda: [feeds.shuffled(), feeds.OpaqueBatches()], False),
        (lambda: [feeds.shuffled(), feeds.StatefulBatches()], False),
    ],
    ids=[
        "shuffled",
        "workers",
        "stateful",
        "stateful_stream",
        "opaque",
        "stream",
        "one_of_two",
        "a_stateful_one_of_two",
    ],
)
def test_a_checkpoint_says_whether_it_resumes_exactly(loader: Any, resumable: bool, tmp_path: Path) -> None:
    exact = record_of(Case("recorded", loader), tmp_path, after(3))
    assert exact["resumable"] is resumable
    assert bool(exact["reasons"]) is not resumable
    assert all(isinstance(reason, str) for reason in exact["reasons"])


def events_with(workers: int, **options: Any) -> list[Any]:
    case = Case(f"{workers} workers", partial(feeds.shuffled, num_workers=workers, **options))
    return train_whole(case).events


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_depends_on_the_number_of_workers(workers: int) -> None:
    """Order, noise in samples and in collating, dropout, losses, validation and what was logged."""
    collate: dict[str, Any] = {"collate_fn": feeds.noisy_collate}
    assert events_with(workers, **collate) == events_with(0, **collate)
