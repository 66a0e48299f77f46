"""Trains parts of a model from a certain epoch on: until then they are frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from fulmen.base.report import info, warn
from fulmen.base.seams import understood
from fulmen.core.callback import Callback
from fulmen.errors import UsageError

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer

Modules = nn.Module | Iterable["Modules"]
"""A module, or modules in lists, however deep."""


def multiplicative(epoch: int) -> float:
    """The factor by which `BackboneFinetuning` raises its learning rate from epoch to epoch."""
    return 2.0


class BaseFinetuning(Callback):
    """Override `freeze_before_training` and `finetune_function` to say what is trained when.

    Batch norm that is frozen does not follow the data either. `configure_optimizers` has to leave out what
    is frozen: `Adam(p for p in self.parameters() if p.requires_grad)`.
    """

    def __init__(self) -> None:
        self._state: dict[str, Any] = {"internal_optimizer_metadata": {}}
        self._resumes = False

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        """Freeze what is not trained from the beginning; called before `configure_optimizers`."""
        raise UsageError(
            f"{type(self).__name__} does not say what to freeze.",
            fix="def freeze_before_training(self, pl_module): self.freeze(pl_module.backbone)",
        )

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Unfreeze what is trained from this epoch on; called at its start, for each optimizer."""
        raise UsageError(
            f"{type(self).__name__} does not say what to unfreeze.",
            fix="def finetune_function(self, pl_module, epoch, optimizer): "
            "if epoch == 5: self.unfreeze_and_add_param_group(pl_module.backbone, optimizer)",
        )

    # ---------------------------------------------------------------------------------------------- the tools

    @staticmethod
    def flatten_modules(modules: Modules) -> list[nn.Module]:
        """Those of the modules inside that have no parts, or parameters of their own."""
        if not isinstance(modules, nn.Module):
            return [part for module in modules for part in BaseFinetuning.flatten_modules(module)]
        return [m for m in modules.modules() if not any(m.children()) or m._parameters]

    @staticmethod
    def filter_params(
        modules: Modules, train_bn: bool = True, requires_grad: bool = True
    ) -> Iterator[nn.Parameter]:
        """The parameters whose `requires_grad` is as said; without those of batch norm if not `train_bn`."""
        for module in BaseFinetuning.flatten_modules(modules):
            if train_bn or not isinstance(module, _BatchNorm):
                for parameter in module.parameters(recurse=False):
                    if parameter.requires_grad is requires_grad:
                        yield parameter

    @staticmethod
    def make_trainable(modules: Modules) -> None:
        """Unfreeze everything inside."""
        for module in BaseFinetuning.flatten_modules(modules):
            _set_trainable(module, True)

    @staticmethod
    def freeze_module(module: nn.Module) -> None:
        """Freeze the parameters of this module, not those of its parts."""
        _set_trainable(module, False)

    @staticmethod
    def freeze(modules: Modules, train_bn: bool = True) -> None:
        """Freeze everything inside; with `train_bn`, all but batch norm, which is unfrozen."""
        for module in BaseFinetuning.flatten_modules(modules):
            _set_trainable(module, train_bn and isinstance(module, _BatchNorm))

    @staticmethod
    def filter_on_optimizer(optimizer: Optimizer, params: Iterable[nn.Parameter]) -> list[nn.Parameter]:
        """The parameters that the optimizer does not have yet."""
        present = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        return [parameter for parameter in params if id(parameter) not in present]

    @staticmethod
    def unfreeze_and_add_param_group(
        modules: Modules,
        optimizer: Optimizer,
        lr: float | None = None,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
    ) -> None:
        """Unfreeze everything inside, and train it in a new group of the optimizer.

        At the learning rate `lr`; without one, at that of the first group divided by `initial_denom_lr`.
        """
        frozen = list(BaseFinetuning.filter_params(modules, requires_grad=False))
        if len(BaseFinetuning.filter_on_optimizer(optimizer, frozen)) < len(frozen):
            warn(
                "Frozen parameters that are to be trained from now on are in the optimizer already, and stay "
                "in their group. Leave them out in configure_optimizers: "
                f"{type(optimizer).__name__}(p for p in self.parameters() if p.requires_grad)"
            )
        BaseFinetuning.make_trainable(modules)
        trained = BaseFinetuning.filter_params(modules, train_bn=train_bn)
        new = BaseFinetuning.filter_on_optimizer(optimizer, trained)
        if new:
            rate = optimizer.param_groups[0]["lr"] / initial_denom_lr if lr is None else float(lr)
            optimizer.add_param_group({"params": new, "lr": rate})

    # --------------------------------------------------------------------------------------------- in the run

    def state_dict(self) -> dict[str, Any]:
        if self._module is not None:
            self._state = _describe(self._module)
        return {**self._state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._state, self._resumes = {**state_dict}, True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._resumes = False
        if stage == "fit":
            self.freeze_before_training(pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._resumes:
            _take_up(pl_module, self._state)
            trainer.optimizers = trainer.optimizers  # for the strategy, which looks at what is trained

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        before = _frozen(pl_module)
        for optimizer in trainer.optimizers:
            self.finetune_function(pl_module, trainer.current_epoch, optimizer)
        if _frozen(pl_module) != before:
            trainer.optimizers = trainer.optimizers

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._state = _describe(pl_module)


class BackboneFinetuning(BaseFinetuning):
    """Trains `pl_module.backbone` from `unfreeze_backbone_at_epoch` on.

    Args:
        lambda_func: the factor, by epoch, by which the backbone's learning rate is raised at each later one.
        backbone_initial_ratio_lr: what it begins with, as a share of the learning rate of the first group.
        backbone_initial_lr: the same as a number.
        should_align: whether it stops at the learning rate of the first group.
        initial_denom_lr: of no effect, as the first learning rate is given in another way.
        train_bn: whether batch norm in the backbone is trained from the beginning.
        verbose: whether the learning rates are told at each epoch, to `rounding` digits.
    """

    @understood
    def __init__(
        self,
        unfreeze_backbone_at_epoch: int = 10,
        lambda_func: Callable[[int], float] = multiplicative,
        backbone_initial_ratio_lr: float = 10e-2,
        backbone_initial_lr: float | None = None,
        should_align: bool = True,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
        verbose: bool = False,
        rounding: int = 12,
    ) -> None:
        super().__init__()
        self.unfreeze_backbone_at_epoch = unfreeze_backbone_at_epoch
        self.lambda_func = lambda_func
        self.backbone_initial_ratio_lr = backbone_initial_ratio_lr
        self.backbone_initial_lr = backbone_initial_lr
        self.should_align = should_align
        self.initial_denom_lr = initial_denom_lr
        self.train_bn = train_bn
        self.verbose = verbose
        self.rounding = rounding
        self.previous_backbone_lr: float | None = None
        """The backbone's learning rate; None while it is frozen."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "previous_backbone_lr": self.previous_backbone_lr}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = {**state_dict}
        self.previous_backbone_lr = state.pop("previous_backbone_lr")
        super().load_state_dict(state)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self.previous_backbone_lr = None
            if not isinstance(getattr(pl_module, "backbone", None), nn.Module):
                raise UsageError(
                    f"{type(pl_module).__name__} has no part `backbone`, which BackboneFinetuning needs.",
                    fix="self.backbone = ... in its __init__, or a subclass of BaseFinetuning",
                )
        super().setup(trainer, pl_module, stage)

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        self.freeze(pl_module.backbone, train_bn=self.train_bn)

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        if epoch < self.unfreeze_backbone_at_epoch:
            return
        rate = optimizer.param_groups[0]["lr"]
        if self.previous_backbone_lr is None or epoch == self.unfreeze_backbone_at_epoch:
            backbone_rate = self.backbone_initial_lr
            if backbone_rate is None:
                backbone_rate = rate * self.backbone_initial_ratio_lr
            self.unfreeze_and_add_param_group(
                pl_module.backbone, optimizer, lr=backbone_rate, train_bn=self.train_bn
            )
        else:
            backbone_rate = self.lambda_func(epoch + 1) * self.previous_backbone_lr
            if self.should_align:
                backbone_rate = min(backbone_rate, rate)
            optimizer.param_groups[-1]["lr"] = backbone_rate
        self.previous_backbone_lr = backbone_rate
        if self.verbose:
            shown = [round(float(number), self.rounding) for number in (rate, backbone_rate)]
            info(f"Epoch {epoch}: learning rate {shown[0]}, of the backbone {shown[1]}")


def _set_trainable(module: nn.Module, trainable: bool) -> None:
    if isinstance(module, _BatchNorm):
        module.track_running_stats = trainable
    for parameter in module.parameters(recurse=False):
        parameter.requires_grad = trainable


def _frozen(module: nn.Module) -> list[str]:
    return [name for name, parameter in module.named_parameters() if not parameter.requires_grad]


def _untracked(module: nn.Module) -> list[str]:
    """Batch norm with statistics that do not follow the data."""
    return [
        name
        for name, part in module.named_modules()
        if isinstance(part, _BatchNorm) and part.running_mean is not None and not part.track_running_stats
    ]


def _describe(module: LightningModule) -> dict[str, Any]:
    """What is frozen, and the optimizers' groups with names in place of parameters."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    groups = {
        number: [
            {**group, "params": [names.get(id(p), "") for p in group["params"]]} for group in o.param_groups
        ]
        for number, o in enumerate(module.trainer.optimizers)
    }
    return {
        "internal_optimizer_metadata": groups,
        "frozen": _frozen(module),
        "untracked": _untracked(module),
    }


def _take_up(module: LightningModule, state: dict[str, Any]) -> None:
    """Freeze what was frozen, and nothing else."""
    if "frozen" not in state:  # in a file that says only what was trained
        groups = state["internal_optimizer_metadata"].values()
        trained = {name for optimizer in groups for group in optimizer for name in group["params"]}
        state = {"frozen": {name for name, _ in module.named_parameters()} - trained, "untracked": ()}
    frozen, untracked = set(state["frozen"]), set(state["untracked"])
    for name, parameter in module.named_parameters():
        parameter.requires_grad = name not in frozen
    for name, part in module.named_modules():
        if isinstance(part, _BatchNorm) and part.running_mean is not None:
            part.track_running_stats = name not in untracked
