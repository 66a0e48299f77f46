"""Metrics of masks: all their forms, degenerate ones, and beside torchmetrics."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
import torchmetrics.functional.segmentation as theirs
import torchmetrics.segmentation
from torch import Tensor
from torch.nn.functional import one_hot

from fulmen.errors import ConfigError, UsageError
from fulmen.metrics.collection import MetricCollection
from fulmen.metrics.functional.segmentation import dice_score, mean_iou
from fulmen.metrics.segmentation import DiceScore, MeanIoU

CLASSES = 4
any_iou: Any = MeanIoU
any_dice: Any = DiceScore


def masks(*shape: int, classes: int = CLASSES - 1) -> tuple[Tensor, Tensor]:
    """Labels, the last of which is nowhere."""
    preds, target = torch.randint(0, classes, (2, *shape), generator=torch.Generator().manual_seed(3))
    return preds, target


def members(labels: Tensor) -> Tensor:
    return one_hot(labels, CLASSES).movedim(-1, 1)


class TestForms:
    @pytest.mark.parametrize("score", [mean_iou, dice_score])
    @pytest.mark.parametrize("shape", [(3, 6, 5), (3, 7), (3, 2, 3, 4)], ids=["2D", "1D", "3D"])
    def test_all_forms_of_a_mask_have_one_score(self, score: Any, shape: Any) -> None:
        preds, target = masks(*shape)
        own = partial(score, num_classes=CLASSES)
        expected = own(members(preds), members(target), input_format="one-hot")
        assert expected.shape == (3,)
        scores = members(preds) + torch.rand(members(preds).shape)
        for one in (members(preds).bool(), members(preds).float(), scores):
            torch.testing.assert_close(own(one, members(target), input_format="one-hot"), expected)
            torch.testing.assert_close(own(one, target, input_format="mixed"), expected)
            torch.testing.assert_close(own(target, one, input_format="mixed"), expected)
        if len(shape) > 2:
            for dtype in (torch.uint8, torch.int32):
                torch.testing.assert_close(own(preds.to(dtype), target, input_format="index"), expected)

    @pytest.mark.parametrize("score", [mean_iou, dice_score])
    def test_labels_without_samples_are_of_one(self, score: Any) -> None:
        preds, target = masks(6, 5)
        own = partial(score, num_classes=CLASSES, input_format="index")
        torch.testing.assert_close(own(preds, target), own(preds[None], target[None]))

    def test_pixels_of_no_class_and_of_two(self) -> None:
        target = torch.tensor([[[1, 1, 0, 0], [0, 0, 1, 0]]])
        preds = torch.tensor([[[1, 0, 0, 0], [1, 0, 1, 1]]])
        torch.testing.assert_close(mean_iou(preds, target, per_class=True), torch.tensor([[1 / 2, 1 / 3]]))
        torch.testing.assert_close(
            dice_score(preds, target, 2, average="none"), torch.tensor([[2 / 3, 1 / 2]])
        )

    @pytest.mark.parametrize("classes", [2, 21, 300])
    def test_few_classes_and_many(self, classes: int) -> None:
        preds, target = masks(2, 40, 30, classes=classes)
        options: dict[str, Any] = {"num_classes": classes, "input_format": "index", "per_class": True}
        torch.testing.assert_close(
            mean_iou(preds, target, **options), theirs.mean_iou(preds, target, **options)
        )

    def test_counts_stay_exact(self) -> None:
        metric = DiceScore(2, average="none", aggregation_level="global", input_format="index")
        target = torch.zeros(1, 4096, 4096, dtype=torch.uint8)
        preds = target.clone()
        preds[0, 0, 0] = 1
        for _ in range(3):
            metric.update(preds, target)
        assert metric.counts.tolist() == [[3 * (2**24 - 1), 0], [3 * (2**24 - 1), 3], [3 * 2**24, 0]]


class TestAgainstTorchmetrics:
    @pytest.mark.parametrize("include_background", [True, False])
    @pytest.mark.parametrize("average", ["micro", "macro", "weighted", "none"])
    @pytest.mark.parametrize("level", ["samplewise", "global"])
    @pytest.mark.filterwarnings("ignore:.*currently defaults to")
    def test_dice(self, include_background: bool, average: Any, level: Any) -> None:
        preds, target = masks(5, 6, 5)
        preds[1] = target[1] = 0
        target[2] = 0
        options: dict[str, Any] = {
            "num_classes": CLASSES,
            "include_background": include_background,
            "average": average,
            "aggregation_level": level,
            "input_format": "index",
        }
        torch.testing.assert_close(
            dice_score(preds, target, **options), theirs.dice_score(preds, target, **options), equal_nan=True
        )
        ours, other = DiceScore(**options), torchmetrics.segmentation.DiceScore(**options)
        for part in (slice(0, 2), slice(2, 5)):
            ours.update(preds[part], target[part])
            other.update(preds[part], target[part])
        torch.testing.assert_close(ours.compute(), other.compute(), equal_nan=True)

    @pytest.mark.parametrize("include_background", [True, False])
    @pytest.mark.parametrize("per_class", [True, False])
    def test_mean_iou(self, include_background: bool, per_class: bool) -> None:
        preds, target = masks(5, 6, 5)
        preds[1] = target[1] = 0
        options: dict[str, Any] = {
            "num_classes": CLASSES,
            "include_background": include_background,
            "per_class": per_class,
            "input_format": "index",
        }
        torch.testing.assert_close(
            mean_iou(preds, target, **options), theirs.mean_iou(preds, target, **options), equal_nan=True
        )
        ours, other = MeanIoU(**options), torchmetrics.segmentation.MeanIoU(**options)
        for part in (slice(0, 2), slice(2, 5)):
            ours.update(preds[part], target[part])
            other.update(preds[part], target[part])
        torch.testing.assert_close(ours.compute(), other.compute(), equal_nan=True)


class TestDegenerate:
    def test_what_is_nowhere(self) -> None:
        background = torch.zeros(2, 4, 4, dtype=torch.int64)
        options: dict[str, Any] = {"num_classes": 2, "include_background": False, "input_format": "index"}
        assert mean_iou(background, background, **options).isnan().all()
        assert mean_iou(background, background, per_class=True, **options).tolist() == [[-1], [-1]]
        for average in ("micro", "macro", "weighted", "none"):
            for level in ("samplewise", "global"):
                metric = partial(DiceScore, average=average, aggregation_level=level, **options)
                for zero_division, expected in ((math.nan, math.nan), (1.0, 1.0), (0.0, 0.0)):
                    one = metric(zero_division=zero_division)
                    one.update(background, background)
                    value = one.compute().squeeze()
                    torch.testing.assert_close(value, torch.tensor(expected), equal_nan=True)

    def test_a_perfect_mask_and_a_wrong_one(self) -> None:
        _, target = masks(2, 4, 4)
        for score in (mean_iou, dice_score):
            own = partial(score, num_classes=CLASSES, input_format="index")
            assert own(target, target).tolist() == [1, 1]
            assert own((target + 1) % CLASSES, target).tolist() == [0, 0]

    @pytest.mark.parametrize("average", ["micro", "macro", "weighted"])
    def test_a_single_pixel(self, average: Any) -> None:
        preds, target = torch.tensor([[[0, 1], [1, 0]]]), torch.tensor([[[0, 1], [0, 0]]])
        score = dice_score(preds, target, 3, False, average, "index")
        assert score.tolist() == pytest.approx([2 / 3])

    def test_classes_that_were_not_told_are_learnt(self) -> None:
        preds, target = masks(3, 4, 4)
        whole = MeanIoU(per_class=True)
        whole.update(members(preds), members(target))
        empty, share = MeanIoU(per_class=True), MeanIoU(per_class=True)
        share.update(members(preds), members(target))
        for merged in (empty, share):
            merged.merge_state(whole)
            torch.testing.assert_close(merged.compute(), whole.compute())
        assert whole.compute().shape == (CLASSES,)


class TestSharing:
    def test_global_dice_scores_are_counted_once(self) -> None:
        options: dict[str, Any] = {"aggregation_level": "global", "input_format": "index"}
        collection = MetricCollection(
            {
                "macro": DiceScore(CLASSES, **options),
                "micro": DiceScore(CLASSES, average="micro", include_background=False, **options),
                "samplewise": DiceScore(CLASSES, input_format="index"),
                "fewer": DiceScore(CLASSES - 1, **options),
            }
        )
        groups = sorted(map(sorted, collection.compute_groups.values()))
        assert groups == [["fewer"], ["macro", "micro"], ["samplewise"]]
        collection.update(*masks(3, 4, 4))
        apart = DiceScore(CLASSES, average="micro", include_background=False, **options)
        apart.update(*masks(3, 4, 4))
        assert collection.compute()["micro"] == apart.compute()


class TestErrors:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (partial(any_iou, 0), "received: 0"),
            (partial(any_iou, input_format="index"), "num_classes=None"),
            (partial(any_iou, 3, input_format="labels"), "'labels'"),
            (partial(any_dice, 3, average="mean"), "'mean'"),
            (partial(any_dice, 3, aggregation_level="sample"), "'sample'"),
            (partial(any_dice, 0), "received: 0"),
        ],
    )
    def test_options(self, make: Any, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            make()

    @pytest.mark.parametrize(
        ("preds", "target", "input_format", "message"),
        [
            ((2, 4, 4), (2, 4, 5), "index", r"preds \[2, 4, 4\], target \[2, 4, 5\]"),
            ((2, 3, 4, 4), (2, 4, 4), "index", r"both \[N, H, W\]"),
            ((2, 3, 4, 4), (2, 3, 4, 5), "one-hot", r"target \[2, 3, 4, 5\]"),
            ((2, 2, 4, 4), (2, 2, 4, 4), "one-hot", "num_classes=3"),
            ((2, 3), (2, 3), "one-hot", r"both \[N, C, H, W\]"),
            ((2, 4, 4), (2, 4, 4), "mixed", "one .*, the other"),
            ((2, 2, 4, 4), (2, 4, 4), "mixed", "num_classes=3"),
        ],
    )
    def test_shapes(self, preds: Any, target: Any, input_format: Any, message: str) -> None:
        zeros = partial(torch.zeros, dtype=torch.int64)
        with pytest.raises(UsageError, match=message):
            mean_iou(zeros(preds), zeros(target), 3, input_format=input_format)

    @pytest.mark.parametrize("label", [-1, 3, 255])
    def test_labels_that_are_no_class(self, label: int) -> None:
        preds, target = masks(2, 4, 4, classes=3)
        target[1, 2, 3] = label
        with pytest.raises(UsageError, match=rf"labels from .*{label}(.|\n)*from 0 to 2"):
            mean_iou(preds, target, 3, input_format="index")

    def test_labels_that_are_no_integers(self) -> None:
        preds, target = masks(2, 4, 4)
        with pytest.raises(UsageError, match=r"received: torch\.float32"):
            mean_iou(preds.float(), target, CLASSES, input_format="index")
