"""An observer that writes the log."""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import structlog

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.stream.model.alarm import AlarmChange, AlarmEvent
from patchline.stream.model.errors import AlarmGap, DropCause, Foreign, LogBreak
from patchline.stream.model.feedback import FeedbackReply
from patchline.stream.model.observer import Observer, StoredKind
from patchline.stream.model.result import Result

LONGEST = 1_000
"""Characters of what a stored file says of itself."""
_PARTED = {
    LogBreak.EXPIRED: "frames lost: the log begins later than the remembered offset",
    LogBreak.TRUNCATED: "frames lost: the log was cut short",
    LogBreak.RECREATED: "frames may be lost: the topic was made anew, or its offset forgotten",
    LogBreak.PARTITION_ADDED: "a partition was added, and is read from its first record",
}
REPEAT_AFTER_S = 10.0
"""What repeats is logged again only after so long, with how often it happened meanwhile."""
MAX_SUBJECTS = 100
MAX_SUBJECT = 300
"""So many new subjects have a line of their own within that time, and so many characters of a name tell two apart."""
OTHERS = "others"


class LogObserver(Observer):
    """Logs what an operator should know: readiness, connections, alarms, what is away, what could not be inspected."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._log = structlog.get_logger("patchline")
        self._clock = clock
        self._last: dict[tuple[str, str], float] = {}
        self._missed: dict[tuple[str, str], int] = {}
        self._crowds: dict[str, tuple[float, int]] = {}
        """By event: since when, and how many subjects were new."""
        self._no_kafka: str | None = None
        self._too_many_cameras = False

    def ready(self, ready: bool) -> None:
        """See `Observer`."""
        self._log.info("taking frames" if ready else "no longer taking frames")

    def frame_dropped(self, camera: str, cause: DropCause) -> None:
        """See `Observer`."""
        self._seldom("warning", "live frames dropped", camera, cause.value)

    def result(self, result: Result) -> None:
        """See `Observer`."""
        if result.reason is not None:
            self._seldom(
                "warning",
                "frame not inspected",
                result.camera,
                result.reason,
                frame=result.frame_id,
                detail=result.detail,
            )

    def partitions(self, topic: str, partitions: Sequence[int]) -> None:
        """See `Observer`."""
        self._log.info("partitions assigned", topic=topic, partitions=list(partitions))

    def log_break(
        self, topic: str, partition: int, cause: LogBreak, expected: int | None, found: int, lost: int | None
    ) -> None:
        """See `Observer`."""
        log = self._log.info if cause is LogBreak.PARTITION_ADDED else self._log.warning
        log(
            _PARTED[cause],
            cause=cause.value,
            topic=topic,
            partition=partition,
            expected_offset=expected,
            read_from=found,
            frames_lost="unknown" if lost is None else lost,
        )

    def kafka(self, up: bool, why: str | None) -> None:
        """See `Observer`. The same reason is logged again only now and then."""
        if why is not None:
            self._seldom("warning", "no frames from Kafka", "kafka", why, brokers_answer=up)
        elif self._no_kafka is not None:
            self._log.info("frames from Kafka again")
        self._no_kafka = why

    def kafka_lacks(self, what: str) -> None:
        """See `Observer`."""
        self._log.warning("the Kafka brokers are older than what is used where it is there", missing=what)

    def topic_setting(self, topic: str, setting: str, before: str, after: str, refused: str | None) -> None:
        """See `Observer`."""
        if refused is None:
            self._log.info("topic setting changed", topic=topic, setting=setting, before=before, after=after)
        else:
            self._log.warning(
                "topic setting left as it is", topic=topic, setting=setting, found=before, expected=after, why=refused
            )

    def crash_found(self, topic: str, partition: int, frames: int) -> None:
        """See `Observer`."""
        self._log.warning("a crash was found", topic=topic, partition=partition, retried_alone_at_most=frames)

    def camera_connected(self, camera: str, connected: bool) -> None:
        """See `Observer`. One that comes and goes is logged now and then; metrics have each time."""
        event = "camera connected" if connected else "camera disconnected"
        key, now = (event, camera), self._clock()
        if now - self._last.get(key, -REPEAT_AFTER_S) < REPEAT_AFTER_S:
            return
        self._last[key] = now
        if connected:
            self._log.info(event, camera=camera)
        else:
            self._log.warning(event, camera=camera)

    def alarm(self, event: AlarmEvent) -> None:
        """See `Observer`."""
        alerts = event.change in (AlarmChange.RAISED, AlarmChange.RERAISED) and not event.shelved
        write = self._log.warning if alerts else self._log.info
        extra: dict[str, Any] = {"operator": event.operator} if event.operator else {"frame": event.frame_id}
        extra |= {"shelved": True} if event.shelved else {}
        write(
            f"alarm {event.change.value}", camera=event.camera, alarm=event.alarm_id, state=event.state.value, **extra
        )

    def alarm_gap(self, cause: AlarmGap, results: int) -> None:
        """See `Observer`."""
        if cause is AlarmGap.TOO_MANY_CAMERAS:  # it goes on until somebody changes something
            if not self._too_many_cameras:
                self._too_many_cameras = True
                hint = "alarms.max_cameras bounds how many cameras have alarms; patchline alarms forget removes one"
                self._log.warning("no alarms of further cameras", cause=cause.value, hint=hint)
            return
        self._seldom("warning", "results never reached the alarms", "alarms", cause.value, results=results)

    def foreign(self, what: Foreign, detail: str) -> None:
        """See `Observer`."""
        self._seldom("warning", "passed over: not ours", what.value, "foreign", detail=detail)

    def retrying(self, what: str, error: BaseException, attempt: int) -> None:
        """See `Observer`."""
        self._seldom("warning", "away, trying again", what, type(error).__name__, error=str(error), attempt=attempt)

    def frame_storage(self, storage: str, up: bool) -> None:
        """See `Observer`."""
        if up:
            self._log.info("storage of frames answers", storage=storage)
        else:
            self._log.warning("storage of frames is away: its frames wait", storage=storage)

    def evidence(self, recipe: str, outcome: str) -> None:
        """See `Observer`."""
        if outcome != "kept":
            self._seldom("warning", "evidence lost", recipe, outcome)

    def feedback(self, reply: FeedbackReply) -> None:
        """See `Observer`."""
        extra = {"detail": reply.detail} if reply.detail else {}
        self._log.info(
            f"feedback {reply.outcome.value}",
            feedback=reply.feedback_id,
            recipe=reply.recipe,
            frame=reply.frame_id,
            verdict=reply.verdict,
            operator=reply.operator,
            **extra,
        )

    def generation(self, recipe: str, bank: MemoryBank) -> None:
        """See `Observer`."""
        self._log.info(
            "generation taken", recipe=recipe, generation=bank.generation, rows=len(bank.rows), threshold=bank.threshold
        )

    def generation_refused(self, recipe: str, number: int, error: Exception) -> None:
        """See `Observer`."""
        self._seldom(
            "error", "generation refused", recipe, type(error).__name__, generation=number, error=str(error)[:LONGEST]
        )

    def damaged_file(self, what: StoredKind, where: str, why: str) -> None:
        """See `Observer`."""
        self._seldom("warning", "damaged file passed over", what, where[:LONGEST], why=why[:LONGEST])

    def _seldom(self, level: str, event: str, subject: str, cause: str, **more: Any) -> None:
        key, now = (event, f"{subject[:MAX_SUBJECT]}/{cause}"), self._clock()
        if key not in self._last and self._is_crowded(event, now):
            subject, key = OTHERS, (event, f"{OTHERS}/{cause}")
        if now - self._last.get(key, -REPEAT_AFTER_S) < REPEAT_AFTER_S:
            self._missed[key] = self._missed.get(key, 0) + 1
            return
        if len(self._last) > 10_000:  # subjects come with the frames: what is remembered of them stays bounded
            self._last.clear()
            self._missed.clear()
        self._last[key] = now
        if missed := self._missed.pop(key, 0):
            more["and_before"] = missed
        getattr(self._log, level)(event, subject=subject, cause=cause, **more)

    def _is_crowded(self, event: str, now: float) -> bool:
        """Whether so many new subjects had a line of this event lately that one more is told with the others."""
        since, count = self._crowds.get(event, (now, 0))
        if now - since >= REPEAT_AFTER_S:
            since, count = now, 0
        self._crowds[event] = since, count + 1
        return count >= MAX_SUBJECTS
