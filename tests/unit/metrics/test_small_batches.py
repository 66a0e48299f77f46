"""Counts of small batches, which are kept for later: nobody may see that they are."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.metrics import confusion_matrix
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fulmen.errors import UsageError
from fulmen.metrics import (
    MetricCollection,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassRecall,
)

CLASSES = 4
Batch = tuple[Tensor, Tensor]


def batches(number: int, size: int = 8, seed: int = 0) -> list[Batch]:
    draw = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(size, CLASSES, generator=draw), torch.randint(CLASSES, (size,), generator=draw))
        for _ in range(number)
    ]


def expected(given: list[Batch]) -> list[list[int]]:
    """The matrix that scikit-learn has for all of them."""
    labels = [label for _, target in given for label in target.flatten().tolist()]
    predicted = [label for preds, _ in given for label in preds.argmax(1).flatten().tolist()]
    if not labels:  # which scikit-learn refuses
        return [[0] * CLASSES] * CLASSES
    return confusion_matrix(labels, predicted, labels=range(CLASSES)).tolist()


def updated(given: list[Batch]) -> MulticlassConfusionMatrix:
    metric = MulticlassConfusionMatrix(CLASSES)
    for batch in given:
        metric.update(*batch)
    return metric


@pytest.mark.parametrize("size", [0, 1, 8, 64, 65])
@pytest.mark.parametrize("number", [1, 2, 3, 40])
def test_all_batches_are_counted(number: int, size: int) -> None:
    given = batches(number, size)
    metric = updated(given)
    assert metric.compute().tolist() == expected(given)
    assert metric.update_count == number


def test_more_batches_than_are_kept() -> None:
    given = batches(1500)
    metric = updated(given)
    assert metric.compute().tolist() == expected(given)


def synchronised(metric: MulticlassConfusionMatrix) -> None:
    """Two processes that have the same."""
    alone = metric.clone().compute()
    both = {"distributed_available": lambda: True, "dist_sync_fn": lambda tensor, group: [tensor, tensor]}
    with metric.sync_context(**both):
        assert torch.equal(metric.clone().compute(), 2 * alone)


def reset_of_another(metric: MulticlassConfusionMatrix) -> None:
    metric.clone().reset()


def another_updated(copied: Callable[[Any], Any]) -> Callable[[MulticlassConfusionMatrix], None]:
    """What is done to a copy shows in the copy alone."""

    def look(metric: MulticlassConfusionMatrix) -> None:
        other, [batch] = copied(metric), batches(1, seed=9)
        held = other.clone().compute()
        other.update(*batch)
        assert torch.equal(other.compute(), held + torch.tensor(expected([batch])))

    return look


def called(metric: MulticlassConfusionMatrix) -> None:
    [batch] = batches(1, seed=9)
    assert metric.clone()(*batch).tolist() == expected([batch])


def refused(metric: MulticlassConfusionMatrix) -> None:
    [(preds, target)] = batches(1, seed=9)
    target[-1] = CLASSES
    with pytest.raises(UsageError, match=f"labels from 0 to {CLASSES - 1}"):
        metric.update(preds, target)


LOOKS: dict[str, Callable[[MulticlassConfusionMatrix], object]] = {
    "compute": lambda metric: metric.compute(),
    "counts": lambda metric: metric.counts,
    "metric_state": lambda metric: metric.metric_state,
    "state_dict": lambda metric: (metric.persistent(True), metric.state_dict()),
    "to": lambda metric: metric.to("cpu"),
    "set_dtype": lambda metric: metric.set_dtype(torch.float64),
    "sync": synchronised,
    "reset of another": reset_of_another,
    "clone": another_updated(lambda metric: metric.clone()),
    "copy": another_updated(copy.copy),
    "deepcopy": another_updated(copy.deepcopy),
    "pickle": another_updated(lambda metric: pickle.loads(pickle.dumps(metric))),
    "first pickle": another_updated(lambda metric: pickle.loads(pickle.dumps(metric, 0))),
    "call of another": called,
    "bad batch": refused,
}


@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize("before", [1, 2, 3, 5])
def test_whatever_is_looked_at_in_between(name: str, before: int) -> None:
    given = batches(before + 4)
    metric = updated(given[:before])
    LOOKS[name](metric)
    for number, batch in enumerate(given[before:], before + 1):
        metric.update(*batch)
        assert metric.update_count == number
    assert metric.compute().tolist() == expected(given)


@pytest.mark.parametrize("before", [1, 2, 3, 5])
def test_what_is_seen_is_all_that_was_added(before: int) -> None:
    given = batches(before)
    wanted = torch.tensor(expected(given)).flatten()
    assert torch.equal(torch.as_tensor(updated(given).counts), wanted)
    assert torch.equal(torch.as_tensor(updated(given).metric_state["counts"]), wanted)
    metric = updated(given)
    metric.persistent(True)
    assert torch.equal(metric.state_dict()["counts"], wanted)


def test_states_that_were_given_away_stay_as_they_are() -> None:
    given = batches(9)
    metric = updated(given[:4])
    taken: Any = metric.metric_state
    for batch in given[4:]:
        metric.update(*batch)
    assert taken["counts"].view(CLASSES, CLASSES).tolist() == expected(given[:4])


def test_a_reset_forgets_them() -> None:
    given = batches(9)
    metric = updated(given[:5])
    metric.reset()
    for batch in given[5:]:
        metric.update(*batch)
    assert metric.compute().tolist() == expected(given[5:])


def test_states_that_are_put_in_replace_them() -> None:
    given = batches(9)
    metric, other = updated(given[:5]), updated(given[5:])
    metric.counts = other.counts
    assert metric.compute().tolist() == expected(given[5:])
    other.persistent(True)
    loaded = updated(given[:5])
    loaded.persistent(True)
    loaded.load_state_dict(other.state_dict())
    assert loaded.compute().tolist() == expected(given[5:])


class CountsSamples(MulticlassConfusionMatrix):
    """Has a state besides the counts."""

    def __init__(self) -> None:
        super().__init__(CLASSES)
        self.add_state("samples", torch.tensor(0), "sum", persistent=True)

    def update(self, preds: Tensor, target: Tensor) -> None:
        super().update(preds, target)
        self.samples = self.samples + len(target)


def test_they_stay_where_other_states_are_put_in() -> None:
    given = batches(5)
    metric = CountsSamples()
    for batch in given:
        metric.update(*batch)
    metric.load_state_dict({"samples": torch.tensor(3)})
    assert metric.samples == 3
    assert metric.compute().tolist() == expected(given)
    again = updated(given)
    again._update_count = 1
    assert again.compute().tolist() == expected(given)


def test_in_two_collections() -> None:
    given = batches(5)
    both = MulticlassConfusionMatrix(CLASSES)
    one = MetricCollection({"both": both, "recall": MulticlassRecall(CLASSES, average="micro")})
    two = MetricCollection({"both": both, "accuracy": MulticlassAccuracy(CLASSES, average="micro")})
    for batch in given[:4]:
        one.update(*batch)
    assert two["accuracy"].update_count == 0
    assert two["accuracy"].counts.sum() == 0
    two.update(*given[4])
    assert both.compute().tolist() == expected(given)
    assert two["accuracy"].counts.view(CLASSES, CLASSES).tolist() == expected(given[4:])
    assert one["recall"].counts.view(CLASSES, CLASSES).tolist() == expected(given[:4])


def test_others_are_merged_in() -> None:
    given = batches(9)
    metric = updated(given[:4])
    metric.merge_state(updated(given[4:]))
    assert metric.update_count == 9
    metric.update(*given[0])
    assert metric.compute().tolist() == expected([*given, given[0]])


def as_labels(batch: Batch) -> Batch:
    return batch[0].argmax(1), batch[1]


def in_images(batch: Batch) -> Batch:
    return batch[0].T[None], batch[1][None]


KINDS: dict[str, Callable[[Batch], Batch]] = {
    "labels": as_labels,
    "images": in_images,
    "half": lambda batch: (batch[0].half(), batch[1]),
    "bfloat16": lambda batch: (batch[0].bfloat16(), batch[1]),
    "float64": lambda batch: (batch[0].double(), batch[1]),
    "int32": lambda batch: (batch[0], batch[1].int()),
    "uint8": lambda batch: (batch[0], batch[1].byte()),
    "gradients": lambda batch: (batch[0].clone().requires_grad_(), batch[1]),
    "parameter": lambda batch: (torch.nn.Parameter(batch[0]), batch[1]),
    "columns": lambda batch: (batch[0].T.contiguous().T, batch[1]),
    "long": lambda batch: (batch[0].repeat(20, 1), batch[1].repeat(20)),
}


@pytest.mark.parametrize("name", KINDS)
def test_batches_of_other_kinds_in_between(name: str) -> None:
    given = batches(8)
    shown = [KINDS[name](batch) if index in (3, 6, 7) else batch for index, batch in enumerate(given)]
    repeats = 20 if name == "long" else 1
    counted = [batch for i, batch in enumerate(given) for _ in range(repeats if i in (3, 6, 7) else 1)]
    if name in ("half", "bfloat16"):  # where scores may be equal that were not
        counted = [(shown[i][0].float(), batch[1]) for i, batch in enumerate(given)]
    assert updated(shown).compute().tolist() == expected(counted)


SCORES, LABELS = batches(1)[0]
BAD: dict[str, Batch] = {
    "too high": (SCORES, LABELS.clone().fill_(CLASSES)),
    "far too high": (SCORES, LABELS + 300),
    "negative": (SCORES, LABELS - 1 - LABELS),
    "float labels": (SCORES, LABELS.float()),
    "integer scores": (SCORES.long(), LABELS),
    "classes": (SCORES[:, 1:], LABELS),
    "fewer labels": (SCORES, LABELS[1:]),
    "fewer scores": (SCORES[1:], LABELS),
    "labels in a column": (SCORES, LABELS[:, None]),
    "one label": (SCORES, LABELS[0]),
    "nothing in columns": (SCORES[:0], LABELS[:0, None].expand(0, 5)),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("before", [0, 1, 2, 4])
def test_a_bad_batch_is_refused_at_once_and_leaves_nothing(name: str, before: int) -> None:
    given = batches(before)
    metric = updated(given)
    with pytest.raises(UsageError):
        metric.update(*BAD[name])
    assert metric.update_count == before
    assert torch.as_tensor(metric.counts).sum() == sum(len(target) for _, target in given)


def collection() -> MetricCollection:
    return MetricCollection(
        {"matrix": MulticlassConfusionMatrix(CLASSES), "recall": MulticlassRecall(CLASSES, average="micro"),
         "accuracy": MulticlassAccuracy(CLASSES, average="micro"), "score": MulticlassF1Score(CLASSES)}
    )  # fmt: skip


COLLECTED: dict[str, Callable[[MetricCollection], object]] = {
    "compute": lambda metrics: metrics.compute(),
    "compute one": lambda metrics: metrics["recall"].compute(),
    "compute the first": lambda metrics: metrics["matrix"].compute(),
    "states": lambda metrics: metrics.metric_state,
    "clone": lambda metrics: metrics.clone().update(*batches(1, seed=9)[0]),
    "pickle": lambda metrics: pickle.loads(pickle.dumps(metrics)).update(*batches(1, seed=9)[0]),
    "to": lambda metrics: metrics.to("cpu"),
    "set_dtype": lambda metrics: metrics.set_dtype(torch.float64),
}


@pytest.mark.parametrize("name", COLLECTED)
@pytest.mark.parametrize("before", [1, 2, 3, 5])
def test_in_a_collection(name: str, before: int) -> None:
    given = batches(before + 4)
    metrics = collection()
    assert len(metrics.compute_groups) == 1
    for batch in given[:before]:
        metrics.update(*batch)
    COLLECTED[name](metrics)
    for number, batch in enumerate(given[before:], before + 1):
        metrics.update(*batch)
        alone = updated(given[:number]).compute()
        values = metrics.compute()
        assert torch.equal(values["matrix"], alone)
        for micro in (values["accuracy"], values["recall"]):
            assert micro.item() == pytest.approx((alone.trace() / alone.sum()).item())
        assert {metric.update_count for metric in metrics.values()} == {number}


@pytest.mark.parametrize("alone", ["matrix", "recall", "score"])
@pytest.mark.parametrize("before", [1, 2, 3, 5])
def test_one_of_a_collection_that_is_updated_alone(alone: str, before: int) -> None:
    """It has the batch, and the others do not, before and after the next batches for all."""
    given, [own] = batches(before + 3), batches(1, seed=9)
    metrics = collection()
    for batch in given[:before]:
        metrics.update(*batch)
    metrics[alone].update(*own)
    for batch in given[before:]:
        metrics.update(*batch)
    for name, metric in metrics.items():
        wanted = expected([*given, own] if name == alone else given)
        assert metric.counts.view(CLASSES, CLASSES).tolist() == wanted
        assert metric.update_count == len(given) + (name == alone)


def test_a_value_is_kept_until_the_next_batch_of_the_collection() -> None:
    given = batches(6)
    metrics = collection()
    for batch in given[:4]:
        metrics.update(*batch)
    first = metrics["recall"].compute()
    assert metrics["recall"].compute() is first
    metrics.update(*given[4])
    matrix = torch.tensor(expected(given[:5]))
    assert torch.isclose(metrics["recall"].compute(), matrix.trace() / matrix.sum())
    metrics.reset()
    metrics.update(*given[5])
    matrix = torch.tensor(expected(given[5:]))
    assert torch.isclose(metrics["recall"].compute(), matrix.trace() / matrix.sum())


@pytest.mark.parametrize("device", ["meta"])
def test_a_default_device_does_not_matter(device: str) -> None:
    given, [nothing] = batches(4), batches(1, 0)
    metric, empty = updated(given[:1]), updated([nothing])
    with torch.device(device):
        for batch in given[1:]:
            metric.update(*batch)
            empty.update(*nothing)
        counts, zeros = metric.counts, empty.counts
    assert torch.as_tensor(counts).view(CLASSES, CLASSES).tolist() == expected(given)
    assert torch.as_tensor(zeros).tolist() == [0] * CLASSES**2


@pytest.mark.parametrize("options", [{"top_k": 2}, {"ignore_index": 1}], ids=str)
def test_other_ways_of_counting(options: dict[str, Any]) -> None:
    """Those that are no matter of the predicted label alone."""
    given = batches(6)
    metric = MulticlassAccuracy(CLASSES, average="micro", **options)
    for batch in given:
        metric.update(*batch)
    preds, target = (torch.cat(part) for part in zip(*given, strict=True))
    kept = target != options.get("ignore_index", -1)
    best = preds.topk(options.get("top_k", 1), 1).indices
    hits = (best == target[:, None]).any(1)[kept]
    assert metric.compute() == pytest.approx(hits.float().mean().item())


class Interrupt(BaseException):
    """Ctrl-C."""


def interrupted_at(instruction: int, call: Callable[[], object]) -> bool:
    """Whether a call was left at an instruction of the code that counts; False where it has not as many."""
    left = instruction

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal left
        if "metrics/" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left < 0:
                raise Interrupt
        return trace

    sys.settrace(trace)
    try:
        call()
    except Interrupt:
        return True
    finally:
        sys.settrace(None)
    return False


@pytest.mark.parametrize("together", [False, True])
def test_an_interrupt_leaves_a_batch_in_or_out(together: bool) -> None:
    given, [last] = batches(4), batches(1, seed=9)
    for instruction in range(1000):
        metric: Any = collection() if together else MulticlassConfusionMatrix(CLASSES)
        for batch in given:
            metric.update(*batch)
        done = not interrupted_at(instruction, lambda added=metric: added.update(*last))
        parts = list(metric.values()) if together else [metric]
        for part in parts:
            seen = part.counts.view(CLASSES, CLASSES).tolist()
            assert seen in (
                [expected([*given, last])] if done else [expected(given), expected([*given, last])]
            )
        metric.reset()
        metric.update(*last)
        assert all(part.counts.view(CLASSES, CLASSES).tolist() == expected([last]) for part in parts)
        if done:
            return
    pytest.fail("no update came to its end")


def test_an_interrupt_while_they_are_counted_loses_none() -> None:
    given = batches(5)
    for instruction in range(1000):
        metric = updated(given)
        done = not interrupted_at(instruction, lambda looked=metric: looked.counts)
        assert metric.compute().tolist() == expected(given)
        if done:
            return
    pytest.fail("nothing came to its end")


class Attentive(CountsSamples):
    """Keeps lists, and states that change in place, besides the counts."""

    targets: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("targets", [], "cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        super(CountsSamples, self).update(preds, target)
        self.samples += len(target)
        self.targets.append(target)


@pytest.mark.parametrize(
    "look", [lambda metric: metric.compute(), lambda metric: setattr(metric, "_update_count", 4)]
)
def test_one_that_was_looked_at_and_is_updated_alone(look: Callable[[Any], object]) -> None:
    given, [own] = batches(4), batches(1, seed=9)
    metrics = MetricCollection({"one": Attentive(), "two": Attentive()}, compute_groups=[["one", "two"]])
    for batch in given:
        metrics.update(*batch)
    look(metrics["two"])
    metrics["two"].update(*own)
    for name, wanted in (("one", given), ("two", [*given, own])):
        metric = metrics[name]
        assert metric.counts.view(CLASSES, CLASSES).tolist() == expected(wanted)
        assert metric.samples == 8 * len(wanted)
        assert len(metric.targets) == len(wanted)


@pytest.mark.parametrize("name", COLLECTED)
def test_one_update_does_for_all_after_a_look(name: str) -> None:
    given = batches(6)
    metrics = collection()
    for batch in given[:4]:
        metrics.update(*batch)
    COLLECTED[name](metrics)
    metrics.update(*given[4])
    with Operations() as operations:
        metrics.update(*given[5])
    assert operations.names.count("argmax") == 1


class Operations(TorchDispatchMode):
    """The names of torch's operations inside."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))
