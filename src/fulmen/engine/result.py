"""What `fit` returns."""

from __future__ import annotations

from dataclasses import dataclass

from fulmen.engine.history import History


@dataclass(frozen=True)
class FitResult:
    """How a fit went; true when it was not interrupted."""

    stopped_because: str
    interrupted: bool
    epochs: int
    """Epochs finished, over all resumes."""
    steps: int
    """Optimizer steps taken, over all resumes."""
    best_checkpoint: str | None
    last_checkpoint: str | None
    history: History
    """Every scalar that was logged in this fit: `pandas.DataFrame(result.history)`."""

    def __bool__(self) -> bool:
        return not self.interrupted
