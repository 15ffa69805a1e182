"""What the pipeline gives outcomes to: it fails with the first refusal, and leaves in order."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from patchline.stream.alarms import sink as sink_module
from patchline.stream.alarms.config import RedisConfig
from patchline.stream.alarms.logs import Follower
from patchline.stream.alarms.sink import AlarmSink
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.model.alarm import AlarmConfig
from patchline.stream.model.errors import SinkError
from patchline.stream.model.frame import Frame
from patchline.stream.model.observer import Observer
from patchline.stream.model.outcome import Outcome
from patchline.stream.pipeline import Pipeline
from tests.stream.alarms.test_store import outcomes
from tests.stream.scripted import Recorder, ScriptedEngine, frame
from tests.stream.waiting import until

AWAY = RedisConfig(url="redis://:sesame@127.0.0.1:1/0", timeout_s=0.2)


class Log:
    """A log with nothing new, which says whether it is empty."""

    name = "log"
    rebuilds = True

    def __init__(self) -> None:
        self.empty = True
        self.asked = 0

    async def begin(self, position: int | None) -> None: ...

    async def read(self) -> tuple[list[object], None]:
        await asyncio.sleep(0.01)
        return [], None

    async def applied(self, position: int) -> None: ...

    async def is_empty(self) -> bool:
        self.asked += 1
        return self.empty


class Logs:
    """Takes outcomes, and notes what is done with it."""

    def __init__(self) -> None:
        self.taken: list[Outcome] = []
        self.follower: Follower | None = None
        self.closed = False
        self.log = Log()

    async def open(self, follower: Follower) -> None:
        self.follower = follower
        follower.start(self.log)  # type: ignore[arg-type] # its runs are always empty

    async def put(self, outcomes: Sequence[Outcome]) -> None:
        self.taken += outcomes

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What became of the task that serves acknowledgements."""
    told: list[str] = []

    async def serve(store: AlarmStore, observer: Observer) -> None:
        told.append("began")
        try:
            await asyncio.Event().wait()
        finally:
            told.append("ended")

    monkeypatch.setattr(sink_module, "serve_acknowledgements", serve)
    return told


async def test_outcomes_go_to_the_logs_and_closing_ends_everything(serving: list[str]) -> None:
    """Acknowledgements are served from opening to closing, and nothing is told where all is applied."""
    logs, seen = Logs(), Recorder()
    sink = AlarmSink(AWAY, AlarmConfig(), logs, observer=seen)
    assert sink.name == "Redis alarms (redis://***@127.0.0.1:1/0)"
    await sink.open()
    given = outcomes("RP")
    await sink.deliver(given)
    assert logs.taken == given
    await until(lambda: serving == ["began"])
    await sink.close()
    assert serving == ["began", "ended"]
    assert logs.closed
    assert logs.log.asked == 1
    assert not [what for what, _ in seen.retries if what.startswith("last results")]
    await AlarmSink(AWAY, AlarmConfig(), Logs()).close()


async def test_results_that_are_not_applied_in_time_are_told_under_a_name_of_their_own(serving: list[str]) -> None:
    """Closing waits for them no longer than the timeout."""
    logs, seen = Logs(), Recorder()
    sink = AlarmSink(AWAY, AlarmConfig(), logs, observer=seen)
    await sink.open()
    logs.log.empty = False
    async with asyncio.timeout(5):
        await sink.close()
    assert ("last results for " + sink.name) in [what for what, _ in seen.retries]
    assert logs.log.asked > 2
    assert logs.closed


async def test_the_first_refusal_is_what_deliveries_raise(serving: list[str]) -> None:
    """The logs get nothing any more, and closing does not wait for what will never be applied."""
    logs, seen = Logs(), Recorder()
    sink = AlarmSink(AWAY, AlarmConfig(), logs, observer=seen)
    await sink.open()
    logs.log.empty = False
    assert logs.follower is not None
    logs.follower.failed(SinkError("first"))
    logs.follower.failed(SinkError("second"))
    with pytest.raises(SinkError, match="first"):
        await sink.deliver(outcomes("R"))
    assert logs.taken == []
    await sink.close()
    assert logs.log.asked == 0


async def test_a_refusal_of_acknowledgements_is_raised_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody awaits the task that serves them, so the next delivery raises it."""

    async def refused(store: AlarmStore, observer: Observer) -> None:
        raise SinkError("no permission")

    monkeypatch.setattr(sink_module, "serve_acknowledgements", refused)
    sink = AlarmSink(AWAY, AlarmConfig(), Logs())
    await sink.open()
    await asyncio.sleep(0)
    with pytest.raises(SinkError, match="no permission"):
        await sink.deliver(outcomes("R"))
    await sink.close()


@pytest.mark.parametrize("task", ["serve_acknowledgements", "serve_shelf"])
async def test_a_task_that_dies_is_noticed_when_it_dies(monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    """No frame comes: the pipeline ends with its error all the same."""

    async def broken(*_: object) -> None:
        await asyncio.sleep(0.1)
        raise ZeroDivisionError("no more")

    async def silent() -> AsyncIterator[Frame]:
        await asyncio.Event().wait()
        yield frame("never")

    monkeypatch.setattr(sink_module, task, broken)
    sink = AlarmSink(AWAY, AlarmConfig(), Logs())
    pipeline = Pipeline(sources=[silent()], engine=ScriptedEngine(), sinks=[sink])
    with pytest.raises(ZeroDivisionError, match="no more"):
        await asyncio.wait_for(pipeline.run(), 30)
