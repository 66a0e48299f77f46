"""Where a run stands in its data and in its random numbers: saved with it, and found again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from fulmen.base.generators import RandomState, isolate_rng, reseed
from fulmen.base.random import derive_seed, seed_of_this_moment
from fulmen.base.report import warn
from fulmen.engine.agreement import count_batches
from fulmen.engine.combined_loader import length_of
from fulmen.engine.data import BatchStream
from fulmen.engine.loaders import (
    Attributes,
    StandIn,
    begin_pass,
    changed_attributes,
    generators_of,
    restore_attributes,
    sampler_attributes,
)
from fulmen.engine.replay import Start, leave_pass, make_exact, obstacles
from fulmen.engine.sharding import share_rest, taken_together
from fulmen.engine.shared_stream import SharedStream
from fulmen.engine.states import TrainerFn
from fulmen.errors import CheckpointError

if TYPE_CHECKING:
    from fulmen.engine.run import Run

_TRAINING, _VALIDATION = range(2)


def seed_data(run: Run) -> None:
    """Decide what the random numbers drawn for a batch are derived from; a checkpoint may know better."""
    run.data_seed = run.strategy.broadcast(seed_of_this_moment())
    if run.strategy.world.rank:  # dropout and the like are drawn anew in each process
        reseed(derive_seed(run.data_seed, run.strategy.world.rank))


def open_stream(run: Run, *, send_to: torch.device | None) -> BatchStream:
    """Start the loader of the epoch under way, at the batch that comes next."""
    progress = run.progress
    loader, length = run.train_loaders.loaders[0], run.train_loaders.lengths[0]
    position, run.resumed_position = run.resumed_position, {}
    moment = "epoch" if progress.resumes_epoch else "now"
    restore_attributes([loader], position.get("samplers", {}).get(moment, []))
    begin_pass(loader, progress.epoch)
    generators = generators_of([loader])
    run.sampler_attributes = _changed_attributes(run)
    if progress.resumes_epoch and run.epoch_random_state is not None:
        run.epoch_random_state.restore(generators)  # the samples come in the order that was drawn then
    else:
        run.epoch_random_state = RandomState.capture(generators)
    done = progress.resumes_epoch and progress.is_last_batch
    states = position.get("states", ())
    was_left = (done or not progress.resumes_epoch) and not position.get("exhausted", True)
    if was_left:
        leave_pass(loader, states)
    start = Start(
        _seed(run, _TRAINING, progress.epoch),
        *_common_order(run, run.epoch_random_state, generators, _TRAINING, progress.epoch),
        0 if _is_moved_by_hand(run, position) else progress.batch,
        () if was_left else states,
        done=done,
    )
    own_length = position.get("own_length") if progress.resumes_epoch else None
    ended = own_length is not None and progress.batch >= own_length
    if _is_shared_anew(run, position):
        loader, ended = _share_rest(run, position["order"]), False
        length, start = length_of(loader), replace(start, skip=0, draws_at_once=True)
    elif ended:
        start = replace(start, skip=own_length, done=True)
    begin = partial(BatchStream, loader, length, start, send_to=send_to)
    if run.train_loaders.counts is not None or not run.train_loaders.are_counted:
        begin = _begin_together(run, loader, length, start, send_to, has_ended=ended, is_last=done)
    stream = begin()
    if progress.resumes_epoch:  # what was fetched ahead had drawn its random numbers before the checkpoint
        for number, state in enumerate(position.get("random_before_ahead", []), start=1):
            RandomState.from_state_dict(state).restore()
            stream.fetch_ahead(number)
        stream.fetch_ahead(position.get("ahead", 0))
        run.resumed_position = {"at_end": start.done and stream.has_states and not was_left}
    elif position.get("at_end") and stream.is_empty():  # it was put to where the epoch before had ended
        stream = begin()
    run.train_stream = stream
    return stream


def _begin_together(
    run: Run, loader: Any, length: float, start: Start, send_to: torch.device | None, **state: bool
) -> Callable[[], BatchStream]:
    """What begins a stream of which other processes may have more, or less."""
    counts, done = run.train_loaders.counts, run.progress.batch
    if run.shared_anew != (0, 0):
        done = 0
        if counts is not None:
            counts = count_batches(loader, run.strategy.collectives)
            length = max(counts.batches)
    return partial(
        SharedStream, loader, length, start, strategy=run.strategy, counts=counts, done=done, send_to=send_to,
        **state,
    )  # fmt: skip


def _is_shared_anew(run: Run, position: dict[str, Any]) -> bool:
    """Whether the epoch under way was begun by another number of processes."""
    if not run.progress.resumes_epoch:
        run.shared_anew = (0, 0)
        return False
    order = position.get("order")
    return order is not None and (order["size"] != run.strategy.world.size or order["anew"] != [0, 0])


def _share_rest(run: Run, order: dict[str, Any]) -> Any:
    """The loader over what is left of the epoch; over all of it from the next one on."""
    loader = run.train_loaders.loaders[0]
    if not isinstance(loader, StandIn):
        raise CheckpointError(
            "The rest of an epoch cannot be shared by another number of processes than have begun it.",
            received=f"{order['size']} and {run.strategy.world.size} processes; a {type(loader).__name__}",
            expected="a DataLoader over a map-style data set",
            fix="go on with as many processes, or from a checkpoint of an epoch's end",
        )
    run.shared_anew = (run.progress.batch, order["done"])
    done = 0 if run.progress.is_last_batch else order["done"]  # of an epoch that has ended nothing is taken
    rest = share_rest(loader.given, run.strategy.world, done, pads=not run.strategy.joins)
    run.train_loaders.loaders[0] = made = make_exact(rest, seeds_data=run.data_options.exact_data)
    return made


def _order_state(run: Run) -> dict[str, Any] | None:
    """How far the order is done that all processes share; None where they share none."""
    loader = run.train_loaders.loaders[0]
    if not isinstance(loader, StandIn):
        return None
    batch, done = run.shared_anew
    world = run.strategy.world
    done = taken_together(loader.given, world, run.progress.batch - batch, done=done)
    return {"size": world.size, "done": done, "anew": list(run.shared_anew)}


def _changed_attributes(run: Run) -> Attributes:
    loaders = run.train_loaders
    return changed_attributes(loaders.attributes_when_loaded, sampler_attributes(loaders.loaders))


def _is_moved_by_hand(run: Run, position: dict[str, Any]) -> bool:
    """Whether the user has seen to it that the loader begins after the batches that are done."""
    loaders = run.train_loaders
    length, before = length_of(loaders.loaders[0]), position.get("length")
    if before is None or length >= before or not run.progress.resumes_epoch:
        return False
    if loaders.lengths[0] == length:
        loaders.lengths[0] = before  # of the epochs after this one
    warn(
        f"The train loader has {int(length)} batches, and had {int(before)} when the checkpoint was "
        "saved: it is taken to begin after those that are done, and none are skipped."
    )
    return True


def loading_epoch(run: Run, kind: str) -> int:
    """The epoch in which loaders that are there now were asked for: that of the run which is taken up."""
    return run.resumed_loading_epochs.pop(kind, run.progress.epoch)


def evaluation_start(run: Run, loader: Any, loader_index: int) -> Start:
    """The beginning of a validation, of a test or of a prediction."""
    moment = (_VALIDATION, loader_index, run.progress.total_batch)
    if run.strategy.world.size == 1:
        return Start(_seed(run, *moment))
    generators = generators_of([loader])
    return Start(
        _seed(run, *moment), *_common_order(run, RandomState.capture(generators), generators, *moment)
    )


def _seed(run: Run, *parts: int) -> int | None:
    if run.fn is not TrainerFn.FITTING or not run.data_options.exact_data:
        return None
    return derive_seed(run.data_seed, run.strategy.world.rank, *parts)


def _common_order(
    run: Run, state: RandomState, generators: list[Any], *parts: int
) -> tuple[int | None, RandomState | None]:
    """What the order of the samples follows from, where all ranks go over the same: what rank 0 has.

    So it is the order of a single process that has come to the same random numbers.
    """
    world = run.strategy.world
    if world.size == 1:
        return None, None
    of_rank_0 = run.strategy.broadcast(state)
    if world.rank:
        of_rank_0.restore_others(generators)
    return derive_seed(run.data_seed, 0, *parts), of_rank_0 if world.rank else None


@contextmanager
def apart_from_training(run: Run) -> Iterator[None]:
    """Inside, whatever is drawn makes no difference to the random numbers of training."""
    if not run.data_options.exact_data:
        yield
        return
    try:
        with isolate_rng() as run.training_random_state:
            yield
    finally:
        run.training_random_state = None


def restore_random_state(run: Run) -> None:
    """Put the generators to where a checkpoint says they were, once."""
    if run.resumed_random_state is not None:
        run.resumed_random_state.restore(_generators_in_use(run))
        run.resumed_random_state = None


def _generators_in_use(run: Run) -> list[Any]:
    """The generators of this run's loaders, in an order that another process finds again."""
    kinds = [kind for kind in ("train", "val") if kind in run.loaders]
    return generators_of(loader for kind in kinds for loader in run.loaders[kind].loaders)


