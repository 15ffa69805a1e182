"""From settings to the parts of the stream: the one place that knows both."""

import sys
from collections.abc import AsyncIterable, Callable, Mapping
from contextlib import suppress
from functools import partial

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.store import GenerationStore, load_bank
from patchline.engine.errors import BankFileError
from patchline.engine.inspection.inspector import Inspector
from patchline.ops.settings.model import Settings
from patchline.ops.settings.process import EngineSettings
from patchline.stream.alarms.health import HealthAlarms
from patchline.stream.alarms.journal import AlarmJournal
from patchline.stream.alarms.logs import ResultLogs
from patchline.stream.alarms.sink import AlarmSink
from patchline.stream.kafka.at_least_once import AtLeastOnceSink
from patchline.stream.kafka.events.camera_events import KafkaCameraEvents
from patchline.stream.kafka.exactly_once import ExactlyOnceSink
from patchline.stream.kafka.result_logs import KafkaResultLogs
from patchline.stream.kafka.source import KafkaSource
from patchline.stream.model.frame import Frame
from patchline.stream.model.observer import Observer
from patchline.stream.pipeline.isolated_trial import EngineOf
from patchline.stream.ports import Sink
from patchline.stream.recording.jsonl import JsonLinesSink
from patchline.stream.support.heartbeat import Heartbeat


def inspector_of(settings: EngineSettings, banks: Mapping[str, MemoryBank]) -> Inspector:
    """What judges. Raises RecipeError, WeightsError, DeviceError."""
    return Inspector(
        banks,
        device=settings.device,
        search=settings.search,
        runtime=settings.backbone_runtime,
        precision=settings.precision,
        fetch=settings.hub_weights,
    )


def trial_engine_of(settings: Settings) -> EngineOf:
    """What judges in another process: the newest generation of one recipe's bank that can be read, as a worker goes on
    with the former one where a later one is damaged. It holds no secrets.
    """
    return partial(_inspector, settings.engine, {name: recipe.bank for name, recipe in settings.recipes.items()})


def _inspector(settings: EngineSettings, banks: Mapping[str, str], recipe: str) -> Inspector:
    return inspector_of(settings, {recipe: _newest_readable(banks[recipe])})


def _newest_readable(url: str) -> MemoryBank:
    """The newest generation that is whole; raises BankFileError where none is."""
    store = GenerationStore(url)
    try:
        return store.bank()
    except BankFileError:
        for number in reversed(store.generations()):
            with suppress(BankFileError):
                return store.bank(number)
        raise


def load_banks(settings: Settings) -> dict[str, MemoryBank]:
    """The newest generation of every recipe's bank; raises BankFileError."""
    return {name: load_bank(recipe.bank) for name, recipe in settings.recipes.items()}


def ledger_of(settings: Settings, observer: Observer) -> ExactlyOnceSink | None:
    """What commits results together with offsets; None where there is no Kafka or it shall do without transactions."""
    kafka = settings.kafka_config()
    if kafka is None or kafka.delivery != "exactly_once":
        return None
    limits = settings.limits
    return ExactlyOnceSink(
        kafka, max_frame_bytes=limits.max_frame_bytes, observer=observer, window=limits.max_in_flight
    )


def kafka_sources(
    settings: Settings,
    observer: Observer,
    ledger: ExactlyOnceSink | None,
    urgent: Callable[[str], bool],
    heart: Heartbeat | None = None,
) -> list[AsyncIterable[Frame]]:
    """The source of frames from Kafka, where there is one.

    Args:
        settings: name the brokers.
        observer: is told of connections, drops and lag.
        ledger: commits the offsets of Kafka's frames with their results; None where the source commits by itself.
        urgent: whether a camera's frames go first when the engine is short.
        heart: beats while Kafka is read.
        states: joins what readers and the health of pictures tell of cameras. None: `observer` is told of both.
    """
    sources: list[AsyncIterable[Frame]] = []
    limits = settings.limits
    kafka = settings.kafka_config()
    if kafka is not None:
        sources.append(
            KafkaSource(
                kafka,
                observer=observer,
                ledger=ledger,
                window=limits.max_in_flight,
                urgent=urgent,
                heart=heart,
            )
        )
    return sources


def camera_events_of(settings: Settings, observer: Observer) -> list[KafkaCameraEvents | HealthAlarms]:
    """Who is told what the cameras do that the service opens itself: Kafka and Redis, where they are."""
    if not settings.opened_cameras():
        return []
    kafka, redis = settings.kafka_config(), settings.redis.to_config()
    told: list[KafkaCameraEvents | HealthAlarms] = []
    if kafka is not None:
        told.append(KafkaCameraEvents(kafka, observer))
    if redis is not None:
        told.append(HealthAlarms(redis, observer))
    return told


def sinks_of(settings: Settings, observer: Observer) -> list[Sink]:
    """Every sink that results go to, beside the ledger."""
    sinks: list[Sink] = []
    kafka, redis = settings.kafka_config(), settings.redis.to_config()
    if kafka is not None and kafka.delivery == "at_least_once":
        sinks.append(AtLeastOnceSink(kafka, max_frame_bytes=settings.limits.max_frame_bytes))
    if redis is not None:
        alarms = settings.alarms
        logs: ResultLogs
        if kafka is not None:
            logs = KafkaResultLogs(kafka, rebuild_s=alarms.rebuild_s, observer=observer)
        else:
            logs = AlarmJournal(alarms.to_journal_config(), observer=observer)
        limits = alarms.to_limits(settings.cameras)
        sinks.append(AlarmSink(redis, settings.alarm_rules(), logs, limits=limits, observer=observer))
    if settings.sinks.jsonl is not None:
        to_stdout = str(settings.sinks.jsonl) == "-"
        sinks.append(JsonLinesSink(sys.stdout.buffer if to_stdout else settings.sinks.jsonl))
    return sinks
