"""The results topic as logs, with a consumer that does as the test says. Brokers: `alarms/test_follower.py`."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    KafkaTimeoutError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)

from patchline.stream.alarms.logs import ResultLog
from patchline.stream.kafka import result_logs as module
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.result_logs import KafkaResultLogs
from patchline.stream.model.errors import AlarmGap, Foreign, SinkError, SinkUnavailableError
from patchline.stream.wire.results import result_record
from tests.stream.alarms.test_store import outcomes
from tests.stream.kafka.scripted_clients import ScriptedConsumer
from tests.stream.scripted import Recorder
from tests.stream.waiting import until

CONFIG = KafkaConfig(results_topic="results", group="line", session_timeout_s=2.0, revoke_timeout_s=1.0)
P = [TopicPartition("results", number) for number in range(2)]


@dataclass
class Followed:
    """A `Follower` that keeps what it is given."""

    logs: dict[str, ResultLog] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def start(self, log: ResultLog) -> None:
        self.logs[log.name] = log

    async def stop(self, name: str) -> None:
        self.stopped.append(name)

    def failed(self, error: BaseException) -> None:
        self.failures.append(error)


class TimedConsumer(ScriptedConsumer):
    """Knows offsets by time, too."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[TopicPartition, int] = {}
        self.found: int | None = None

    async def offsets_for_times(self, times: Mapping[TopicPartition, int]) -> dict[TopicPartition, Any]:
        self.asked |= times
        return {partition: None if self.found is None else SimpleNamespace(offset=self.found) for partition in times}


class Opened:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, config: KafkaConfig = CONFIG, **given: float) -> None:
        self.consumer, self.seen, self.follower = TimedConsumer(), Recorder(), Followed()
        self.options: dict[str, Any] = {}

        def new_consumer(config: KafkaConfig, **options: Any) -> ScriptedConsumer:
            self.options = options
            return self.consumer

        monkeypatch.setattr(module, "new_consumer", new_consumer)
        self.logs = KafkaResultLogs(config, **given, observer=self.seen)

    async def log(self) -> ResultLog:
        await self.logs.open(self.follower)
        await self.logs.on_partitions_assigned([P[0]])
        return self.follower.logs["results/0"]


@pytest.fixture
async def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    return Opened(monkeypatch, rebuild_s=60.0)


def records(script: str, first: int = 0) -> list[Any]:
    made = [result_record(outcome.result, outcome.frame.position) for outcome in outcomes(script)]
    return [
        SimpleNamespace(offset=offset, value=value, headers=headers)
        for offset, (_, value, headers) in enumerate(made, first)
    ]


async def test_each_partition_is_a_log_shared_by_a_group_of_its_own(opened: Opened) -> None:
    """It is followed when it is assigned, and no longer when it is taken away."""
    await opened.logs.open(opened.follower)
    assert opened.logs.group == "line.alarms"
    assert opened.options == {
        "group_id": "line.alarms",
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "fetch_max_wait_ms": 200,
        "session_timeout_ms": 2000,
        "heartbeat_interval_ms": 500,
        "max_poll_interval_ms": 2**31 - 1,
    }
    assert opened.consumer.subscribed == [["results"]]
    assert opened.consumer.listener is opened.logs
    await opened.logs.on_partitions_assigned(P)
    assert sorted(opened.follower.logs) == ["results/0", "results/1"]
    await opened.logs.on_partitions_revoked(P)
    assert sorted(opened.follower.stopped) == ["results/0", "results/1"]
    await opened.logs.on_partitions_revoked(P)
    assert len(opened.follower.stopped) == 2
    await opened.logs.close()
    await opened.logs.on_partitions_assigned([P[0]])
    await opened.logs.close()
    assert opened.consumer.stopped == 1


