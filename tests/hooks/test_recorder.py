"""The recorder leaves no hook out."""

from __future__ import annotations

from fulmen.core.hooks import EVENTS

from .recorder import CALLBACK_HOOKS, MODULE_HOOKS

WITH_STAGE = ("setup", "teardown")  # written out in the classes, since they note the stage


def test_every_event_of_the_catalogue_is_noted() -> None:
    events = [event for event in EVENTS if event.name not in WITH_STAGE]
    assert {event.name for event in events if event.module} <= set(MODULE_HOOKS)
    assert {event.name for event in events} == set(CALLBACK_HOOKS)
