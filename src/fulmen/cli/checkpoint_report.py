"""What a checkpoint holds, as plain data."""

from __future__ import annotations

import math
import os
import reprlib
from typing import Any

import torch
from torch import Tensor

from fulmen.base import files
from fulmen.base.manifest import verify
from fulmen.base.safe_load import Unrestored, everything_in, load_tensors, unrestored_class
from fulmen.engine import lightning_loops
from fulmen.engine.checkpoint import OWN_KEY, VERSION_KEY
from fulmen.engine.progress import Progress, QuietPoint

PARTS = {
    "state_dict": "weights",
    "optimizer_states": "optimizers",
    "lr_schedulers": "schedulers",
    OWN_KEY: "run",
}
HPARAMS = {"hyper_parameters": "", "datamodule_hyper_parameters": "data."}
NO_PARTS = {"epoch", "global_step", VERSION_KEY, "loops", "hparams_name", "datamodule_hparams_name", *HPARAMS}

POINTS = {
    QuietPoint.BETWEEN_EPOCHS: "before epoch {epoch}",
    QuietPoint.BATCH_END: "in epoch {epoch}, after {batches}",
    QuietPoint.VALIDATED: "in epoch {epoch}, after {batches} and the validation due there",
    QuietPoint.EPOCH_END: "at the end of epoch {epoch}, before its schedulers that follow a metric",
    QuietPoint.EPOCH_DONE: "at the end of epoch {epoch}",
}


def report(path: str) -> dict[str, Any]:
    """What is in a checkpoint and whether it is intact; of a damaged one, only that."""
    verdict = verify(path)
    found: dict[str, Any] = {
        "path": path,
        "intact": verdict.intact,
        "checked_by": verdict.checked_by,
        "problem": verdict.problem,
    }
    if not verdict.intact:
        return found
    found["bytes"] = file_size(path)
    content = load_tensors(path, map_location="cpu", mmap=True)
    checkpoint = content if isinstance(content, dict) else {"content": content}
    if checkpoint and all(isinstance(value, Tensor) for value in checkpoint.values()):
        checkpoint = {"state_dict": checkpoint}
    found["epoch"], found["global_step"] = (_plain(checkpoint.get(key)) for key in ("epoch", "global_step"))
    found["saved"] = _position(checkpoint)
    found["resumable"], found["reasons"] = _exactness(checkpoint)
    versions = _dict(_dict(checkpoint.get(OWN_KEY)).get("versions"))
    found["versions"] = {str(name): str(_plain(version)) for name, version in versions.items()}
    if VERSION_KEY in checkpoint:
        found["versions"][VERSION_KEY] = str(_plain(checkpoint[VERSION_KEY]))
    parts = {key: part for key, part in checkpoint.items() if key not in NO_PARTS}
    found["parts"] = {PARTS.get(key, str(key)): _contents(part) for key, part in parts.items()}
    found["hyperparameters"] = {
        f"{prefix}{name}": _plain(value)
        for key, prefix in HPARAMS.items()
        for name, value in _dict(checkpoint.get(key)).items()
    }
    states = _dict(checkpoint.get("callbacks"))
    named = {str(unrestored_class(name) or name): _dict(state) for name, state in states.items()}
    found["callbacks"] = {name: _singles(state) for name, state in named.items()}
    return found


def file_size(path: str) -> int:
    """In bytes."""
    with files.open_file(path, "rb") as file:
        return file.seek(0, os.SEEK_END)


def _position(checkpoint: dict[str, Any]) -> str | None:
    """Where in the run it was saved, in words; None where it does not say so."""
    try:
        if OWN_KEY in checkpoint:
            progress = Progress()
            progress.load_state_dict(checkpoint[OWN_KEY]["progress"])
        else:
            progress = lightning_loops.to_progress(checkpoint["loops"], checkpoint["global_step"])
        epoch, batch = int(progress.epoch), int(progress.batch)
    except (LookupError, TypeError, ValueError, AttributeError):
        return None
    batches = f"{batch} batch{'es' * (batch != 1)}"
    return POINTS[progress.point].format(epoch=epoch, batches=batches)


def _exactness(checkpoint: dict[str, Any]) -> tuple[bool | None, list[str]]:
    """Whether a run goes on from it bit for bit, with reasons; None where that was not recorded."""
    if "optimizer_states" not in checkpoint:
        return False, ["it holds weights only"]
    if OWN_KEY not in checkpoint:
        saver = (
            f"Lightning {_plain(checkpoint[VERSION_KEY])}" if VERSION_KEY in checkpoint else "another program"
        )
        return None, [f"saved by {saver}"]
    exact = _dict(_dict(checkpoint[OWN_KEY]).get("exact"))
    if "resumable" not in exact:
        return None, ["saved by an early fulmen"]
    reasons = exact.get("reasons", ())
    return bool(exact["resumable"]), [str(reason) for reason in reasons if isinstance(reason, str)]


def _contents(part: Any) -> dict[str, Any]:
    """How many tensors there are in it, of what, and how large; memory that several share counts once."""
    tensors = [leaf for leaf in everything_in(part) if isinstance(leaf, Tensor)]
    storages = {}
    for tensor in tensors:
        if tensor.layout is torch.strided:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return {
        "bytes": sum(storages.values()),
        "tensors": len(tensors),
        "elements": sum(tensor.numel() for tensor in tensors),
        "dtypes": sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors}),
    }


def _dict(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _singles(state: dict[Any, Any]) -> dict[str, Any]:
    """The entries of a callback's state that are one value and not none."""
    single = (bool, int, float, str, Tensor)
    entries = {str(name): _plain(value) for name, value in state.items() if isinstance(value, single)}
    return {name: value for name, value in entries.items() if value != ""}


def _plain(value: Any) -> Any:
    """A value that JSON can hold and a line can show."""
    if isinstance(value, Tensor) and value.numel() == 1 and value.layout is torch.strided:
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Tensor):
        return f"tensor of {tuple(value.shape)}"
    if isinstance(value, type) and issubclass(value, Unrestored):
        return f"<unrestored {value.class_name}>"
    return _brief.repr(value)


_brief = reprlib.Repr()
_brief.maxlevel = 3  # which also bounds what is in there more than once
_brief.maxother = 100
