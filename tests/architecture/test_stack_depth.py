"""Between a user's call of `fit` and torch's backward there is little to read."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from torch import Tensor

from .small_runs import Batches, Regression, bare_trainer
from .sources import PACKAGE

MOST_FRAMES = 5


def framework_frames() -> list[str]:
    """Our functions on the stack, the innermost one first."""
    frames: list[str] = []
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(str(PACKAGE)):
            frames.append(f"{path.removeprefix(str(PACKAGE))}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return frames


@pytest.mark.parametrize(
    "options",
    [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 1.0}, {"precision": "bf16-mixed"}],
    ids=str,
)
def test_few_frames_from_fit_to_backward(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    stacks: list[list[str]] = []
    backward = Tensor.backward

    def recording(self: Tensor, *args: Any, **kwargs: Any) -> None:
        stacks.append(framework_frames())
        backward(self, *args, **kwargs)

    monkeypatch.setattr(Tensor, "backward", recording)
    bare_trainer(**options).fit(Regression(), Batches(4))

    assert len(stacks) == 4
    for frames in stacks:
        assert frames[-1].endswith(" fit")
        assert len(frames) <= MOST_FRAMES, "\n".join(["", *frames])


def test_few_frames_from_validate_to_the_step() -> None:
    stacks: list[list[str]] = []

    class Looking(Regression):
        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            stacks.append(framework_frames())

    bare_trainer().validate(Looking(), Batches(2), verbose=False)

    assert len(stacks) == 2
    for frames in stacks:
        assert frames[-1].endswith(" validate")
        assert len(frames) <= MOST_FRAMES, "\n".join(["", *frames])
