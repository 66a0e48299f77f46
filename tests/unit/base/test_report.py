"""What a run tells the user, where it points to, and who speaks."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fulmen.base import report
from fulmen.base.report import FulmenWarning, rank_zero_only


@pytest.fixture
def second_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is one of several, and not the first."""
    monkeypatch.setattr(rank_zero_only, "rank", 1)


def warns(how: Callable[..., None], message: str = "mind") -> None:
    how(message)  # called by a user's line


@pytest.mark.parametrize("how", [report.warn, report.warn_once])
def test_a_warning_points_to_the_line_that_is_to_blame(how: Callable[..., None]) -> None:
    with pytest.warns(FulmenWarning, match="mind") as caught:
        warns(how)
    blamed = Path(caught[0].filename).read_text().splitlines()[caught[0].lineno - 1]
    assert blamed.strip() == "warns(how)"


def test_a_warning_may_be_of_another_kind() -> None:
    with pytest.warns(DeprecationWarning, match="old"):
        report.warn("old", DeprecationWarning)


def test_warn_says_it_each_time_and_warn_once_once() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            report.warn("again")
            report.warn_once("once")
            report.warn_once("another")
    assert sorted(str(warning.message) for warning in caught) == ["again"] * 3 + ["another", "once"]


def test_what_was_said_can_be_forgotten() -> None:
    for _ in range(2):
        with pytest.warns(FulmenWarning, match="once"):
            report.warn_once("once")
        report.forget_warnings()


def test_warnings_are_user_warnings() -> None:
    """Which are shown by default."""
    assert issubclass(FulmenWarning, UserWarning)


@pytest.mark.usefixtures("second_rank")
def test_only_the_first_process_speaks(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), warnings.catch_warnings():
        warnings.simplefilter("error")
        report.info("told")
        report.warn("mind")
        report.warn_once("mind")
    assert not caplog.messages


@pytest.mark.usefixtures("second_rank")
def test_functions_for_the_first_process_only() -> None:
    @rank_zero_only
    def answer(number: int) -> int:
        """A docstring."""
        return number

    assert answer(42) is None
    assert answer.__doc__ == "A docstring."
    rank_zero_only.rank = 0  # pyright: ignore[reportFunctionMemberAccess]
    assert answer(number=42) == 42


# ---------------------------------------------------------------------------------------------------- console


@contextmanager
def without_handlers() -> Iterator[None]:
    """As in a script that sets up no logging."""
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        yield
    finally:
        root.handlers = before


def test_messages_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with without_handlers():
        report.info("told")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "told\n")


def test_an_application_that_logs_gets_the_messages_instead(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level("INFO"):
        report.info("told")
    assert [(record.name, record.message) for record in caplog.records] == [("fulmen", "told")]
    assert capsys.readouterr().err == ""


def test_the_level_can_be_set(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with without_handlers(), caplog.at_level("ERROR", logger="fulmen"):
        report.info("told")
    assert capsys.readouterr().err == ""


def test_messages_can_be_redirected_for_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    with without_handlers():
        report.print_messages_with(lines.append)
        report.info("drawn above the bar")
        report.print_messages_with(None)
        report.info("told")
    assert lines == ["drawn above the bar"]
    assert capsys.readouterr().err == "told\n"


def test_an_error_that_others_print_is_a_hint_here(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    printed: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, traceback: printed.append(error))
    theirs, ours, hinted = ValueError("theirs"), ValueError("ours"), ValueError("hinted")
    report.leave_to_others(theirs)
    report.leave_to_others(hinted, "rank 0 says why")
    for error in (theirs, ours, hinted):
        sys.excepthook(ValueError, error, None)
    assert printed == [ours]
    assert caplog.messages == ["rank 0 says why"]
