"""From settings to the parts of the stream: the one place that knows both."""

import ssl
import sys
from collections.abc import AsyncIterable, Callable, Mapping
from functools import partial
from urllib.parse import quote, urlsplit, urlunsplit

from patchline.engine.bank.bank_file import load_bank
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.inspection.inspector import Inspector
from patchline.ops.settings.cameras import FolderCamera, KafkaCamera, RtspCamera, VideoCamera
from patchline.ops.settings.model import Settings
from patchline.ops.settings.process import EngineSettings, HttpSettings
from patchline.ops.settings.servers import RedisSettings
from patchline.ops.web.server import tls_context
from patchline.stream.alarms.follower import ResultLogs
from patchline.stream.alarms.journal import AlarmJournal
from patchline.stream.alarms.sink import AlarmSink
from patchline.stream.cameras.folder import FolderSource
from patchline.stream.cameras.video import VideoSource
from patchline.stream.config import (
    AlarmConfig,
    CameraConfig,
    FolderConfig,
    JournalConfig,
    KafkaConfig,
    Limits,
    RecipeConfig,
    RedisConfig,
)
from patchline.stream.kafka.at_least_once import KafkaSink
from patchline.stream.kafka.exactly_once import KafkaLedger
from patchline.stream.kafka.result_logs import KafkaResults
from patchline.stream.kafka.source import KafkaSource
from patchline.stream.model.frame import Frame
from patchline.stream.model.observer import Observer
from patchline.stream.pipeline.isolated_trial import EngineOf
from patchline.stream.ports import Sink
from patchline.stream.recording.jsonl import JsonLinesSink


def inspector_of(settings: EngineSettings, banks: Mapping[str, MemoryBank]) -> Inspector:
    """What judges. Raises RecipeError, WeightsError, DeviceError."""
    return Inspector(
        banks,
        device=settings.device,
        search=settings.search,
        runtime=settings.backbone_runtime,
        precision=settings.precision,
    )


def trial_engine_of(settings: Settings) -> EngineOf:
    """What judges in another process: the newest generation of one recipe's bank. It holds no secrets."""
    return partial(_inspector, settings.engine, {name: recipe.bank for name, recipe in settings.recipes.items()})


def _inspector(settings: EngineSettings, banks: Mapping[str, str], recipe: str) -> Inspector:
    return inspector_of(settings, {recipe: load_bank(banks[recipe])})


def load_banks(settings: Settings) -> dict[str, MemoryBank]:
    """The newest generation of every recipe's bank; raises BankFileError."""
    return {name: load_bank(recipe.bank) for name, recipe in settings.recipes.items()}


def limits_of(settings: Settings) -> Limits:
    """Sizes and bounds of the stream."""
    limits = settings.limits
    return Limits(
        max_frame_bytes=limits.max_frame_bytes,
        max_referenced_bytes=limits.max_referenced_bytes,
        frame_references=tuple(limits.frame_references),
        max_pixels=limits.max_pixels,
        batch_size=limits.batch_size,
        linger_s=limits.linger_s,
        max_in_flight=limits.max_in_flight,
        max_in_flight_bytes=limits.max_in_flight_bytes,
        max_wait_s=limits.max_wait_s,
        commit_interval_s=limits.commit_interval_s,
        decode_threads=limits.decode_threads,
    )


def recipes_of(settings: Settings) -> Mapping[str, RecipeConfig]:
    """Deadlines by recipe."""
    return {name: RecipeConfig(name=name, deadline_s=recipe.deadline_s) for name, recipe in settings.recipes.items()}


def kafka_of(settings: Settings) -> KafkaConfig | None:
    """Brokers and topics; None where there is no Kafka."""
    kafka = settings.kafka
    if kafka.bootstrap is None:
        return None
    return KafkaConfig(
        bootstrap_servers=kafka.bootstrap,
        group=kafka.group,
        frames_topic=kafka.frames_topic,
        results_topic=kafka.results_topic,
        dead_letter_topic=kafka.dead_letters_topic,
        feedback_topic=kafka.feedback_topic,
        feedback_replies_topic=kafka.feedback_replies_topic,
        generations_topic=kafka.generations_topic,
        default_recipe=kafka.default_recipe,
        camera_recipes={n: c.recipe for n, c in settings.cameras.items() if isinstance(c, KafkaCamera)},
        delivery=kafka.delivery,
        start=kafka.start,
        session_timeout_s=kafka.session_timeout_s,
        revoke_timeout_s=kafka.session_timeout_s / 2,
        compression=kafka.compression,
        security=kafka.security,
        mechanism=kafka.mechanism,
        username=kafka.username,
        password=kafka.password.get_secret_value() if kafka.password else None,
        ca_file=kafka.ca_file,
    )


