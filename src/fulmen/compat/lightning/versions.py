"""The versions of Lightning, what differs between them, and the one that a script is run as."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from fulmen.base import environ
from fulmen.errors import ConfigError

VERSIONS = (
    "1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", "1.8", "1.9",
    "2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6",
)  # fmt: skip
OLDEST, NEWEST = VERSIONS[0], VERSIONS[-1]

VARIABLE = "FULMEN_RUN_AS"
"""Where the processes that a run starts find the version that was declared."""


def parse(version: object) -> str:
    """The entry of `VERSIONS` for "1.4", "1.4.9" or 1.4; a `ConfigError` where there is none."""
    short = ".".join(str(version).split(".")[:2])
    if short not in VERSIONS:
        raise ConfigError(
            "This is no version of Lightning that is known here.",
            received=repr(version),
            expected=f"{OLDEST} to {NEWEST}",
        )
    return short


def declare(version: object | None) -> None:
    """Run what follows in this process, and in those that it starts, as `version`; None takes that back."""
    environ.write(VARIABLE, None if version is None else parse(version))


def declared() -> str | None:
    """The version that was declared for the whole process."""
    given = environ.read(VARIABLE)
    return None if given is None else parse(given)


def is_between(version: str, first: str, last: str) -> bool:
    """Whether `version` is one of those from `first` to `last`."""
    return VERSIONS.index(first) <= VERSIONS.index(version) <= VERSIONS.index(last)


@dataclass(frozen=True)
class Spelling:
    """Something that only some versions understand."""

    name: str
    first: str = OLDEST
    last: str = NEWEST
    modern: str = ""
    """How it is spelled now."""

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that understand it."""
        return VERSIONS[VERSIONS.index(self.first) : VERSIONS.index(self.last) + 1]


def newest_that_understands(spellings: list[Spelling]) -> str:
    """The newest version that understands all of these; of those that contradict one another, the most."""
    understood = {version: sum(version in s.versions for s in spellings) for version in VERSIONS}
    return max(VERSIONS, key=lambda version: (understood[version], VERSIONS.index(version)))


# ------------------------------------------------------------------------------------ what differs, and where

