"""Settings as the stream's configurations."""

from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

from patchline.ops.settings.cameras import KafkaCamera
from patchline.ops.settings.model import Settings
from patchline.ops.settings.servers import RedisSettings
from patchline.stream.alarms.config import RedisConfig
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.model.alarm import AlarmConfig
from patchline.stream.model.limits import Limits, RecipeConfig


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
