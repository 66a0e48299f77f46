"""Which arguments of ModelCheckpoint make sense, alone and together."""

from __future__ import annotations

from datetime import timedelta

from fulmen.errors import ConfigError


def check_retention(save_top_k: int, monitor: str | None, save_last: bool | str | None) -> None:
    """Raise `ConfigError` where it is not clear how many checkpoints stay, or which."""
    if not isinstance(save_top_k, int) or save_top_k < -1:
        raise ConfigError(
            "ModelCheckpoint cannot keep that many checkpoints.",
            received=f"save_top_k={save_top_k!r}",
            expected="-1 for all, 0 for none, or how many",
        )
    if monitor is None and save_top_k not in (-1, 0, 1):
        raise ConfigError(
            "ModelCheckpoint does not know which checkpoints are the best.",
            received=f"save_top_k={save_top_k}, monitor=None",
            fix="monitor='val_loss', or save_top_k=-1 to keep all, 1 for the newest",
        )
    if save_last not in (None, True, False, "link"):
        raise ConfigError(
            "ModelCheckpoint does not understand `save_last`.",
            received=repr(save_last),
            expected="True, False or 'link'",
        )


def check_on_save_error(value: str) -> None:
    """Raise `ConfigError` where it is not clear what a save that fails means for the run."""
    if value not in ("raise", "warn"):
        raise ConfigError(
            "ModelCheckpoint does not understand `on_save_error`.",
            received=repr(value),
            expected="'raise' or 'warn'",
        )


def check_cadence(steps: int | None, interval: timedelta | None, epochs: int | None) -> None:
    """Raise `ConfigError` where it is not clear when a checkpoint is due."""
    for name, value in (("every_n_train_steps", steps), ("every_n_epochs", epochs)):
        if value is not None and (not isinstance(value, int) or value < 0):
            raise ConfigError(
                f"ModelCheckpoint's `{name}` is no number of times.",
                received=repr(value),
                expected="0, 1, 2, ...",
            )
    if interval is not None and not isinstance(interval, timedelta):
        raise ConfigError(
            "ModelCheckpoint's `train_time_interval` is no length of time.",
            received=repr(interval),
            expected="a datetime.timedelta",
        )
    if bool(steps) + bool(epochs) + (interval is not None) > 1:
        raise ConfigError(
            "ModelCheckpoint can count steps, epochs or time, not several of them.",
            received=f"every_n_train_steps={steps}, every_n_epochs={epochs}, train_time_interval={interval}",
            fix="use one ModelCheckpoint for each",
        )
