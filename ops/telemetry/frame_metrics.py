"""Metrics of frames: received, judged and dropped, how long that took, and what they wait for."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from patchline.engine.types import Verdict
from patchline.ops.telemetry.camera_labels import OTHER, CameraLabels
from patchline.stream.model.errors import DropCause
from patchline.stream.model.observer import Observer, Queue, Stage
from patchline.stream.model.result import Result

MAX_RETRIED = 64
"""How many things that were away are told apart; further ones are counted as `other`."""
STAGE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class FrameMetrics(Observer):
    """What becomes of frames.

    Args:
        registry: where the metrics are registered.
        cameras: which cameras are told apart.
    """

    def __init__(self, registry: CollectorRegistry, cameras: CameraLabels) -> None:
        at, self._label = registry, cameras.of
        self._retried: set[str] = set()
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
        self._retries = Counter(
            "patchline_retries", "Attempts repeated because something was away", ["what"], registry=at
        )
        self._storage = Gauge(
            "patchline_frame_storage_up", "1 while storage that frames refer to answers", ["storage"], registry=at
        )
        self._held = Gauge(
            "patchline_partitions_held", "Partitions not read while their frames wait, for storage say", registry=at
        )

    def expect(self, camera: str) -> None:
        """Show this camera at zero from the start."""
        self._received.labels(camera)
        for verdict in Verdict:
            self._frames.labels(camera, verdict.value)

    def frame_received(self, camera: str) -> None:
        """See `Observer`."""
        self._received.labels(self._label(camera)).inc()

    def frame_dropped(self, camera: str, cause: DropCause) -> None:
        """See `Observer`."""
        self._dropped.labels(self._label(camera), cause.value).inc()

    def stage_seconds(self, stage: Stage, camera: str, seconds: float) -> None:  # noqa: ARG002 - told apart by stage only
        """See `Observer`."""
        self._stage.labels(stage).observe(seconds)

    def batch_closed(self, size: int) -> None:
        """See `Observer`."""
        self._batch.observe(size)

    def queue_depth(self, queue: Queue, depth: int) -> None:
        """See `Observer`."""
        self._queue.labels(queue).set(depth)

    def result(self, result: Result) -> None:
        """See `Observer`."""
        camera = self._label(result.camera)
        self._frames.labels(camera, result.verdict.value).inc()
        if result.reason is not None:
            self._not_inspected.labels(camera, result.reason).inc()
        if result.late:
            self._late.labels(camera).inc()

    def frame_storage(self, storage: str, up: bool) -> None:
        """See `Observer`. The settings name the storage."""
        self._storage.labels(storage).set(up)

    def lanes_held(self, lanes: int) -> None:
        """See `Observer`."""
        self._held.set(lanes)

    def retrying(self, what: str, error: BaseException, attempt: int) -> None:  # noqa: ARG002 - the log has the rest
        """See `Observer`."""
        if what not in self._retried:
            if len(self._retried) >= MAX_RETRIED:
                what = OTHER
            else:
                self._retried.add(what)
        self._retries.labels(what).inc()
