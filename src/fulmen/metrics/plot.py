"""Pictures of values: over steps, confusion matrices, curves, calibration.

Each function draws on the axes that it is given, or on those of a new figure, and returns figure and axes. A
new figure is the caller's alone: it opens no window and need not be closed; `figure.savefig(path)` writes it.
Needs matplotlib, the extra "plot".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fulmen.base.extras import require
from fulmen.errors import UsageError

Drawn = tuple[Any, Any]
"""Figure, and axes or an array of them."""

MOST_NUMBERS = 40
"""With more classes, numbers in the cells of a matrix could not be read."""

MOST_NAMES = 60
"""With more classes, only some are named at the edges."""

_GREY = "0.55"


def plot_values(values: Any, ax: Any = None, *, name: str = "") -> Drawn:
    """A value, or a list of them over steps: each a number, one for each class, or a dict of numbers."""
    steps = list(values) if isinstance(values, (list, tuple)) else [values]
    lines: dict[str, list[float]] = {}
    for step in steps:
        for label, number in _numbers(step, name):
            lines.setdefault(label, []).append(number)
    figure, ax = _on(ax)
    for label, numbers in lines.items():
        ax.plot(range(len(numbers)), numbers, marker="o", markersize=4, label=label)
    ax.set_xlabel("step")
    ax.set_ylabel(name)
    ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    ax.grid(alpha=0.3)
    if len(lines) > 1:
        ax.legend(fontsize="small", ncols=1 + len(lines) // 12)
    return figure, ax


def plot_matrix(
    matrix: Tensor,
    ax: Any = None,
    *,
    labels: Sequence[str] | None = None,
    add_text: bool = True,
    cmap: Any = None,
) -> Drawn:
    """A confusion matrix [C, C] as a heat map with its numbers; several, [L, 2, 2], beside one another."""
    matrix = matrix.detach().cpu()
    if matrix.ndim == 3:
        return _plot_matrices(matrix, ax, labels, add_text, cmap)
    size = len(matrix)
    side = min(max(3.5, 0.5 * size + 1.5), 16)
    figure, ax = _on(ax, (side, side))
    image = ax.imshow(matrix.numpy(), cmap=cmap or "Blues", vmin=0)
    names = [str(label) for label in (labels or range(size))]
    rotation = 45 if max(map(len, names)) > 3 else 0
    shown = slice(None, None, -(-size // MOST_NAMES))
    ax.set_xticks(range(size)[shown], names[shown], rotation=rotation, ha="right" if rotation else "center")
    ax.set_yticks(range(size)[shown], names[shown])
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    if add_text and size <= MOST_NUMBERS:
        _write_numbers(ax, matrix, image)
    else:
        figure.colorbar(image, ax=ax, fraction=0.046)
    return figure, ax


def plot_roc(fpr: Any, tpr: Any, ax: Any = None, *, scores: Any = None, name: str = "") -> Drawn:
    """The true positive rate over the false one, of one class (tensors) or several (lists, [C, T])."""
    figure, ax = _on(ax, (4.8, 4.8))
    _draw_curves(ax, fpr, tpr, scores)
    ax.plot((0, 1), (0, 1), linestyle="--", linewidth=1, color=_GREY, label="chance")
    return _square(figure, ax, "false positive rate", "true positive rate", name)


def plot_precision_recall(
    precision: Any, recall: Any, ax: Any = None, *, scores: Any = None, name: str = ""
) -> Drawn:
    """The precision over the recall, of one class (tensors) or several (lists, [C, T])."""
    figure, ax = _on(ax, (4.8, 4.8))
    _draw_curves(ax, recall, precision, scores, drawstyle="steps-post")
    return _square(figure, ax, "recall", "precision", name)


def plot_reliability(
    confidence: Tensor, accuracy: Tensor, number: Tensor, ax: Any = None, *, name: str = ""
) -> Drawn:
    """How often answers were right over how sure they were, by bin; in grey, how many each bin holds."""
    figure, ax = _on(ax, (4.8, 4.8))
    filled = number > 0
    share = _array(number) / max(int(number.sum()), 1)
    edges = [index / len(number) for index in range(len(number))]
    ax.bar(edges, share, width=1 / len(number), align="edge", color="0.85", label="share of samples")
    ax.plot((0, 1), (0, 1), linestyle="--", linewidth=1, color=_GREY, label="perfect")
    ax.plot(_array(confidence[filled]), _array(accuracy[filled]), marker="o", markersize=4, label="found")
    return _square(figure, ax, "confidence", "accuracy", name)


# ------------------------------------------------------------------------------------------------------ parts


def _on(ax: Any, size: tuple[float, float] | None = None) -> Drawn:
    """The axes that were given, or new ones."""
    if ax is not None:
        return ax.figure, ax
    figure = _new_figure(size)
    return figure, figure.subplots()


def _new_figure(size: tuple[float, float] | None) -> Any:
    figure = require("matplotlib.figure", extra="plot").Figure(figsize=size, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return figure


def _numbers(value: Any, name: str) -> Iterable[tuple[str, float]]:
    """The numbers in a value, and what each is called."""
    if isinstance(value, Mapping):
        return [(label, number) for key, part in value.items() for label, number in _numbers(part, str(key))]
    tensor = torch.as_tensor(value).detach().cpu()
    if tensor.ndim > 1:
        raise UsageError(
            f"The values of {name or 'this metric'} cannot be drawn over steps.",
            received=f"a tensor of shape {tuple(tensor.shape)}",
            expected="a number, or one for each class",
        )
    if tensor.ndim == 0:
        return [(name, tensor.item())]
    return [(f"class {index}", number) for index, number in enumerate(tensor.tolist())]


def _plot_matrices(matrices: Tensor, axes: Any, labels: Any, add_text: bool, cmap: Any) -> Drawn:
    """One confusion matrix [2, 2] for each label."""
    if axes is None:
        columns = min(len(matrices), 4)
        rows = -(-len(matrices) // columns)
        figure = _new_figure((2.4 * columns, 2.5 * rows))
        axes = figure.subplots(rows, columns, squeeze=False).flatten()
        for unused in axes[len(matrices) :]:
            unused.remove()
        axes = axes[: len(matrices)]
    names = labels or [f"label {index}" for index in range(len(matrices))]
    for matrix, ax, label in zip(matrices, axes, names, strict=True):
        plot_matrix(matrix, ax, add_text=add_text, cmap=cmap)
        ax.set_title(label, fontsize="medium")
    return axes[0].figure, axes


def _write_numbers(ax: Any, matrix: Tensor, image: Any) -> None:
    box = ax.get_window_extent()
    cell_points = min(box.width, box.height) / ax.figure.dpi * 72 / len(matrix)
    texts = [[f"{x:.2f}" if matrix.is_floating_point() else str(x) for x in row] for row in matrix.tolist()]
    longest = max(len(text) for row in texts for text in row)
    size = min(12.0, 1.4 * cell_points / max(longest, 2))
    for i, row in enumerate(texts):
        for j, text in enumerate(row):
            red, green, blue, _ = image.cmap(image.norm(matrix[i, j].item()))
            color = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
            ax.text(j, i, text, ha="center", va="center", color=color, fontsize=size)


def _draw_curves(ax: Any, x: Any, y: Any, scores: Any, **style: Any) -> None:
    several = not (isinstance(x, Tensor) and x.ndim == 1)
    for index, (of_x, of_y) in enumerate(zip(x, y, strict=True) if several else [(x, y)]):
        words = [f"class {index}"] if several else []
        if scores is not None:
            words.append(f"area {float(scores[index] if several else scores):.3f}")
        ax.plot(_array(of_x), _array(of_y), label=", ".join(words) or None, **style)


def _array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().double().numpy()


def _square(figure: Any, ax: Any, x: str, y: str, title: str) -> Drawn:
    """Both axes from 0 to 1."""
    ax.set(xlabel=x, ylabel=y, title=title, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    ax.grid(alpha=0.3)
    lines = len(ax.get_legend_handles_labels()[1])
    if lines:
        ax.legend(fontsize="small", ncols=1 + lines // 12)
    return figure, ax
