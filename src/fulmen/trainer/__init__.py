"""The facade that users call."""

from fulmen.trainer.trainer import Trainer

__all__ = ["Trainer"]