HISTORY: dict[str, dict[str, Any]] = {
    # Where the forward pass is, as seen from the `optimizer_step` hook, and when gradients are cleared.
    "step_hook_holds_closure": {"1.0": False, "1.1": True},
    "clears_gradients_after_step": {"1.0": True, "1.2": False},
    # How often `global_step` counts when there are several optimizers.
    "counts_each_optimizer": {"1.0": False, "1.6": True},
    # What hooks are given of what `training_step` returned: in objects of their own, and always in lists.
    "outputs_are_wrapped": {"1.0": True, "1.3": False},
    # Whether an optimizer that had no turn counts, where lists of one are left out.
    "outputs_keep_places": {"1.0": False, "1.5": True},
    # By optimizer first, or by part in time; by optimizer first, or by batch.
    "outputs_by_part": {"1.0": False, "1.7": True},
    "epoch_outputs_by_part": {"1.0": False, "1.8": True},
    "epoch_outputs_by_optimizer": {"1.0": True, "1.6": False},
    "outputs_of_nothing": {"1.0": list, "2.0": dict},
    # Whether an `optimizer_step` that leaves its closure alone is an error.
    "closure_must_run": {"1.0": False, "1.5": True},
    # Who clears gradients, clips and accumulates in manual optimization.
    "manual_optimization": {"1.0": "backward clips", "1.1": "step accumulates and clears", "1.2": "user"},
    # Whether `trainer.logger` stands for several loggers, and is indexed.
    "loggers_are_one": {"1.0": True, "1.8": False},
    # Whether a ModelCheckpoint without a monitor follows `val_loss` where somebody logs it.
    "checkpoints_follow_val_loss": {"1.0": True, "1.4": False},
    # Whether `trainer.val_dataloaders` and its like are lists also where there is one loader.
    "lists_evaluation_loaders": {"1.0": True, "2.0": False},
    # Whether `trainer.train_dataloader` is a combination that has the loader as its `loaders`.
    "combines_train_loaders": {"1.0": False, "1.2": True, "2.0": False},
    # Whether the number of the epoch is among `trainer.logged_metrics`.
    "epoch_is_a_metric": {"1.0": True, "1.5": False},
    # Whether values may be logged in hooks that no flush follows, and for neither steps nor epochs.
    "logs_anywhere": {"1.0": True, "1.5": False},
    # Whether callbacks see the last step's value by the plain name of what is logged for epochs too.
    "plain_names_are_of_last_step": {"1.0": True, "1.4": False},
    # Whether what was logged in one run of a Trainer can still be read after the next one.
    "keeps_metrics": {"1.0": True, "1.4": False},
    # Whether bars show a mean of the last losses by themselves.
    "bars_show_loss": {"1.0": True, "2.0": False},
    # What returned dicts mean.
    "steps_return_results": {"1.0": True, "1.2": False},
    "detaches_epoch_outputs": {"1.0": True, "1.6": False},
    "returned_dicts_are_metrics": {"1.0": True, "1.2": False},
    # Whose calls of a datamodule's `prepare_data` and `setup` are left out, where they are not the first.
    "second_setups_left_out": {"1.0": "runs'", "1.3": "anybody's", "1.6": "nobody's"},
    # The order of hooks; "*" stands for the modern event and its listeners.
    "around_setup": {
        "1.0": ("*",),
        "1.2": ("*", "on_before_accelerator_backend_setup"),
        "1.3": (
            "on_before_accelerator_backend_setup", "*", "on_configure_sharded_model",
            "configure_sharded_model",
        ),
    },
    "around_on_fit_start": {
        "1.0": ("*", "on_pretrain_routine_start", "on_pretrain_routine_end"),
        "1.2": ("on_post_move_to_device", "*", "on_pretrain_routine_start", "on_pretrain_routine_end"),
    },
    "around_on_train_epoch_start": {"1.0": ("on_epoch_start", "*")},
    "around_on_train_batch_start": {"1.0": ("on_batch_start", "*")},
    "around_on_train_batch_end": {"1.0": ("on_batch_end", "*"), "1.2": ("*", "on_batch_end")},
    "around_on_train_epoch_end": {
        "1.0": ("training_epoch_end", "on_epoch_end", "*"),
        "1.1": ("on_epoch_end", "*", "training_epoch_end"),
        "1.2": ("*", "on_epoch_end", "training_epoch_end"),
        "1.3": ("training_epoch_end", "*", "on_epoch_end"),
    },
    "around_on_validation_epoch_start": {"1.0": ("*",), "1.2": ("on_epoch_start", "*")},
    "around_on_validation_epoch_end": {
        "1.0": ("validation_epoch_end", "*"),
        "1.2": ("validation_epoch_end", "*", "on_epoch_end"),
    },
    "around_on_test_epoch_start": {"1.0": ("*",), "1.2": ("on_epoch_start", "*")},
    "around_on_test_epoch_end": {
        "1.0": ("test_epoch_end", "*"),
        "1.2": ("test_epoch_end", "*", "on_epoch_end"),
    },
    "around_on_exception": {"1.0": ("on_keyboard_interrupt", "*")},
    # Which parts of a run came at another place; in 1.1 only where an epoch has but one validation.
    "epoch_ends_before_validation": {"1.0": "never", "1.1": "alone", "1.2": "always", "1.4": "never"},
    "leaves_evaluation_mode_first": {"1.0": True, "1.1": False},
    "loads_validation_data_before_sanity_check": {"1.0": True, "1.3": False},
    "testing_is_fitting": {"1.0": True, "1.3": False},
}  # fmt: skip
"""By fact: from which version on it has which value."""


class Era:
    """The facts of one version, as attributes by the names of `HISTORY`."""

    def __init__(self, version: str) -> None:
        self.version = version
        for name, history in HISTORY.items():
            since = [first for first in history if VERSIONS.index(first) <= VERSIONS.index(version)]
            setattr(self, name, history[since[-1]])

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"nothing is known of {name!r}")

    def around(self, event: str) -> tuple[str, ...]:
        """The old events around one of the catalogue's, in order."""
        return getattr(self, f"around_{event}") if f"around_{event}" in HISTORY else ("*",)


@cache
def era(version: str) -> Era:
    """What was true in `version`."""
    return Era(version)
