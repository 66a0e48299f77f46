"""The hooks of old versions: names that are gone, and signatures that have changed.

Who defines one of them is called as it was then; the catalogue of hooks knows nothing of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fulmen.callbacks import ModelCheckpoint
from fulmen.compat.lightning.habits import FLAT, WRAPPED, how_outputs_are_read, never_calls_closure
from fulmen.compat.lightning.versions import NEWEST, OLDEST, Spelling
from fulmen.core.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.module import LightningModule

MODULE, CALLBACK, DATAMODULE = "module", "callback", "datamodule"
CHECKPOINT = "ModelCheckpoint"


@dataclass(frozen=True)
class GoneHook(Spelling):
    """A method that was called once and is not any more."""

    owners: tuple[str, ...] = (MODULE, CALLBACK)

    @property
    def is_called(self) -> bool:
        """Whether it may be called where nobody defines it, and does nothing."""
        return self.name not in ("predict", "truncated_bptt_steps", "tbptt_split_batch")


GONE: tuple[GoneHook, ...] = (
    GoneHook("training_epoch_end", last="1.9", modern="on_train_epoch_end", owners=(MODULE,)),
    GoneHook("validation_epoch_end", last="1.9", modern="on_validation_epoch_end", owners=(MODULE,)),
    GoneHook("test_epoch_end", last="1.9", modern="on_test_epoch_end", owners=(MODULE,)),
    GoneHook("training_step_end", last="1.9", modern="the end of training_step", owners=(MODULE,)),
    GoneHook("validation_step_end", last="1.9", modern="the end of validation_step", owners=(MODULE,)),
    GoneHook("test_step_end", last="1.9", modern="the end of test_step", owners=(MODULE,)),
    GoneHook("on_epoch_start", last="1.7", modern="on_train_epoch_start"),
    GoneHook("on_epoch_end", last="1.7", modern="on_train_epoch_end"),
    GoneHook("on_pretrain_routine_start", last="1.7", modern="on_fit_start"),
    GoneHook("on_pretrain_routine_end", last="1.7", modern="on_fit_start"),
    GoneHook("on_batch_start", last="1.7", modern="on_train_batch_start", owners=(CALLBACK,)),
    GoneHook("on_batch_end", last="1.7", modern="on_train_batch_end", owners=(CALLBACK,)),
    GoneHook("on_init_start", last="1.7", modern="setup", owners=(CALLBACK,)),
    GoneHook("on_init_end", last="1.7", modern="setup", owners=(CALLBACK,)),
    GoneHook("on_keyboard_interrupt", last="1.6", modern="on_exception", owners=(CALLBACK,)),
    GoneHook("on_before_accelerator_backend_setup", "1.2", "1.7", "setup", owners=(CALLBACK,)),
    GoneHook("on_configure_sharded_model", "1.3", "1.7", "setup", owners=(CALLBACK,)),
    GoneHook("configure_sharded_model", "1.3", "2.0", "configure_model", owners=(MODULE,)),
    GoneHook("on_post_move_to_device", "1.2", "1.6", "on_fit_start", owners=(MODULE,)),
    GoneHook("on_train_dataloader", "1.3", "1.6", "train_dataloader", owners=(MODULE, DATAMODULE)),
    GoneHook("on_val_dataloader", "1.3", "1.6", "val_dataloader", owners=(MODULE, DATAMODULE)),
    GoneHook("on_test_dataloader", "1.3", "1.6", "test_dataloader", owners=(MODULE, DATAMODULE)),
    GoneHook("on_predict_dataloader", "1.3", "1.6", "predict_dataloader", owners=(MODULE, DATAMODULE)),
    GoneHook("get_progress_bar_dict", last="1.6", modern="ProgressBar.get_metrics", owners=(MODULE,)),
    GoneHook("on_hpc_save", last="1.7", modern="on_save_checkpoint", owners=(MODULE,)),
    GoneHook("on_hpc_load", last="1.7", modern="on_load_checkpoint", owners=(MODULE,)),
    GoneHook("log_grad_norm", "1.4", "1.9", "on_before_optimizer_step", owners=(MODULE,)),
    GoneHook("tbptt_split_batch", last="1.9", modern="manual optimization", owners=(MODULE,)),
    GoneHook("truncated_bptt_steps", "1.3", "1.9", "manual optimization", owners=(MODULE,)),
    GoneHook("predict", "1.2", "1.2", "predict_step", owners=(MODULE,)),
    GoneHook("on_save_checkpoint", last="1.7", modern="state_dict", owners=(DATAMODULE,)),
    GoneHook("on_load_checkpoint", last="1.7", modern="load_state_dict", owners=(DATAMODULE,)),
    GoneHook("save_checkpoint", last="1.7", modern="on_save_checkpoint of a callback", owners=(CHECKPOINT,)),
)
"""Each name that is gone, with the versions that knew it and what is there instead."""

WITHOUT_ARGUMENTS = ("on_epoch_start", "on_epoch_end", "on_pretrain_routine_start", "on_pretrain_routine_end")
"""Those of them that modules are called with nothing."""


@dataclass(frozen=True)
class OldSignature:
    """The positional parameters that a hook had, after `self`, and for callbacks after trainer and module."""

    hook: str
    parameters: tuple[str, ...]
    first: str = OLDEST
    last: str = NEWEST
    owners: tuple[str, ...] = (MODULE, CALLBACK)
    reads: str = ""
    """How its code reads the `outputs`; "" where that says nothing."""

    def spelling(self, owner: str) -> Spelling:
        """What a user is told of it, where `owner` defines it."""
        modern = ("trainer", "pl_module") * (owner == CALLBACK) + MODERN[self.hook]
        return Spelling(
            f"{self.hook}({', '.join(('trainer', 'pl_module') * (owner == CALLBACK) + self.parameters)})"
            + (f", read as {self.reads}" if self.reads else ""),
            self.first,
            self.last,
            f"{self.hook}({', '.join(modern)})",
        )


MODERN: dict[str, tuple[str, ...]] = {
    "setup": ("stage",),
    "teardown": ("stage",),
    "training_step": ("batch", "batch_idx"),
    "validation_step": ("batch", "batch_idx"),
    "test_step": ("batch", "batch_idx"),
    "predict_step": ("batch", "batch_idx"),
    "on_train_batch_start": ("batch", "batch_idx"),
    "on_train_batch_end": ("outputs", "batch", "batch_idx"),
    "on_train_epoch_end": (),
    "on_validation_batch_start": ("batch", "batch_idx"),
    "on_validation_batch_end": ("outputs", "batch", "batch_idx"),
    "on_test_batch_start": ("batch", "batch_idx"),
    "on_test_batch_end": ("outputs", "batch", "batch_idx"),
    "on_predict_batch_start": ("batch", "batch_idx"),
    "on_predict_batch_end": ("outputs", "batch", "batch_idx"),
    "on_predict_epoch_end": (),
    "on_before_optimizer_step": ("optimizer",),
    "optimizer_step": ("epoch", "batch_idx", "optimizer", "optimizer_closure"),
    "optimizer_zero_grad": ("epoch", "batch_idx", "optimizer"),
    "backward": ("loss",),
    "configure_gradient_clipping": ("optimizer", "gradient_clip_val", "gradient_clip_algorithm"),
    "lr_scheduler_step": ("scheduler", "metric"),
    "transfer_batch_to_device": ("batch", "device", "dataloader_idx"),
    "on_save_checkpoint": ("checkpoint",),
    "on_load_checkpoint": ("checkpoint",),
    "finetune_function": ("optimizer",),
    "toggle_optimizer": ("optimizer",),
    "untoggle_optimizer": ("optimizer",),
}
"""What the engine passes, in this order; in evaluation with a loader's index too, if there are several."""

