"""Metrics of what is read from Kafka: partitions, how far they are behind, and what was lost."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from patchline.stream.model.errors import LogBreak
from patchline.stream.model.observer import Observer


class KafkaMetrics(Observer):
    """Whether frames are taken, of which partitions, and how far behind; `registry` is where they are registered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        at = registry
        self._assigned: dict[str, set[int]] = {}
        self._takes_frames, self._kafka_serves = False, True
        self._lag = Gauge(
            "patchline_consumer_lag", "Records not yet committed, by partition", ["topic", "partition"], registry=at
        )
        self._partitions = Gauge(
            "patchline_partition_assigned", "1 while the worker owns the partition", ["topic", "partition"], registry=at
        )
        self._crashes = Counter(
            "patchline_crashes_found", "Partitions taken over from a worker that had crashed", registry=at
        )
        self._lost = Counter(
            "patchline_frames_lost",
            "Offsets of Kafka that were gone before they were read, by cause, as far as it is known how many",
            ["cause"],
            registry=at,
        )
        self._log_breaks = Counter(
            "patchline_log_breaks",
            "Times that a partition's log was not what the remembered offset counts in, by cause",
            ["cause"],
            registry=at,
        )
        self._feedback_lost = Counter(
            "patchline_feedback_lost",
            "Offsets of the feedback topic that were gone before they were read, as far as it is known how many",
            registry=at,
        )
        for cause in LogBreak:
            self._lost.labels(cause.value)
            self._log_breaks.labels(cause.value)
        self._ready = Gauge("patchline_ready", "1 while the worker takes frames", registry=at)
        self._kafka = Gauge("patchline_kafka_up", "1 while the brokers answer", ["holds"], registry=at)

    def ready(self, ready: bool) -> None:
        """See `Observer`."""
        self._takes_frames = ready
        self._ready.set(self._takes_frames and self._kafka_serves)

    def kafka(self, up: bool, why: str | None) -> None:
        """See `Observer`."""
        self._kafka.labels("frames").set(up)
        self._kafka_serves = why is None
        self._ready.set(self._takes_frames and self._kafka_serves)

    def log_break(
        self,
        topic: str,  # noqa: ARG002 - the log names it
        partition: int,  # noqa: ARG002
        cause: LogBreak,
        expected: int | None,  # noqa: ARG002
        found: int,  # noqa: ARG002
        lost: int | None,
    ) -> None:
        """See `Observer`."""
        self._log_breaks.labels(cause.value).inc()
        self._lost.labels(cause.value).inc(lost or 0)

    def feedback_gap(
        self,
        topic: str,  # noqa: ARG002 - the log names it
        partition: int,  # noqa: ARG002
        cause: LogBreak,  # noqa: ARG002
        expected: int,  # noqa: ARG002
        found: int,  # noqa: ARG002
        lost: int | None,
    ) -> None:
        """See `Observer`."""
        self._feedback_lost.inc(lost or 0)

    def consumer_lag(self, topic: str, partition: int, lag: int) -> None:
        """See `Observer`."""
        self._lag.labels(topic, str(partition)).set(lag)

    def partitions(self, topic: str, partitions: Sequence[int]) -> None:
        """See `Observer`. The lag of a partition that another worker now owns is that worker's to report."""
        for lost in self._assigned.get(topic, set()) - set(partitions):
            for gauge in (self._lag, self._partitions):
                gauge.remove_by_labels({"topic": topic, "partition": str(lost)})
        for partition in partitions:
            self._partitions.labels(topic, str(partition)).set(1)
        self._assigned[topic] = set(partitions)

    def crash_found(self, topic: str, partition: int, frames: int) -> None:  # noqa: ARG002 - the log names it
        """See `Observer`."""
        self._crashes.inc()
