"""Acknowledgements by message: each is dealt with, told and then removed."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import cast

import pytest

from patchline.stream.alarms.acknowledgements import acknowledge_alarm, serve_acknowledgements
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.model.alarm import Alarm, AlarmEvent, AlarmState
from patchline.stream.model.errors import Foreign, SinkError
from patchline.stream.model.observer import Observer

Changed = Callable[[Alarm], tuple[Alarm, tuple[AlarmEvent, ...]]]


class Store(Observer):
    """Messages in, and what was done with them in its order."""

    where = "redis"

    def __init__(self, *messages: dict[str, str]) -> None:
        self.messages = messages
        self.done_so_far: list[tuple[str, ...]] = []
        self.passed_over: list[tuple[Foreign, str]] = []

    async def acknowledgements(self, group: str, consumer: str) -> AsyncIterator[tuple[str, dict[str, str]]]:
        self.group, self.consumer = group, consumer
        for number, fields in enumerate(self.messages):
            yield str(number), fields
        raise SinkError("refused")

    async def change(self, camera: str, changed: Changed) -> tuple[AlarmEvent, ...]:
        alarm, events = changed(Alarm(camera=camera, alarm_id="f", state=AlarmState.RETURNED))
        assert alarm.state is AlarmState.NORMAL
        self.done_so_far.append(("changed", camera))
        return events

    async def done(self, group: str, message_id: str) -> None:
        assert group == self.group
        self.done_so_far.append(("done", message_id))

    def foreign(self, what: Foreign, detail: str) -> None:
        self.passed_over.append((what, detail))

    def alarm(self, event: AlarmEvent) -> None:
        self.done_so_far.append((event.change.value, event.camera, event.operator or ""))


async def test_every_message_is_removed_once_it_is_dealt_with() -> None:
    """What is no acknowledgement is told, changes nothing, and does not come again; what has no second try ends it."""
    messages: tuple[dict[str, str], ...] = (
        {"camera": "cam-1"},
        {"operator": "ada"},
        {},
        {"camera": "cam-2", "operator": " "},
        {"camera": "cam-2", "operator": "x" * 1025},
        {"camera": "c" * 257, "operator": "ada"},
        {"camera": "cam-2", "operator": "a\udcff"},
        {"camera": "cam-2", "operator": "ada"},
    )
    store = Store(*messages)
    with pytest.raises(SinkError, match="refused"):
        await serve_acknowledgements(cast(AlarmStore, store), store)
    assert store.done_so_far == [
        *(("done", str(number)) for number in range(7)),
        ("changed", "cam-2"),
        ("acknowledged", "cam-2", "ada"),
        ("cleared", "cam-2", "ada"),
        ("done", "7"),
    ]
    assert [what for what, _ in store.passed_over] == [Foreign.ACKNOWLEDGEMENT] * 7
    said = [detail for _, detail in store.passed_over]
    assert "operator is missing" in said[0]
    assert "camera is missing" in said[1]
    assert "operator is ' '" in said[3]
    assert "of 1,025 characters, expected 1 to 1024 characters" in said[4]
    assert "of 257 characters, expected at most 256" in said[5]
    assert "expected UTF-8" in said[6]
    assert max(map(len, said)) < 250
    assert store.group == "patchline"


async def test_an_acknowledgement_has_the_operator_and_the_time() -> None:
    """A call acknowledges as of now."""
    before = datetime.now(UTC)
    events = await acknowledge_alarm(cast(AlarmStore, Store()), "cam-1", "ada")
    assert {event.operator for event in events} == {"ada"}
    assert all(before <= event.time <= datetime.now(UTC) for event in events)
