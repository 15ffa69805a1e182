"""A worker as a process: the stream with the scripted engine. `python -m tests.stream.worker '{"config": {…}, …}'`.

`stop_at` stops the process (SIGSTOP), `kill_at` kills it, at its n-th transaction with results: all is sent, nothing is
committed; `kill_alone` kills it once it has noted that the frame at that offset is alone in flight. `crash_in`,
"decoder" or "engine", names what dies of a white frame. With `redis` it follows the results with
alarms; `kill_at_alarm` kills it at its n-th write of a changed alarm, before the write reaches Redis (or after, with
`kill_after_alarm`). SIGTERM drains, once it has printed that it can. It prints a line for every assignment, alarm and
lost partition.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial

from aiokafka import AIOKafkaProducer, TopicPartition

from patchline.engine.types import Image, Inspection
from patchline.stream.alarms.config import RedisConfig
from patchline.stream.alarms.sink import AlarmSink
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.alarms.written import Advance, WriteAnswer
from patchline.stream.inspection.engine import Maps
from patchline.stream.kafka.at_least_once import AtLeastOnceSink
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.exactly_once import ExactlyOnceSink
from patchline.stream.kafka.result_logs import KafkaResultLogs
from patchline.stream.kafka.source import KafkaSource
from patchline.stream.model.alarm import AlarmConfig, AlarmEvent
from patchline.stream.model.limits import Limits
from patchline.stream.pipeline import Pipeline
from patchline.stream.support.deadline import Deadline
from patchline.stream.wire.alarms import StoredAlarm
from tests.stream.scripted import Recorder, ScriptedEngine


class _Teller(Recorder):
    def partitions(self, topic: str, partitions: Sequence[int]) -> None:
        print("owns", *partitions, flush=True)

    def alarm(self, event: AlarmEvent) -> None:
        print("alarm", event.camera, event.change.value, flush=True)

    def crash_found(self, topic: str, partition: int, frames: int) -> None:
        print("crash found", partition, frames, flush=True)

    def retrying(self, what: str, error: BaseException, attempt: int) -> None:
        print("retrying", what, error, flush=True)


def _signal_at(number: int, what: signal.Signals) -> None:
    commit, count = AIOKafkaProducer.commit_transaction, 0

    async def commit_transaction(self: AIOKafkaProducer) -> None:
        nonlocal count
        with_results = bool(self._txn_manager._txn_partitions)
        count += with_results
        if with_results and count == number:
            print("in transaction", flush=True)
            os.kill(os.getpid(), what)
        await commit(self)

    AIOKafkaProducer.commit_transaction = commit_transaction


def _kill_at_alarm(number: int, *, after: bool) -> None:
    write, count = AlarmStore.write, 0

    async def killed(
        self: AlarmStore,
        states: Sequence[StoredAlarm],
        events: Sequence[AlarmEvent],
        advance: Advance | None = None,
    ) -> WriteAnswer:
        nonlocal count
        count += bool(events)
        if count == number and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        written = await write(self, states, events, advance)
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return written

    AlarmStore.write = killed  # type: ignore[method-assign] # it kills amid the product's own code


def _kill_alone(at: int) -> None:
    note = ExactlyOnceSink.try_alone

    async def try_alone(self: ExactlyOnceSink, partition: TopicPartition, offset: int) -> None:
        await note(self, partition, offset)
        if offset == at:
            os.kill(os.getpid(), signal.SIGKILL)

    ExactlyOnceSink.try_alone = try_alone  # type: ignore[method-assign] # as above


class _CrashingEngine(ScriptedEngine):
    def __init__(self, crash_in: str | None, seconds: float) -> None:
        super().__init__(seconds=seconds)
        self._crash_in = crash_in

    def prepare(self, recipe: str, image: Image) -> Image:
        if self._crash_in == "decoder" and image.mean() > 250:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().prepare(recipe, image)

    def inspect(self, frames: Sequence[tuple[str, Image]], *, maps: Maps = "none") -> list[Inspection]:
        if self._crash_in == "engine" and any(image.mean() > 250 for _, image in frames):
            os.abort()
        return super().inspect(frames, maps=maps)


def _trial_engine(crash_in: str | None, recipe: str) -> _CrashingEngine:
    return _CrashingEngine(crash_in, 0.0)


async def _main(
    config: KafkaConfig, seconds: float, crash_in: str | None, redis: RedisConfig | None, alarms: AlarmConfig
) -> None:
    seen = _Teller()
    ledger = ExactlyOnceSink(config, observer=seen) if config.delivery == "exactly_once" else None
    pipeline = Pipeline(
        sources=[KafkaSource(config, observer=seen, ledger=ledger)],
        engine=_CrashingEngine(crash_in, seconds),
        ledger=ledger,
        sinks=([] if ledger else [AtLeastOnceSink(config)])
        + ([AlarmSink(redis, alarms, KafkaResultLogs(config, observer=seen), observer=seen)] if redis else []),
        limits=Limits(batch_size=4),
        observer=seen,
        trial_engine=partial(_trial_engine, crash_in),
    )
    draining = []
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lambda: draining.append(asyncio.create_task(pipeline.drain(Deadline(20)))))
    print("can drain", flush=True)
    await pipeline.run()
    print("drained", flush=True)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    for key, what in (("stop_at", signal.SIGSTOP), ("kill_at", signal.SIGKILL)):
        if key in given:
            _signal_at(given[key], what)
    for key in ("kill_at_alarm", "kill_after_alarm"):
        if key in given:
            _kill_at_alarm(given[key], after=key == "kill_after_alarm")
    if "kill_alone" in given:
        _kill_alone(given["kill_alone"])
    redis = RedisConfig(**given["redis"]) if "redis" in given else None
    alarms = AlarmConfig(**given.get("alarms", {}))
    asyncio.run(_main(KafkaConfig(**given["config"]), given.get("seconds", 0.02), given.get("crash_in"), redis, alarms))
