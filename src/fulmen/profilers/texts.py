"""What all profilers say alike."""

from __future__ import annotations

from fulmen.errors import UsageError


def title(stage: str | None) -> str:
    """The first line of a report."""
    return f"{stage.upper()} Profiler Report" if stage else "Profiler Report"


def already_started(action_name: str) -> UsageError:
    """The error of a span that begins inside itself."""
    return UsageError(
        f"The span {action_name!r} was started and has not been stopped.",
        fix="give a span inside another one a name of its own",
    )


def not_started(action_name: str) -> UsageError:
    """The error of a span that ends without having begun."""
    return UsageError(
        f"The span {action_name!r} is to be stopped and was not started.",
        fix="use `with profiler.profile(name)`, which does both",
    )
