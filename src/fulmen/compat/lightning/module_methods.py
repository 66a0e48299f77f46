"""Methods of a module that are gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fulmen.compat.lightning.export import to_onnx, to_torchscript
from fulmen.compat.lightning.progress import metrics_once
from fulmen.compat.lightning.steps import split_in_time
from fulmen.compat.spelling import say_modern
from fulmen.core.model_summary import ModelSummary


def grad_norm(self: Any, norm_type: float | str) -> dict[str, float]:
    """The norm of each parameter's gradient, and of all together."""
    say_modern("self.grad_norm(p)", "torch.linalg.vector_norm of each gradient")
    kind = float(norm_type)
    norms = {
        f"grad_{kind}_norm_{name}": torch.linalg.vector_norm(parameter.grad, kind)
        for name, parameter in self.named_parameters()
        if parameter.grad is not None
    }
    total = torch.linalg.vector_norm(torch.stack([*norms.values()]), kind) if norms else torch.zeros(())
    return {name: round(float(norm), 4) for name, norm in {**norms, f"grad_{kind}_norm_total": total}.items()}


def summarize(self: Any, mode: str | None = "top", max_depth: int | None = None) -> Any:
    """The table of the module's layers."""
    say_modern("self.summarize()", "ModelSummary(self, max_depth=1)")
    if max_depth is None:
        max_depth = -1 if mode == "full" else 1
    return ModelSummary(self, max_depth=max_depth)


def write_prediction(self: Any, name: str, value: Any, filename: str = "predictions.pt") -> None:
    """Add values to the list `name` of a file of predictions."""
    write_prediction_dict(self, {name: value}, filename)


def write_prediction_dict(
    self: Any, predictions_dict: dict[str, Any], filename: str = "predictions.pt"
) -> None:
    """Add values to the lists of a file of predictions."""
    say_modern("self.write_prediction(...)", "BasePredictionWriter, or trainer.predict")
    path = Path(filename)
    predictions = torch.load(path) if path.exists() else {}
    for name, values in predictions_dict.items():
        several = list(values) if isinstance(values, (list, Tensor)) else [values]
        predictions.setdefault(name, []).extend(several)
    torch.save(predictions, path)


def get_progress_bar_dict(self: Any) -> dict[str, Any]:
    """What the progress bar shows, for an override to add to."""
    return metrics_once(self.trainer.progress_bar_callback, self.trainer, self)


def tbptt_split_batch(self: Any, batch: Any, split_size: int) -> list[Any]:
    """The parts of a batch in time."""
    return list(split_in_time(batch, split_size))


METHODS = {
    method.__name__: method
    for method in (
        grad_norm,
        summarize,
        write_prediction,
        write_prediction_dict,
        get_progress_bar_dict,
        tbptt_split_batch,
        to_torchscript,
        to_onnx,
    )
}