_LOADER = "dataloader_idx"
_INDEX = "optimizer_idx"
_OF_A_RUN = (MODULE, CALLBACK)

CHANGED: tuple[OldSignature, ...] = (
    OldSignature("training_step", ("batch", "batch_idx", _INDEX), last="1.9", owners=(MODULE,)),
    OldSignature("training_step", ("batch", "batch_idx", _INDEX, "hiddens"), last="1.9", owners=(MODULE,)),
    OldSignature("training_step", ("batch", "batch_idx", "hiddens"), last="1.9", owners=(MODULE,)),
    *(
        OldSignature(f"{kind}_step", ("batch", "batch_idx", _LOADER), owners=(MODULE,))
        for kind in ("validation", "test", "predict")
    ),
    OldSignature("on_train_batch_start", ("batch", "batch_idx", _LOADER), last="1.6"),
    OldSignature("on_train_batch_end", ("outputs", "batch", "batch_idx", _LOADER), last="1.6"),
    OldSignature("on_train_batch_end", ("outputs", "batch", "batch_idx", _LOADER), last="1.2", reads=WRAPPED),
    OldSignature("on_train_epoch_end", ("outputs",), last="1.2"),
    OldSignature("on_train_epoch_end", ("outputs",), "1.3", "1.4", reads=FLAT),
    *(
        signature
        for kind in ("validation", "test", "predict")
        for signature in (
            OldSignature(f"on_{kind}_batch_start", ("batch", "batch_idx", _LOADER)),
            OldSignature(f"on_{kind}_batch_end", ("outputs", "batch", "batch_idx", _LOADER)),
        )
    ),
    OldSignature("on_predict_epoch_end", ("outputs",), "1.3", "1.9"),
    OldSignature("on_before_optimizer_step", ("optimizer", _INDEX), "1.4", "1.9"),
    OldSignature(
        "optimizer_step",
        ("epoch", "batch_idx", "optimizer", _INDEX, "second_order_closure", "on_tpu", "using_native_amp",
         "using_lbfgs"),
        last="1.0", owners=(MODULE,),
    ),
    OldSignature(
        "optimizer_step",
        ("epoch", "batch_idx", "optimizer", _INDEX, "optimizer_closure", "on_tpu", "using_native_amp",
         "using_lbfgs"),
        "1.1", "1.9", owners=(MODULE,),
    ),
    OldSignature("optimizer_zero_grad", ("epoch", "batch_idx", "optimizer", _INDEX), last="1.9",
                 owners=(MODULE,)),
    OldSignature("backward", ("loss", "optimizer", _INDEX), last="1.9", owners=(MODULE,)),
    OldSignature(
        "configure_gradient_clipping",
        ("optimizer", _INDEX, "gradient_clip_val", "gradient_clip_algorithm"),
        "1.5", "1.9", owners=(MODULE,),
    ),
    OldSignature("lr_scheduler_step", ("scheduler", _INDEX, "metric"), "1.6", "1.9", owners=(MODULE,)),
    OldSignature("toggle_optimizer", ("optimizer", _INDEX), last="1.9", owners=(MODULE,)),
    OldSignature("untoggle_optimizer", (_INDEX,), "1.2", "1.9", owners=(MODULE,)),
    OldSignature("transfer_batch_to_device", ("batch", "device"), last="1.5", owners=(MODULE, DATAMODULE)),
    OldSignature("on_save_checkpoint", (), last="1.2", owners=(CALLBACK,)),
    OldSignature("finetune_function", ("optimizer", "opt_idx"), "1.2", "1.9", owners=(CALLBACK,)),
    OldSignature("on_load_checkpoint", ("callback_state",), "1.3", "1.7", owners=(CALLBACK,)),
)  # fmt: skip
"""Each signature that has changed, as it was. `setup(step)`, with any name, is called by position.

What takes the index of a loader is as it should be with several; with one, it is given 0.
"""

