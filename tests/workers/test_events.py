"""Every event of a feed reaches every listener; none is left out of the hub."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from workers.worker.events import FeedEventHub, FeedEvents

EVENTS = [name for name in vars(FeedEvents) if not name.startswith("_")]


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_reaches_every_listener_in_order(name: str) -> None:
    heard: list[tuple[str, tuple[Any, ...]]] = []

    def listener(called: str) -> FeedEvents:
        made = FeedEvents()
        setattr(made, name, lambda *facts: heard.append((called, facts)))
        return made

    hub = FeedEventHub(listener("first"))
    hub.listeners.append(listener("second"))
    facts = tuple(object() for _ in inspect.signature(getattr(FeedEvents(), name)).parameters)
    getattr(hub, name)(*facts)
    assert heard == [("first", facts), ("second", facts)]


@pytest.mark.parametrize("name", EVENTS)
def test_a_listener_that_heeds_nothing_is_one(name: str) -> None:
    facts = [object() for _ in inspect.signature(getattr(FeedEvents(), name)).parameters]
    assert getattr(FeedEvents(), name)(*facts) is None