async def test_a_group_that_cannot_be_joined_is_an_error_of_the_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another attempt is made where it passes; the client of this one is closed."""
    for error, passes in ((KafkaTimeoutError("late"), True), (GroupAuthorizationFailedError("line.alarms"), False)):
        opened = Opened(monkeypatch)
        opened.consumer.fails = [error]
        with pytest.raises(SinkError) as caught:
            await opened.logs.open(opened.follower)
        assert caught.value.retriable is passes
        assert opened.consumer.stopped == 1
        await opened.logs.close()


@pytest.mark.parametrize(
    ("position", "begins", "lost"),
    [(20, 20, None), (10, 10, None), (30, 30, None), (7, 10, 3), (31, 10, None)],
)
async def test_a_log_goes_on_from_a_position(opened: Opened, position: int, begins: int, lost: int | None) -> None:
    """Within what the topic has; results that it has no longer are counted; behind its end it was made anew."""
    opened.consumer.firsts, opened.consumer.ends = {P[0]: 10}, {P[0]: 30}
    log = await opened.log()
    await log.begin(position)
    assert opened.consumer.seeks == [(P[0], begins)]
    assert opened.seen.alarm_gaps == ({} if lost is None else {AlarmGap.EXPIRED: lost})
    await opened.logs.close()


@pytest.mark.parametrize(("found", "begins"), [(15, 15), (None, 30)])
async def test_a_log_without_a_position_begins_so_many_seconds_ago(
    opened: Opened, found: int | None, begins: int
) -> None:
    """At the end where there is nothing as young."""
    opened.consumer.ends, opened.consumer.found = {P[0]: 30}, found
    log = await opened.log()
    before = time.time()
    await log.begin(None)
    assert opened.consumer.seeks == [(P[0], begins)]
    assert before * 1000 - 60_001 <= opened.consumer.asked[P[0]] <= time.time() * 1000 - 59_999
    await opened.logs.close()


async def test_alarms_are_rebuilt_from_the_results_of_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing else is said."""
    opened = Opened(monkeypatch)
    log = await opened.log()
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    await log.begin(None)
    assert opened.consumer.asked == {P[0]: (1_000_000 - 24 * 60 * 60) * 1000}
    await opened.logs.close()


async def test_no_time_is_before_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka takes no negative times."""
    opened = Opened(monkeypatch, rebuild_s=1e12)
    await (await opened.log()).begin(None)
    assert opened.consumer.asked == {P[0]: 0}
    await opened.logs.close()


async def test_what_is_read_are_judged_frames_and_the_position_behind_them(opened: Opened) -> None:
    """What was not inspected, and what is no result, says nothing to an alarm, and is read all the same."""
    log = await opened.log()
    await log.begin(0)
    assert await log.read() == ([], None)
    odd = SimpleNamespace(offset=6, value=b"odd", headers=[])
    opened.consumer.records = [{P[0]: [*records("R-P", 3), odd]}]
    run, after = await log.read()
    assert after == 7
    assert [(seen.frame_id, seen.verdict.value) for seen in run] == [("cam-1/0", "reject"), ("cam-1/2", "pass")]
    assert run[0].position == outcomes("R")[0].frame.position
    ((what, said),) = opened.seen.passed_over
    assert (what, said.startswith("results/0/6: the header ce_type is None")) == (Foreign.RESULT, True)
    assert log.rebuilds
    await opened.logs.close()


async def test_a_result_with_names_that_others_made_up_is_passed_over(opened: Opened) -> None:
    """It would become a key, a state and an event; those behind it are read."""
    log = await opened.log()
    await log.begin(0)
    huge = [outcome.result for outcome in outcomes("R", camera="c" * 1_000_000)]
    _, value, headers = result_record(huge[0], None)
    made_up = SimpleNamespace(offset=0, value=value, headers=headers)
    opened.consumer.records = [{P[0]: [made_up, *records("R", 1)]}]
    run, after = await log.read()
    assert ([seen.frame_id for seen in run], after) == (["cam-1/0"], 2)
    ((what, said),) = opened.seen.passed_over
    assert (what, len(said) < 400) == (Foreign.RESULT, True)
    assert "camera has 1,000,000 characters, expected at most 256" in said
    await opened.logs.close()


async def test_counting_goes_on_whatever_it_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody awaits that task: an error that nobody thought of is told, and does not end it."""
    opened = Opened(monkeypatch, KafkaConfig(results_topic="results", lag_interval_s=0.01))
    opened.consumer.ends, opened.consumer.positions = {P[0]: 10}, {P[0]: 3}
    polls = iter([ZeroDivisionError("odd")])

    async def getmany(*_: object, **__: object) -> dict[TopicPartition, list[Any]]:
        if (error := next(polls, None)) is not None:
            raise error
        return {}

    monkeypatch.setattr(opened.consumer, "getmany", getmany)
    await opened.log()
    await until(lambda: opened.seen.depth.get("alarm_log") == 7)
    assert ("results that wait in results", "odd") in opened.seen.retries
    assert opened.follower.failures == []
    await opened.logs.close()