BASES: dict[str, type] = {MODULE: LightningModule, CALLBACK: Callback, DATAMODULE: LightningDataModule}


def kind_of(owner: Any) -> str:
    """Which of the three kinds of class `owner` is of."""
    return next(kind for kind, base in BASES.items() if isinstance(owner, base))


def positional(call: Callable[..., Any]) -> tuple[list[str], int, bool]:
    """Names of the positional parameters, how many of them are required, and whether there are `*args`."""
    try:
        parameters = inspect.signature(call).parameters.values()
    except ValueError:  # some of what is written in C tells nothing
        return [], 0, True
    own = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is p.empty for p in own)
    return [p.name for p in own], required, any(p.kind is p.VAR_POSITIONAL for p in parameters)


def keyword_only_names(call: Callable[..., Any]) -> set[str]:
    """Names of the parameters that are passed by keyword only."""
    try:
        parameters = inspect.signature(call).parameters.values()
    except ValueError:
        return set()
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}


def defines(owner: Any, name: str) -> bool:
    """Whether the class or the object has its own version of a method, or one that we do not have at all."""
    found = vars(owner).get(name) or getattr(type(owner), name, None)
    if found is None or found is getattr(BASES[kind_of(owner)], name, None):
        return False
    return kind_of(owner) != MODULE or not _has_name_by_chance(owner, name)


