"""Metrics of a worker for Prometheus, on a registry of their own; fed by the stream's observer hooks.

Labels are bounded: cameras beyond `max_cameras` are counted together as `other`, and so is what is away beyond
`MAX_RETRIED`; recipes and topics come from the settings, and everything else is an enumeration.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.inspection.drift import Drift
from patchline.engine.types import Image, Inspection, Verdict
from patchline.stream.model.alarm import AlarmEvent, AlarmState
from patchline.stream.model.errors import AlarmGap, DropCause, Foreign, LogBreak
from patchline.stream.model.feedback import FeedbackReply
from patchline.stream.model.frame import Frame
from patchline.stream.model.observer import Observer, Queue, Stage, StoredKind
from patchline.stream.model.result import Result

OTHER = "other"
MAX_RETRIED = 64
"""How many things that were away are told apart; further ones are counted as `other`."""
STAGE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SCORE_BUCKETS = tuple(float(f"{0.1 * 1.25**step:.3g}") for step in range(37))
"""Anomaly scores are distances in an embedding space: their scale depends on the backbone, so buckets are geometric."""


class Metrics(Observer):
    """What a worker does, as Prometheus metrics.

    Args:
        max_cameras: how many cameras are told apart.
        registry: where the metrics are registered; a fresh one by default.
        process: also report the process's memory, CPU time and garbage collection.
    """

    def __init__(
        self, *, max_cameras: int = 256, registry: CollectorRegistry | None = None, process: bool = True
    ) -> None:
        self.registry = registry or CollectorRegistry()
        self._max_cameras = max_cameras
        self._cameras: set[str] = set()
        self._recipes: set[str] = set()
        self._retried: set[str] = set()
        self._shelved: set[str] = set()
        self._alarm_states: dict[str, AlarmState] = {}
        self._assigned: dict[str, set[int]] = {}
        if process:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)
        self._define_stream()
        self._define_engine()

    def _define_stream(self) -> None:
        at = self.registry
        self._received = Counter("patchline_frames_received", "Frames read from their source", ["camera"], registry=at)
        self._frames = Counter(
            "patchline_frames", "Frames with a delivered result, by outcome", ["camera", "outcome"], registry=at
        )
        self._not_inspected = Counter(
            "patchline_not_inspected",
            "Frames that could not be inspected, by reason",
            ["camera", "reason"],
            registry=at,
        )
        self._late = Counter("patchline_frames_late", "Frames judged after their deadline", ["camera"], registry=at)
        self._dropped = Counter(
            "patchline_frames_dropped", "Live frames without a result, by cause", ["camera", "cause"], registry=at
        )
        self._stage = Histogram(
            "patchline_stage_seconds",
            "Time of a frame in a stage (inspect: of a batch in the engine)",
            ["stage"],
            buckets=STAGE_BUCKETS_S,
            registry=at,
        )
        self._batch = Histogram("patchline_batch_size", "Frames in a batch", buckets=BATCH_BUCKETS, registry=at)
        self._queue = Gauge("patchline_queue_depth", "Frames that wait, by queue", ["queue"], registry=at)
        self._lag = Gauge(
            "patchline_consumer_lag", "Records not yet committed, by partition", ["topic", "partition"], registry=at
        )
        self._partitions = Gauge(
            "patchline_partition_assigned", "1 while the worker owns the partition", ["topic", "partition"], registry=at
        )
        self._crashes = Counter(
            "patchline_crashes_found", "Partitions taken over from a worker that had crashed", registry=at
        )
        self._connected = Gauge(
            "patchline_camera_connected", "1 while a camera that the worker opens delivers", ["camera"], registry=at
        )
        self._retries = Counter(
            "patchline_retries", "Attempts repeated because something was away", ["what"], registry=at
        )
        self._storage = Gauge(
            "patchline_frame_storage_up", "1 while storage that frames refer to answers", ["storage"], registry=at
        )
        self._held = Gauge(
            "patchline_partitions_held", "Partitions not read while their frames wait, for storage say", registry=at
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
        for cause in LogBreak:
            self._lost.labels(cause.value)
            self._log_breaks.labels(cause.value)
        self._ready = Gauge("patchline_ready", "1 while the worker takes frames", registry=at)
        self._takes_frames, self._kafka_serves = False, True
        self._kafka = Gauge("patchline_kafka_up", "1 while the brokers answer", ["holds"], registry=at)

    def _define_engine(self) -> None:
        at, recipe = self.registry, ["recipe"]
        self._score = Histogram(
            "patchline_anomaly_score", "Anomaly scores of frames (L2)", recipe, buckets=SCORE_BUCKETS, registry=at
        )
        self._rows = Gauge("patchline_bank_rows", "Rows of the memory bank", recipe, registry=at)
        self._generation = Gauge("patchline_bank_generation", "Generation that judges", recipe, registry=at)
        self._radius = Gauge("patchline_bank_covering_radius", "Covering radius of the bank (L2)", recipe, registry=at)
        self._threshold = Gauge(
            "patchline_bank_threshold", "Score above which a frame is rejected", recipe, registry=at
        )
        self._generations = Counter(
            "patchline_generations_taken", "Generations that this worker came to judge with", recipe, registry=at
        )
        self._generations_refused = Counter(
            "patchline_generations_refused",
            "Stored generations that are damaged, foreign or not those announced; the former ones judge on",
            recipe,
            registry=at,
        )
        self._damaged = Counter(
            "patchline_damaged_files",
            "Stored files that are damaged or foreign and were passed over, by what they were to hold",
            ["what"],
            registry=at,
        )
        for what in get_args(StoredKind):
            self._damaged.labels(what)
        self._feedback = Counter(
            "patchline_feedback", "Feedback answered, by outcome", ["recipe", "outcome"], registry=at
        )
        self._evidence = Counter(
            "patchline_evidence_frames",
            "Frames for the evidence store, by outcome",
            ["outcome"],
            registry=at,
        )
        on = ["camera", "recipe"]
        self._drift_p = Gauge(
            "patchline_drift_score_p",
            "One-sided Kolmogorov-Smirnov p: whether scores of a camera are higher than calibration's",
            on,
            registry=at,
        )
        self._drift_embedding = Gauge(
            "patchline_drift_embedding_ratio",
            "Distance of a camera's mean embedding from calibration, over its limit: above 1 the picture has changed",
            on,
            registry=at,
        )
        self._alarms = Gauge("patchline_alarms", "1 while an alarm is not cleared", ["camera"], registry=at)
        self._alarm_events = Counter("patchline_alarm_events", "Changes of alarms", ["camera", "change"], registry=at)
        self._alarm_gaps = Counter(
            "patchline_alarm_results_lost", "Results that alarms will never reflect, by cause", ["cause"], registry=at
        )
        for cause in AlarmGap:
            self._alarm_gaps.labels(cause.value)
        self._shelved_alarms = Gauge(
            "patchline_alarms_shelved",
            "1 while an alarm is shelved, and not shown by patchline_alarms",
            ["camera"],
            registry=at,
        )
        self._foreign = Counter(
            "patchline_foreign", "What others wrote and was passed over, because it is not ours", ["what"], registry=at
        )
        for what in Foreign:
            self._foreign.labels(what.value)
        self._redis = Gauge("patchline_redis_up", "1 while the Redis answers", ["holds"], registry=at)
        build = Gauge("patchline_build_info", "1, labelled by the running version", ["version"], registry=at)
        build.labels(version("patchline")).set(1)

    def expect(self, cameras: Sequence[str]) -> None:
        """Show these cameras from the start, at zero, so that a silent one is seen; they are always told apart."""
        for camera in cameras:
            self._cameras.add(camera)
            self._received.labels(camera)
            self._alarms.labels(camera)
            for verdict in Verdict:
                self._frames.labels(camera, verdict.value)

    def banks(self, banks: Mapping[str, MemoryBank]) -> None:
        """The banks that judge from now on, by recipe."""
        self._recipes.update(banks)
        for recipe, bank in banks.items():
            self._rows.labels(recipe).set(len(bank.rows))
            self._generation.labels(recipe).set(bank.generation)
            self._radius.labels(recipe).set(bank.covering_radius)
            self._threshold.labels(recipe).set(bank.threshold)
            self._generations_refused.labels(recipe)

    def _camera(self, camera: str) -> str:
        if camera not in self._cameras:
            if len(self._cameras) >= self._max_cameras:
                return OTHER
            self._cameras.add(camera)
        return camera

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

    def frame_received(self, camera: str) -> None:
        """See `Observer`."""
        self._received.labels(self._camera(camera)).inc()

    def frame_dropped(self, camera: str, cause: DropCause) -> None:
        """See `Observer`."""
        self._dropped.labels(self._camera(camera), cause.value).inc()

    def stage_seconds(self, stage: Stage, camera: str, seconds: float) -> None:  # noqa: ARG002 - told apart by stage only
        """See `Observer`."""
        self._stage.labels(stage).observe(seconds)

    def batch_closed(self, size: int) -> None:
        """See `Observer`."""
        self._batch.observe(size)

    def queue_depth(self, queue: Queue, depth: int) -> None:
        """See `Observer`."""
        self._queue.labels(queue).set(depth)

    def judged(
        self,
        frame: Frame,
        prepared: Image | None,  # noqa: ARG002 - metrics do not look at pixels
        inspection: Inspection | None,
        result: Result,  # noqa: ARG002 - counted once it is delivered
    ) -> None:
        """See `Observer`. The recipe is one of the loaded ones wherever there is an inspection."""
        if inspection is not None:
            self._score.labels(frame.recipe).observe(inspection.score)

    def result(self, result: Result) -> None:
        """See `Observer`."""
        camera = self._camera(result.camera)
        self._frames.labels(camera, result.verdict.value).inc()
        if result.reason is not None:
            self._not_inspected.labels(camera, result.reason).inc()
        if result.late:
            self._late.labels(camera).inc()

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

    def camera_connected(self, camera: str, connected: bool) -> None:
        """See `Observer`."""
        self._connected.labels(self._camera(camera)).set(connected)

    def alarm(self, event: AlarmEvent) -> None:
        """See `Observer`. Of a shelved alarm nobody is to be alerted, so its changes are not counted."""
        camera = self._camera(event.camera)
        if not event.shelved or event.operator is not None:
            self._alarm_events.labels(camera, event.change.value).inc()
        self.alarm_state(event.camera, event.state)

    def alarm_state(self, camera: str, state: AlarmState | None) -> None:
        """See `Observer`. An alarm that another worker follows is that worker's to report."""
        if (camera := self._camera(camera)) == OTHER:
            return
        if state is None:
            self._alarms.remove_by_labels({"camera": camera})
            self._alarm_states.pop(camera, None)
        else:
            self._alarm_states[camera] = state
            self._alarms.labels(camera).set(state is not AlarmState.NORMAL and camera not in self._shelved)

    def alarm_shelved(self, camera: str, shelved: bool) -> None:
        """See `Observer`. `patchline_alarms` is 0 meanwhile, so that no rule alerts of it."""
        if (name := self._camera(camera)) == OTHER:
            return
        if shelved:
            self._shelved.add(name)
            self._shelved_alarms.labels(name).set(1)
            if name in self._alarm_states:
                self._alarms.labels(name).set(0)
        elif name in self._shelved:
            self._shelved.discard(name)
            self._shelved_alarms.remove_by_labels({"camera": name})
            if name in self._alarm_states:
                self.alarm_state(camera, self._alarm_states[name])

    def foreign(self, what: Foreign, detail: str) -> None:  # noqa: ARG002 - the log has the rest
        """See `Observer`."""
        self._foreign.labels(what.value).inc()

    def alarm_gap(self, cause: AlarmGap, results: int) -> None:
        """See `Observer`."""
        self._alarm_gaps.labels(cause.value).inc(results)

    def alarm_store(self, up: bool) -> None:
        """See `Observer`."""
        self._redis.labels("alarms").set(up)

    def frame_storage(self, storage: str, up: bool) -> None:
        """See `Observer`. The settings name the storage."""
        self._storage.labels(storage).set(up)

    def lanes_held(self, lanes: int) -> None:
        """See `Observer`."""
        self._held.set(lanes)

    def evidence(self, recipe: str, outcome: str) -> None:  # noqa: ARG002 - one store for all recipes
        """See `Observer`."""
        self._evidence.labels(outcome).inc()

    def drift(self, camera: str, recipe: str, drift: Drift) -> None:
        """See `Observer`."""
        if (name := self._camera(camera)) != OTHER:
            self._drift_p.labels(name, recipe).set(drift.score_p)
            self._drift_embedding.labels(name, recipe).set(drift.embedding_distance / drift.embedding_limit)

    def feedback(self, reply: FeedbackReply) -> None:
        """See `Observer`. Feedback may ask for any recipe; those that are not here are counted together."""
        recipe = reply.recipe if reply.recipe in self._recipes else OTHER
        self._feedback.labels(recipe, reply.outcome.value).inc()

    def generation(self, recipe: str, bank: MemoryBank) -> None:
        """See `Observer`."""
        self._generations.labels(recipe).inc()
        self.banks({recipe: bank})

    def generation_refused(self, recipe: str, number: int, error: Exception) -> None:  # noqa: ARG002 - the log has them
        """See `Observer`."""
        self._generations_refused.labels(recipe).inc()

    def damaged_file(self, what: StoredKind, where: str, why: str) -> None:  # noqa: ARG002 - the log has the rest
        """See `Observer`."""
        self._damaged.labels(what).inc()

    def retrying(self, what: str, error: BaseException, attempt: int) -> None:  # noqa: ARG002 - the log has the rest
        """See `Observer`."""
        if what not in self._retried:
            if len(self._retried) >= MAX_RETRIED:
                what = OTHER
            else:
                self._retried.add(what)
        self._retries.labels(what).inc()