async def test_what_waits_is_what_is_not_applied(opened: Opened) -> None:
    """Ends of transactions have offsets too: where all that was read is applied, the consumer's position tells."""
    opened.consumer.firsts, opened.consumer.ends, opened.consumer.positions = {P[0]: 0}, {P[0]: 10}, {P[0]: 4}
    log: Any = await opened.log()
    await log.begin(2)
    assert await log.waiting() == 6
    opened.consumer.records = [{P[0]: records("RP", 4)}]
    await log.read()
    assert await log.waiting() == 8
    assert not await log.is_empty()
    await log.applied(6)
    opened.consumer.positions = {P[0]: 10}
    assert await log.waiting() == 0
    assert await log.is_empty()
    opened.consumer.ends = {P[0]: 9}
    assert await log.waiting() == 0
    await opened.logs.close()


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (KafkaTimeoutError("late"), True),
        (IllegalStateError("not assigned"), True),
        (KafkaError("unexpected"), True),
        (TopicAuthorizationFailedError("results"), False),
    ],
)
async def test_an_error_of_a_log_says_whether_it_passes(opened: Opened, error: KafkaError, passes: bool) -> None:
    """A partition that is not assigned is being rebalanced."""
    log = await opened.log()
    for request in (lambda: log.begin(3), log.read, log.is_empty):
        opened.consumer.fails = [error]
        with pytest.raises(SinkError) as caught:
            await request()
        assert isinstance(caught.value, SinkUnavailableError) is passes
        opened.consumer.fails = []
    await opened.logs.close()


async def test_a_position_that_cannot_be_sought_is_an_error_of_the_log(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The partition was taken away between the two."""
    log = await opened.log()

    def gone(partition: TopicPartition, offset: int) -> None:
        raise IllegalStateError("not assigned")

    monkeypatch.setattr(opened.consumer, "seek", gone)
    with pytest.raises(SinkUnavailableError, match="not assigned"):
        await log.begin(0)
    await opened.logs.close()


async def test_how_many_results_wait_is_told_and_what_the_group_refuses_stops_the_alarms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Again and again; what passes is nobody's business."""
    config = KafkaConfig(results_topic="results", lag_interval_s=0.01)
    opened = Opened(monkeypatch, config)
    opened.consumer.ends, opened.consumer.positions = {P[0]: 10}, {P[0]: 3}
    await opened.log()
    await until(lambda: opened.seen.depth.get("alarm_log") == 7)
    opened.consumer.fails = [KafkaTimeoutError("late")]
    await until(lambda: not opened.consumer.fails)
    await asyncio.sleep(0.05)
    assert opened.follower.failures == []
    opened.consumer.fails = [GroupAuthorizationFailedError("patchline.alarms")]
    await until(lambda: len(opened.follower.failures) == 1)
    assert "needs READ on group patchline.alarms" in str(opened.follower.failures[0])
    await opened.logs.close()


async def test_results_that_expire_while_they_are_read_are_told(opened: Opened) -> None:
    """The log goes on with the first that is left: the library would jump there without a word."""
    consumer = opened.consumer
    consumer.ends[P[0]] = 90
    log = await opened.log()
    await log.begin(7)
    consumer.firsts[P[0]] = 12
    consumer.fails = [OffsetOutOfRangeError({P[0]: 7})]
    assert await log.read() == ([], None)
    assert opened.seen.alarm_gaps == {"expired": 5}
    assert consumer.seeks[-1] == (P[0], 12)
    consumer.records = [{P[0]: records("R", first=12)}]
    assert (await log.read())[1] == 13