def tls_of(http: HttpSettings) -> ssl.SSLContext | None:
    """What the HTTP port speaks; None for plain HTTP. Raises InputError where the files are no certificate and key."""
    if http.tls_certificate is None or http.tls_key is None:
        return None
    return tls_context(http.tls_certificate, http.tls_key)


def redis_of(redis: RedisSettings) -> RedisConfig | None:
    """Where alarms live; None where there are none."""
    if redis.url is None:
        return None
    url = redis.url.get_secret_value()
    if redis.password is not None:
        parts = urlsplit(url)
        user = parts.username or ""
        host = parts.netloc.rpartition("@")[2]
        login = f"{user}:{quote(redis.password.get_secret_value(), safe='')}"
        url = urlunsplit(parts._replace(netloc=f"{login}@{host}"))
    return RedisConfig(url=url, prefix=redis.prefix, ca_file=redis.ca_file)


def alarm_rule_of(settings: Settings) -> AlarmConfig:
    """When a camera raises its alarm, and when its condition is normal again."""
    alarms = settings.alarms
    return AlarmConfig(k=alarms.rejects, n=alarms.window, m=alarms.passes)


def ledger_of(settings: Settings, observer: Observer) -> KafkaLedger | None:
    """What commits results together with offsets; None where there is no Kafka or it shall do without transactions."""
    kafka = kafka_of(settings)
    if kafka is None or kafka.delivery != "exactly_once":
        return None
    limits = settings.limits
    return KafkaLedger(kafka, max_frame_bytes=limits.max_frame_bytes, observer=observer, window=limits.max_in_flight)


def sources_of(
    settings: Settings, observer: Observer, ledger: KafkaLedger | None, urgent: Callable[[str], bool]
) -> list[AsyncIterable[Frame]]:
    """Every source of frames: one for Kafka, one for each camera that the service opens itself.

    `urgent`: whether a camera's frames go first when the engine is short.
    """
    sources: list[AsyncIterable[Frame]] = []
    limits = settings.limits
    kafka = kafka_of(settings)
    if kafka is not None:
        sources.append(
            KafkaSource(
                kafka,
                observer=observer,
                ledger=ledger,
                window=limits.max_in_flight,
                urgent=urgent,
            )
        )
    for name, camera in settings.cameras.items():
        if isinstance(camera, RtspCamera) and camera.url is not None:
            config = CameraConfig(
                name=name,
                recipe=camera.recipe,
                url=camera.url.get_secret_value(),
                live=True,
                transport=camera.transport,
                open_timeout_s=camera.open_timeout_s,
                read_timeout_s=camera.read_timeout_s,
                max_pixels=limits.max_pixels,
            )
            sources.append(VideoSource(config, observer=observer))
        elif isinstance(camera, VideoCamera):
            recording = CameraConfig(
                name=name, recipe=camera.recipe, url=str(camera.path), live=False, max_pixels=limits.max_pixels
            )
            sources.append(VideoSource(recording, observer=observer))
        elif isinstance(camera, FolderCamera):
            folder = FolderConfig(path=camera.path, camera=name, recipe=camera.recipe, recursive=camera.recursive)
            sources.append(FolderSource(folder))
    return sources


def sinks_of(settings: Settings, observer: Observer) -> list[Sink]:
    """Every sink that results go to, beside the ledger."""
    sinks: list[Sink] = []
    kafka, redis = kafka_of(settings), redis_of(settings.redis)
    if kafka is not None and kafka.delivery == "at_least_once":
        sinks.append(KafkaSink(kafka, max_frame_bytes=settings.limits.max_frame_bytes))
    if redis is not None:
        alarms, rule = settings.alarms, alarm_rule_of(settings)
        logs: ResultLogs
        if kafka is not None:
            logs = KafkaResults(kafka, rebuild_s=alarms.rebuild_s, observer=observer)
        else:
            logs = AlarmJournal(JournalConfig(path=alarms.journal, size=alarms.journal_size), observer=observer)
        sinks.append(AlarmSink(redis, rule, logs, observer=observer))
    if settings.sinks.jsonl is not None:
        to_stdout = str(settings.sinks.jsonl) == "-"
        sinks.append(JsonLinesSink(sys.stdout.buffer if to_stdout else settings.sinks.jsonl))
    return sinks
