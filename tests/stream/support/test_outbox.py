"""Events that wait for a server."""

import asyncio

import pytest

from patchline.stream.model.errors import SinkError, SinkUnavailableError
from patchline.stream.support import outbox as module
from patchline.stream.support.outbox import Outbox
from tests.stream.scripted import Recorder
from tests.stream.waiting import until


async def test_events_are_handed_on_in_order_once_the_server_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is away or refuses; of more than may wait the oldest make room."""
    monkeypatch.setattr(module, "REFUSED_PAUSE_S", 0.01)
    troubles: list[Exception] = [SinkUnavailableError("away"), SinkError("no right"), SinkUnavailableError("away")]
    sent: list[int] = []

    async def send(event: int) -> None:
        if troubles:
            raise troubles.pop(0)
        sent.append(event)

    outbox: Outbox[int] = Outbox(most=3)
    for event in range(5):
        outbox.put(event)
    running = asyncio.create_task(outbox.run("a server", send, Recorder()))
    await until(lambda: sent == [2, 3, 4])
    outbox.put(5)
    await until(lambda: sent == [2, 3, 4, 5])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
