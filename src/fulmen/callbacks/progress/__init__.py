"""Progress bars: what they share, and one for each way of drawing."""

from __future__ import annotations

from fulmen.base.extras import available
from fulmen.callbacks.progress.plain_progress import PlainProgressBar
from fulmen.callbacks.progress.progress_bar import ProgressBar
from fulmen.callbacks.progress.rich_progress import RichProgressBar, RichProgressBarTheme
from fulmen.callbacks.progress.tqdm_progress import TQDMProgressBar

__all__ = [
    "PlainProgressBar",
    "ProgressBar",
    "RichProgressBar",
    "RichProgressBarTheme",
    "TQDMProgressBar",
    "default_progress_bar",
]


def default_progress_bar() -> ProgressBar:
    """The bar of a Trainer that was given none: of rich's, else of tqdm's, else lines of text."""
    if available("rich"):
        return RichProgressBar()
    return TQDMProgressBar() if available("tqdm") else PlainProgressBar()
