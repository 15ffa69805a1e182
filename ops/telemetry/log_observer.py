"""An observer that writes the log."""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import structlog

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.stream.model.alarm import AlarmChange, AlarmEvent
from patchline.stream.model.errors import AlarmGap, DropCause, Foreign
from patchline.stream.model.feedback import FeedbackReply
from patchline.stream.model.observer import Observer
from patchline.stream.model.result import Result

REPEAT_AFTER_S = 10.0
"""What repeats is logged again only after so long, with how often it happened meanwhile."""


class LogObserver(Observer):
    """Logs what an operator should know: readiness, connections, alarms, what is away, what could not be inspected."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._log = structlog.get_logger("patchline")
        self._clock = clock
        self._last: dict[tuple[str, str], float] = {}
        self._missed: dict[tuple[str, str], int] = {}
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

    def crash_found(self, topic: str, partition: int, frames: int) -> None:
        """See `Observer`."""
        self._log.warning("a crash was found", topic=topic, partition=partition, retried_alone_at_most=frames)

    def camera_connected(self, camera: str, connected: bool) -> None:
        """See `Observer`."""
        if connected:
            self._log.info("camera connected", camera=camera)
        else:
            self._log.warning("camera disconnected", camera=camera)

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

    def _seldom(self, level: str, event: str, subject: str, cause: str, **more: Any) -> None:
        key, now = (event, f"{subject}/{cause}"), self._clock()
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
