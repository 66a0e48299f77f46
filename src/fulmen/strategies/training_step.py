"""The training step as DistributedDataParallel sees it: a module, which it wraps."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fulmen.errors import ConfigError, UsageError


class TrainingStep(nn.Module):
    """A module whose `forward` is the training step; of a process that has no batch, one without effect."""

    def __init__(
        self, module: nn.Module, step: Callable[..., Any], *, may_leave_out_parameters: bool = False
    ) -> None:
        super().__init__()
        self.module = module
        self.weight = 1.0
        """How much this process counts in the mean over all of them; 0 where it has no batch."""
        self._step = step
        # Where parameters may be left out, a process without a batch must not use one that nobody else uses.
        self._anchor = None
        if may_leave_out_parameters:
            self._anchor = nn.Parameter(next(module.parameters()).new_zeros((), dtype=torch.float32))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """One training step."""
        weight = self.weight
        if weight == 1.0:
            return self._step(*args, **kwargs)
        if weight == 0.0:
            return self._nothing()
        returned = self._step(*args, **kwargs)
        loss = returned.get("loss") if isinstance(returned, Mapping) else returned
        if isinstance(loss, Tensor) and loss.requires_grad:
            loss.register_hook(lambda gradient: gradient * weight)
        return returned

    def _nothing(self) -> Tensor:
        """A loss of 0 whose gradients are 0; never NaN, as a multiple of 0 may be."""
        if self._anchor is not None:
            return self._anchor * 0.0
        trained = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        return torch.stack([parameter.reshape(-1)[:0].sum().float() for parameter in trained]).sum()


def naming_unused(step: DistributedDataParallel) -> Callable[..., Any]:
    """`step`, with an error that names the parameters without which torch cannot begin the next one."""
    module = step.module.module

    def named(*args: Any, **kwargs: Any) -> Any:
        try:
            return step(*args, **kwargs)
        except RuntimeError as error:
            frames = (frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__))
            if TrainingStep.forward.__code__ in frames:
                raise  # it was the user's code
            trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
            unused = [name for name, weight in trained.items() if weight.grad is None]
            if not 0 < len(unused) < len(trained):
                raise
            raise UsageError(
                "Some parameters had no part in the loss of the last step, and the processes wait for their "
                "gradients.",
                received=", ".join(unused),
                expected="a loss that depends on all parameters with `requires_grad`",
                fix='strategy="ddp_find_unused_parameters_true", which finds them in each step, '
                "or requires_grad_(False) for those that are never trained",
            ) from error

    return named


def check_join(module: nn.Module, arguments: Mapping[str, Any], *, by_hand: bool) -> None:
    """Raise `ConfigError` where processes without a batch cannot take part in the steps of the others."""
    if by_hand:
        raise join_error("manual optimization, where only `training_step` knows what is stepped, and when")
    if arguments.get("static_graph"):
        raise join_error("static_graph=True, which promises that all steps use the same parameters")
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise join_error("a module without parameters to train")
    for name, part in module.named_modules():
        if isinstance(part, nn.SyncBatchNorm):
            raise join_error(f"the SyncBatchNorm {name!r}, which waits for all processes in each step")
        if isinstance(part, (nn.Embedding, nn.EmbeddingBag)) and part.sparse:
            raise join_error(f"the sparse gradients of {name!r}")


def join_error(obstacle: str) -> ConfigError:
    """What is wrong where `uneven="join"` does not go with something."""
    return ConfigError(
        "uneven='join' lets processes that have no batch left take part in the steps of the others, which is "
        "impossible here.",
        received=obstacle,
        fix="DDPStrategy(uneven='pad')",
    )