def _has_name_by_chance(module: Any, name: str) -> bool:
    """Whether a method cannot be called, or is not written to be called, as the hook of its name was."""
    if name in WITHOUT_ARGUMENTS:
        return positional(getattr(module, name))[1] > 0
    return name == "predict" and "batch_idx" not in positional(module.predict)[0]


def old_signature(owner: Any, name: str) -> OldSignature | None:
    """The signature of another version that a method has; None where it can be called as it stands."""
    kind = kind_of(owner)
    candidates = [s for s in CHANGED if s.hook == name and kind in s.owners]
    if not candidates or not defines(owner, name):
        return None
    found = _match(getattr(owner, name), kind, name, [s for s in candidates if not s.reads])
    if found is None or found.parameters[:1] != ("outputs",):
        return found
    reads = how_outputs_are_read(getattr(owner, name), 2 * (kind == CALLBACK))
    return next((s for s in candidates if s.reads == reads), found)


def _match(
    call: Callable[..., Any], kind: str, name: str, candidates: list[OldSignature]
) -> OldSignature | None:
    names, required, takes_more = positional(call)
    if name == "optimizer_step":
        return _of_optimizer_step(call, names, candidates)
    if kind == CALLBACK:
        if name == "on_load_checkpoint" and required == 1:  # (checkpointed_state), alone
            return OldSignature(name, ("checkpointed_state",), last="1.2", owners=(CALLBACK,))
        names, required = names[2:], max(required - 2, 0)
    keyword_only = keyword_only_names(call)
    # What is called as it was then is told by its names, or else by how many there are.
    fitting = [
        signature
        for signature in sorted(candidates, key=lambda signature: -len(signature.parameters))
        if (new := [p for p in signature.parameters if p not in MODERN[name]])
        and all(p in names or p in keyword_only for p in new)
        and not _is_understood_today(name, names, required)
    ]
    fitting += [
        signature
        for signature in candidates
        if len(names) == len(signature.parameters) == required != len(MODERN[name])
        and not takes_more
        and name != "training_step"  # which was always called by name
    ]
    return fitting[0] if fitting else None


def _of_optimizer_step(
    call: Callable[..., Any], names: list[str], candidates: list[OldSignature]
) -> OldSignature | None:
    """Told by what comes after the optimizer, and by what becomes of the closure."""
    if len(names) < 4 or "closure" in names[3]:
        return None
    of_1_0 = "second_order_closure" in names or never_calls_closure(call)
    return next(s for s in candidates if ("second_order_closure" in s.parameters) == of_1_0)


def _is_understood_today(name: str, names: list[str], required: int) -> bool:
    """Whether a parameter of other versions is there, but has a default: the index of a loader."""
    return required <= len(MODERN[name]) and "dataloader_idx" in names


def gone_hooks(owner: Any) -> Iterator[GoneHook]:
    """The methods of `owner` that only other versions call."""
    kinds = {kind_of(owner), CHECKPOINT if isinstance(owner, ModelCheckpoint) else ""}
    return (hook for hook in GONE if kinds & {*hook.owners} and defines(owner, hook.name))


def old_spellings(owner: Any) -> list[Spelling]:
    """All that `owner` defines in the way of other versions."""
    signatures = [found for name in MODERN if (found := old_signature(owner, name)) is not None]
    return [*gone_hooks(owner), *(signature.spelling(kind_of(owner)) for signature in signatures)]
