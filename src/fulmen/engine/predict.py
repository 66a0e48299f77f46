"""Prediction: what the module makes of each batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import torch

from fulmen.base.tree import move
from fulmen.engine.data import END, BatchStream
from fulmen.engine.dispatch import check_batch_hooks
from fulmen.engine.evaluate import (
    batch_transfer,
    evaluation_mode,
    evaluation_step,
    gradients_off,
    load_evaluation_data,
)
from fulmen.engine.loaders import WrappingSampler, can_be_remade, remake
from fulmen.engine.position import evaluation_start
from fulmen.engine.replay import make_exact
from fulmen.engine.sharding import is_sharded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fulmen.engine.run import Run


@dataclass
class Predictions:
    """What has been predicted so far, and for which samples; callbacks read it."""

    keep: bool = True
    predictions: list[list[Any]] = field(default_factory=list)
    """By loader, by batch."""
    current_batch_indices: list[int] = field(default_factory=list)
    """Indices into the data set of the batch under way; empty where the loader does not tell."""
    epoch_batch_indices: list[list[list[int]]] = field(default_factory=list)
    """By loader, by batch."""


class IndexRecorder(WrappingSampler):
    """Hands on the indices of a batch sampler, and remembers them for the loop."""

    def __init__(self, wrapped: Any) -> None:
        super().__init__(wrapped)
        self.batches: list[list[int]] = []

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.wrapped:
            self.batches.append(list(batch))
            yield batch


def predict(run: Run, predictions: Predictions) -> None:
    """Fill `predictions`.

    on_predict_start, on_predict_epoch_start
    for each loader, for each batch:
        on_predict_batch_start, predict_step, on_predict_batch_end
    on_predict_epoch_end, on_predict_end
    """
    loaders = load_evaluation_data(run, "predict")
    hooks = run.hooks
    if loaders.are_empty:
        return
    with evaluation_mode(run, "predict"), gradients_off(run):
        for call in hooks.on_predict_start:
            call()
        for call in hooks.on_predict_epoch_start:
            call()
        several = len(loaders.loaders) > 1
        if several:
            check_batch_hooks(run, "predict")
        for index, (loader, length) in enumerate(zip(loaders.loaders, loaders.lengths, strict=True)):
            _predict_loader(run, loader, length, index, predictions, several=several)
        for call in hooks.on_predict_epoch_end:
            call()
        for call in hooks.on_predict_end:
            call()


def _predict_loader(
    run: Run, loader: Any, length: float, dataloader_idx: int, predictions: Predictions, *, several: bool
) -> None:
    hooks = run.hooks
    index: tuple[int, ...] = (dataloader_idx,) if several else ()
    step = evaluation_step(run, "predict_step", several_loaders=several)
    transfer = batch_transfer(run)
    is_share = is_sharded(loader)
    loader, recorder = _recording(loader)
    if is_share:
        loader = make_exact(loader, seeds_data=False)
    start = evaluation_start(run, loader, dataloader_idx)
    send_to = run.strategy.root_device if transfer is None else None
    stream = BatchStream(loader, length, start, send_to=send_to)
    run.logbook.slots = run.logbook.scope("predict_step")
    outputs: list[Any] = []
    indices: list[list[int]] = []
    predictions.predictions.append(outputs)
    predictions.epoch_batch_indices.append(indices)
    batch_idx = 0
    while (batch := stream.take()) is not END:
        if transfer is not None:
            batch = transfer(batch, dataloader_idx)
        run.is_last_batch = stream.is_last
        if recorder is not None:
            predictions.current_batch_indices = recorder.batches.pop(0)
            indices.append(predictions.current_batch_indices)
        for call in hooks.on_predict_batch_start:
            call(batch, batch_idx, *index)
        output = step(batch, batch_idx, *index)
        if stream.prefetches:
            stream.prefetch()
        for call in hooks.on_predict_batch_end:
            call(output, batch, batch_idx, *index)
        if predictions.keep:
            outputs.append(output)
        batch_idx += 1
        if run.signals.noted:
            raise KeyboardInterrupt
    if is_share and predictions.keep:
        _bring_together(run, outputs)


def _bring_together(run: Run, outputs: list[Any]) -> None:
    """On rank 0, have the predictions for all batches, in the order of one process."""
    of_ranks = run.strategy.collectives.gather_objects(move(outputs, torch.device("cpu")))
    if run.strategy.world.is_global_zero:
        rounds = zip_longest(*of_ranks, fillvalue=_NONE)
        outputs[:] = [output for round_ in rounds for output in round_ if output is not _NONE]


_NONE = object()


def _recording(loader: Any) -> tuple[Any, IndexRecorder | None]:
    """A loader that tells which samples are in its batches, and where to read that."""
    if not can_be_remade(loader) or loader.batch_sampler is None:
        return loader, None
    recorder = IndexRecorder(loader.batch_sampler)
    return remake(loader, batch_sampler=recorder), recorder
