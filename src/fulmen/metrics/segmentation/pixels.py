"""How many pixels of each class there are, and how many are in both masks."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from fulmen.errors import ConfigError, UsageError
from fulmen.metrics.arguments import check_among, check_at_least

InputFormat = Literal["one-hot", "index", "mixed"]


class PixelCounts(NamedTuple):
    """Integers, for each sample and class: [N, C]."""

    common: Tensor
    """Pixels of the class in both masks."""
    preds: Tensor
    target: Tensor


def check_masks(num_classes: int | None, input_format: InputFormat) -> None:
    """Raise an error unless masks can be given so."""
    check_among("input_format", input_format, ("one-hot", "index", "mixed"))
    if num_classes is None and input_format == "index":
        raise ConfigError(
            "Masks of labels do not tell how many classes there are.",
            received="num_classes=None, input_format='index'",
            fix="give `num_classes`",
        )
    if num_classes is not None:
        check_at_least("num_classes", num_classes, 1)


def count_pixels(
    preds: Tensor, target: Tensor, num_classes: int | None, input_format: InputFormat
) -> PixelCounts:
    """Those of each sample and class.

    A mask is [N, H, W] or longer, or the [H, W] of one sample, with a label for each pixel; or [N, C, ...]
    with a truth value for each class, or with scores (of floating point), of which the highest is the label.
    """
    if input_format == "index" and preds.ndim < 3 and target.ndim < 3:
        preds, target = preds.unsqueeze(0), target.unsqueeze(0)
    masks = [_Mask(preds, preds.ndim > target.ndim), _Mask(target, target.ndim > preds.ndim)]
    if input_format != "mixed":
        masks = [_Mask(mask.values, input_format == "one-hot") for mask in masks]
    fits = preds.ndim != target.ndim if input_format == "mixed" else preds.ndim == target.ndim
    found = {mask.values.shape[1] for mask in masks if mask.has_classes and mask.values.ndim > 2}
    classes = num_classes or next(iter(found), 0)
    if not fits or masks[0].space != masks[1].space or (found != {classes} and input_format != "index"):
        raise UsageError(
            f"The masks do not fit together as {input_format!r}.",
            received=f"preds {list(preds.shape)}, target {list(target.shape)}, num_classes={num_classes}",
            expected=_EXPECTED[input_format],
        )
    labels = [mask.labels(classes) for mask in masks]
    if labels[0] is not None and labels[1] is not None:
        return _count_labels(labels[0], labels[1], classes)
    return _count_members(*(mask.members(classes) for mask in masks))


_EXPECTED = {
    "one-hot": "both [N, C, H, W]",
    "index": "both [N, H, W]",
    "mixed": "one [N, C, H, W], the other [N, H, W]",
}


class _Mask(NamedTuple):
    values: Tensor
    has_classes: bool
    """Whether the second dimension is that of classes."""

    @property
    def space(self) -> tuple[int, ...]:
        """Samples and pixels."""
        shape = self.values.shape
        return (*shape[:1], *shape[2:]) if self.has_classes else tuple(shape)

    def labels(self, classes: int) -> Tensor | None:
        """[N, pixels]; None where it is truth values, which may be of several classes, or of none."""
        if self.has_classes:
            return self.values.argmax(1).flatten(1) if self.values.is_floating_point() else None
        if self.values.is_floating_point():
            raise UsageError("Labels are integers.", received=self.values.dtype, expected="an integer type")
        labels = self.values.flatten(1).long()
        if labels.is_cpu and labels.numel():
            least, greatest = (int(extreme) for extreme in labels.aminmax())
            if least < 0 or greatest >= classes:
                raise UsageError(
                    "A label is none of the classes.",
                    received=f"labels from {least} to {greatest}",
                    expected=f"labels from 0 to {classes - 1}",
                )
        return labels

    def members(self, classes: int) -> Tensor:
        """Truth values, [N, C, pixels]."""
        labels = self.labels(classes)
        if labels is None:
            return self.values.flatten(2).bool()
        members = torch.zeros(len(labels), classes, labels.shape[1], dtype=torch.bool, device=labels.device)
        return members.scatter_(1, labels.unsqueeze(1), True)


def _count_members(preds: Tensor, target: Tensor) -> PixelCounts:
    return PixelCounts((preds & target).sum(2), preds.sum(2), target.sum(2))


def _count_labels(preds: Tensor, target: Tensor, classes: int) -> PixelCounts:
    samples, pixels = preds.shape
    if classes**2 > max(pixels, 1 << 10):  # more pairs of classes than there are pixels to be counted
        common = torch.where(preds == target, preds, classes)
        return PixelCounts(
            _histograms(common, classes + 1)[:, :classes],
            _histograms(preds, classes),
            _histograms(target, classes),
        )
    pairs = _histograms(torch.add(preds, target, alpha=classes), classes**2).view(samples, classes, classes)
    return PixelCounts(pairs.diagonal(dim1=1, dim2=2), pairs.sum(1), pairs.sum(2))


def _histograms(numbers: Tensor, size: int) -> Tensor:
    """How often each of 0 ... size - 1 is in each row."""
    samples = len(numbers)
    bins = (
        numbers
        if samples == 1
        else numbers + size * torch.arange(samples, device=numbers.device).unsqueeze(1)
    )
    if bins.is_cpu:
        return torch.bincount(bins.flatten(), minlength=samples * size).view(samples, size)
    counts = torch.zeros(
        samples * size, dtype=torch.int64, device=bins.device
    )  # `bincount` waits for the device
    return counts.scatter_add_(0, bins.flatten(), torch.ones_like(bins).flatten()).view(samples, size)