def position_state(run: Run) -> dict[str, Any]:
    """Where the loader of the epoch under way stands, apart from the number of batches that are done."""
    stream = run.train_stream
    loaded_at_epoch = {kind: loaders.loaded_at_epoch for kind, loaders in run.loaders.items()}
    state = {
        "seed": run.data_seed,
        "loaded_at_epoch": run.resumed_loading_epochs | loaded_at_epoch,
    }
    if stream is None:
        state = run.resumed_position | state
    else:
        taken = stream.taken - run.progress.batch
        length = length_of(run.train_loaders.loaders[0])
        state |= {
            "states": stream.states(),
            "exhausted": stream.is_exhausted,
            "ahead": stream.ahead + max(taken, 0),
            "length": None if length == float("inf") else length,
            "order": _order_state(run),
            "samplers": {"epoch": run.sampler_attributes, "now": _changed_attributes(run)},
            "random_before_ahead": [random.state_dict() for random in stream.random_before_ahead],
            "own_length": stream.own_length,
        }
    return state


def random_states(run: Run) -> dict[str, Any]:
    """The generators now, and when the epoch's loader started, which decided on the order of its samples."""
    now: RandomState | None = run.resumed_random_state or RandomState.capture(_generators_in_use(run))
    if run.training_random_state is not None:
        now = replace(run.training_random_state, others=now.others)
    # A window begins again, and nobody knows what they were then; so does a wait for an epoch's first batch.
    if run.accumulating or run.waits_for_first_batch:
        now = None
    epoch = run.epoch_random_state
    return {"now": now and now.state_dict(), "epoch": epoch and epoch.state_dict()}


