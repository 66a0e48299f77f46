"""The class that holds a user's science: model, losses, metrics, optimizers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fulmen.base.report import warn_once
from fulmen.base.seams import LentToModules, outer, respelled, understood_hook
from fulmen.base.tree import map_leaves
from fulmen.core.data_hooks import DataHooks
from fulmen.core.hparams import HyperparametersMixin
from fulmen.core.loading import classmethod_only, make_again, read_checkpoint
from fulmen.core.log_arguments import LogArguments
from fulmen.core.model_hooks import ModelHooks
from fulmen.core.optimizers import bare
from fulmen.errors import CheckpointError, NotAttachedError

if TYPE_CHECKING:
    from fulmen.base.files import AnyPath
    from fulmen.core.logger import Logger
    from fulmen.engine.logbook import Logbook
    from fulmen.engine.run import Run
    from fulmen.trainer import Trainer


class LightningModule(HyperparametersMixin, DataHooks, ModelHooks, LentToModules):
    """Subclass it, define `training_step` and `configure_optimizers`, and hand it to a `Trainer`."""

    prepare_data_per_node = True
    allow_zero_length_dataloader_with_multiple_devices = False
    __jit_unused_properties__ = (  # what TorchScript is to leave alone
        "automatic_optimization", "current_epoch", "device", "device_mesh", "dtype", "example_input_array",
        "global_rank", "global_step", "hparams", "hparams_initial", "local_rank", "logger", "loggers",
        "on_gpu", "strict_loading", "trainer",
    )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        outer()  # it lends methods, and there may be no Trainer to ask for it
        self._trainer: Trainer | None = None
        self.__run: Run | None = None
        self.__logbook: Logbook | None = None
        self._automatic_optimization = True
        self._example_input_array: Any = None
        self._strict_loading: bool | None = None
        self._frozen_by_toggle: dict[nn.Parameter, bool] = {}
        self._device = torch.device("cpu")
        self._dtype: torch.dtype = torch.get_default_dtype()

    # -------------------------------------------------------------------------------------------- the science

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the loss of `(batch, batch_idx)`: a tensor, dict with `loss`, or None to skip the batch."""
        raise NotImplementedError  # a fit checks that it is overridden before anything else happens

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Look at `(batch, batch_idx)`, and `dataloader_idx` where there are several loaders."""
        raise NotImplementedError

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """Look at `(batch, batch_idx)`, and `dataloader_idx` where there are several loaders."""
        raise NotImplementedError

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        """The predictions for `(batch, batch_idx)`; the default is `self(batch)`."""
        return self(kwargs.get("batch", args[0] if args else None))

    # ------------------------------------------------------------------------------------------------ logging

    def log(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: Any = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        metric_attribute: str | None = None,
        rank_zero_only: bool = False,
        **otherwise: Any,
    ) -> None:
        """Log a number, a tensor of one element or a metric object under `name`.

        `on_step` and `on_epoch` default to what makes sense in the hook that calls. An epoch's value is
        reduced with `reduce_fx`: "mean" (weighted by `batch_size`, which is read off the batch if not given),
        "sum", "min", "max", or a callable that takes all values as a 1-D tensor. Nothing is copied to the
        host before the next flush.
        """
        if otherwise:
            self.log(**respelled("log", locals()))
            return
        logbook = self.__logbook
        if logbook is None:
            warn_once("`self.log` was called without a Trainer; nothing is logged.")
            return
        arguments = (
            prog_bar, logger, on_step, on_epoch, reduce_fx, enable_graph, sync_dist, add_dataloader_idx,
            rank_zero_only,
        )  # fmt: skip
        slot = logbook.slots.get(name)
        if slot is None or slot.arguments != arguments:
            if isinstance(value, dict):
                self.log_dict(
                    outer().log_group(name, value), prog_bar, logger, on_step, on_epoch, reduce_fx,
                    enable_graph, sync_dist, sync_dist_group, add_dataloader_idx, batch_size, rank_zero_only,
                )  # fmt: skip
                return
            slot = logbook.open_slot(name, value, LogArguments(*arguments))
        slot.add(value, batch_size)

    def log_dict(
        self,
        dictionary: Mapping[str, Any] | nn.Module,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: Any = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        rank_zero_only: bool = False,
        **otherwise: Any,
    ) -> None:
        """`log` each entry; a collection of metrics is computed, and reset, as one."""
        if otherwise:
            self.log_dict(**respelled("log_dict", locals()))
            return
        if isinstance(dictionary, nn.Module):
            if self.__logbook is not None:
                arguments = LogArguments(
                    prog_bar, logger, on_step, on_epoch, add_dataloader_idx=add_dataloader_idx
                )
                self.__logbook.add_collection(dictionary, arguments)
            return
        for name, value in dictionary.items():
            self.log(
                name, value, prog_bar, logger, on_step, on_epoch, reduce_fx, enable_graph, sync_dist,
                sync_dist_group, add_dataloader_idx, batch_size, None, rank_zero_only,
            )  # fmt: skip

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print once for all processes, without tearing the progress bar."""
        if self._trainer is None:
            print(*args, **kwargs)
        else:
            self._trainer.print(*args, **kwargs)

    # ------------------------------------------------------------------------------------------- optimization

    @property
    def automatic_optimization(self) -> bool:
        """Whether the run does backward and optimizer steps; set to False in __init__ to do so yourself."""
        return self._automatic_optimization

    @automatic_optimization.setter
    def automatic_optimization(self, automatic: bool) -> None:
        self._automatic_optimization = automatic

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """The optimizer, or a list of them, whose `step` the run counts; bare without `use_pl_optimizer`."""
        wrapped = self._attached().optimizers
        optimizers = wrapped if use_pl_optimizer else [bare(o) for o in wrapped]
        return optimizers[0] if len(optimizers) == 1 else list(optimizers)

    def lr_schedulers(self) -> Any:
        """None, the learning-rate scheduler, or the list of them."""
        schedulers = [config.scheduler for config in self._attached().schedulers]
        return None if not schedulers else schedulers[0] if len(schedulers) == 1 else schedulers

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """`loss.backward(*args, **kwargs)`, in the run's precision and with its hooks."""
        self._attached().step.manual_backward(loss, *args, **kwargs)

    @understood_hook
    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients; `loss` is already scaled for the precision and the accumulation window."""
        loss.backward(*args, **kwargs)

    @understood_hook
    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        """Step the optimizer; an override has to hand `step` the closure, which computes the gradients."""
        optimizer.step(closure=optimizer_closure)

    @understood_hook
    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Clear the gradients."""
        optimizer.zero_grad()

    @understood_hook
    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients before each step; override to clip in another way."""
        self.clip_gradients(
            optimizer, gradient_clip_val=gradient_clip_val, gradient_clip_algorithm=gradient_clip_algorithm
        )

    def clip_gradients(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the true gradients of `optimizer` by "norm" (the default) or "value"."""
        self._attached().step.clip(bare(optimizer), gradient_clip_val, gradient_clip_algorithm)

    @understood_hook
    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step a scheduler; `metric` is the monitored value, or None."""
        if metric is None:
            scheduler.step()
        else:
            scheduler.step(metric)

    @understood_hook
    def toggle_optimizer(self, optimizer: Any) -> None:
        """Make only this optimizer's parameters require gradients, until `untoggle_optimizer`."""
        every = self.optimizers(use_pl_optimizer=False)
        every = every if isinstance(every, list) else [every]
        for parameter in _parameters(*every):
            self._frozen_by_toggle.setdefault(parameter, parameter.requires_grad)
            parameter.requires_grad = False
        for parameter in _parameters(bare(optimizer)):
            parameter.requires_grad = self._frozen_by_toggle[parameter]

    def untoggle_optimizer(self, optimizer: Any) -> None:
        """Undo `toggle_optimizer`."""
        for parameter, required in self._frozen_by_toggle.items():
            parameter.requires_grad = required
        self._frozen_by_toggle = {}

    @contextmanager
    def toggled_optimizer(self, optimizer: Any) -> Iterator[None]:
        """Only this optimizer's parameters require gradients inside."""
        self.toggle_optimizer(optimizer)
        try:
            yield
        finally:
            self.untoggle_optimizer(optimizer)

    def freeze(self) -> None:
        """No parameter requires gradients any more, and the module is in evaluation mode."""
        self.requires_grad_(False)
        self.eval()

    def unfreeze(self) -> None:
        """Every parameter requires gradients, and the module is in training mode."""
        self.requires_grad_(True)
        self.train()

    # -------------------------------------------------------------------------- the run, as user code sees it

    @property
    def trainer(self) -> Trainer:
        """The Trainer of the run; an error outside of one."""
        if self._trainer is None:
            return outer().no_trainer(self)  # pyright: ignore[reportReturnType]
        return self._trainer

    @trainer.setter
    def trainer(self, trainer: Trainer | None) -> None:
        self._trainer = trainer

    def _attached(self) -> Run:
        run = run_of(self)
        if run is None:
            raise NotAttachedError(
                f"{type(self).__name__} is not in a run.", fix="call this in hooks and steps"
            )
        return run

    def attach(self, trainer: Trainer | None, run: Run | None) -> None:
        """Make this module the one of `run`; with None, of no run."""
        self._trainer, self.__run = trainer, run
        self.__logbook = None if run is None else run.logbook

    @property
    def current_epoch(self) -> int:
        """Number of finished training epochs."""
        return self._trainer.current_epoch if self._trainer else 0

    @property
    def global_step(self) -> int:
        """Number of optimizer steps so far."""
        return self._trainer.global_step if self._trainer else 0

    @property
    def global_rank(self) -> int:
        """This process's rank among all."""
        return self._trainer.global_rank if self._trainer else 0

    @property
    def local_rank(self) -> int:
        """This process's rank on its machine."""
        return self._trainer.local_rank if self._trainer else 0

    @property
    def logger(self) -> Logger | None:
        """The first logger."""
        return self._trainer.logger if self._trainer else None

    @property
    def loggers(self) -> list[Logger]:
        """All loggers."""
        return self._trainer.loggers if self._trainer else []

    @property
    def device(self) -> torch.device:
        """Where the module's parameters are."""
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        """What the module was last converted to."""
        return self._dtype

    @property
    def on_gpu(self) -> bool:
        """Whether the module is on a CUDA device."""
        return self._device.type == "cuda"

    @property
    def device_mesh(self) -> None:
        """The mesh of devices that the model is spread over; None on a single device."""
        return None

    @property
    def example_input_array(self) -> Any:
        """What `forward` takes; lets summaries show sizes and loggers the graph."""
        return self._example_input_array

    @example_input_array.setter
    def example_input_array(self, example: Any) -> None:
        self._example_input_array = example

    @property
    def strict_loading(self) -> bool:
        """Whether the keys of a checkpoint have to be the model's own, exactly."""
        return True if self._strict_loading is None else self._strict_loading

    @strict_loading.setter
    def strict_loading(self, strict: bool) -> None:
        self._strict_loading = strict

    def all_gather(self, data: Any, group: Any = None, sync_grads: bool = False) -> Any:
        """Each tensor of `data` from all ranks, stacked in a new first dimension; alone, `data` itself."""
        strategy = self._attached().strategy
        if strategy.world.size == 1:
            return data
        collectives = strategy.collectives
        return map_leaves(
            data, Tensor, collectives.all_gather_with_gradients if sync_grads else collectives.all_gather
        )

    # -------------------------------------------------------------------------------------------- checkpoints

    @classmethod_only
    def load_from_checkpoint(
        cls,
        checkpoint_path: AnyPath,
        map_location: Any = None,
        hparams_file: AnyPath | None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Make the module with the hyperparameters of the checkpoint (`kwargs` win), and load its weights."""
        checkpoint = read_checkpoint(checkpoint_path, map_location=map_location, weights_only=weights_only)
        model = make_again(cls, LightningModule, checkpoint_path, checkpoint, hparams_file, kwargs)  # pyright: ignore[reportArgumentType]
        LightningModule.load_checkpoint(model, checkpoint, strict=strict, path=checkpoint_path)
        states = [t for t in checkpoint["state_dict"].values() if isinstance(t, Tensor)]
        return model.to(states[0].device) if states else model

    def load_checkpoint(self, checkpoint: dict[str, Any], *, strict: bool | None, path: AnyPath) -> None:
        """Load the weights of a checkpoint, after `on_load_checkpoint` had a look at it."""
        if "state_dict" not in checkpoint:
            raise CheckpointError(
                "The checkpoint holds no weights.",
                received=f"{path} with the keys {sorted(map(str, checkpoint))[:8]}",
                expected="a key 'state_dict'",
            )
        self.configure_model()
        self.on_load_checkpoint(checkpoint)
        LightningModule.load_weights(self, checkpoint["state_dict"], strict=strict, path=path)

    def load_weights(self, weights: Mapping[str, Any], *, strict: bool | None, path: AnyPath) -> None:
        """`load_state_dict`, with an error that tells whose model the file holds."""
        strict = self.strict_loading if strict is None else strict
        try:
            self.load_state_dict(weights, strict=strict)
        except RuntimeError as error:
            raise CheckpointError(
                f"The weights in {path} do not fit {type(self).__name__}.",
                received="\n    ".join(str(error).splitlines()[1:]).strip() or str(error),
                fix="load it into the class, with the arguments, that it was saved from; "
                "strict=False skips keys",
            ) from error

    # ---------------------------------------------------------------------------------------- torch.nn.Module

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Follow `to`, `cuda`, `half` and the like, with a probe, as there may be no parameter to look at."""
        super()._apply(fn, recurse)
        probe = fn(torch.empty(0, device=self._device, dtype=self._dtype))
        self._device, self._dtype = probe.device, probe.dtype
        return self

    def __getstate__(self) -> dict[str, Any]:
        own = {"_LightningModule__run": None, "_LightningModule__logbook": None}
        return self.__dict__ | own | {"_trainer": None}


def run_of(module: LightningModule) -> Run | None:
    """The run that a module is in."""
    return vars(module).get("_LightningModule__run")


def _parameters(*optimizers: Optimizer) -> Iterator[nn.Parameter]:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            yield from group["params"]