def load_position(run: Run, own: dict[str, Any]) -> None:
    """Take up what `position_state` and `random_states` gave; nothing happens before the loader is opened."""
    states = {name: state and RandomState.from_state_dict(state) for name, state in own["random"].items()}
    run.resumed_random_state, run.epoch_random_state = states["now"], states["epoch"]
    run.resumed_position = own.get("loaders", {})
    run.data_seed = run.resumed_position.get("seed", run.data_seed)
    run.resumed_loading_epochs = dict(run.resumed_position.get("loaded_at_epoch", {}))


def exactness(run: Run) -> dict[str, Any]:
    """Whether a run that is taken up here does what this one does, and if not, why."""
    reasons = obstacles(run.loaders["train"].loaders if "train" in run.loaders else [])
    if not run.data_options.exact_data:
        reasons.append("exact_data=False: what is drawn at random depends on who draws first")
    if run.accumulating:
        reasons.append("it was saved inside an accumulation window, while an exception ended the run")
    elif run.in_the_middle:
        reasons.append("it was saved inside a step, while an exception ended the run")
    if run.shared_anew != (0, 0):
        reasons.append("the epoch was begun by another number of processes")
    reasons += run.not_undone + run.strategy.obstacles()
    return {"resumable": not reasons, "reasons": reasons}
