"""Metrics of alarms, and of what others wrote where alarms and learning read."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from patchline.ops.telemetry.camera_labels import OTHER, CameraLabels
from patchline.stream.model.alarm import AlarmEvent, AlarmState
from patchline.stream.model.errors import AlarmGap, Foreign
from patchline.stream.model.observer import Observer


class AlarmMetrics(Observer):
    """States of alarms and their changes.

    Args:
        registry: where the metrics are registered.
        cameras: which cameras are told apart.
    """

    def __init__(self, registry: CollectorRegistry, cameras: CameraLabels) -> None:
        at, self._label = registry, cameras.of
        self._shelved: set[str] = set()
        self._alarm_states: dict[str, AlarmState] = {}
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

    def expect(self, camera: str) -> None:
        """Show this camera's alarm from the start."""
        self._alarms.labels(camera)

    def alarm(self, event: AlarmEvent) -> None:
        """See `Observer`. Of a shelved alarm nobody is to be alerted, so its changes are not counted."""
        camera = self._label(event.camera)
        if not event.shelved or event.operator is not None:
            self._alarm_events.labels(camera, event.change.value).inc()
        self.alarm_state(event.camera, event.state)

    def alarm_state(self, camera: str, state: AlarmState | None) -> None:
        """See `Observer`. An alarm that another worker follows is that worker's to report."""
        if (camera := self._label(camera)) == OTHER:
            return
        if state is None:
            self._alarms.remove_by_labels({"camera": camera})
            self._alarm_states.pop(camera, None)
        else:
            self._alarm_states[camera] = state
            self._alarms.labels(camera).set(state is not AlarmState.NORMAL and camera not in self._shelved)

    def alarm_shelved(self, camera: str, shelved: bool) -> None:
        """See `Observer`. `patchline_alarms` is 0 meanwhile, so that no rule alerts of it."""
        if (name := self._label(camera)) == OTHER:
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

    def alarm_gap(self, cause: AlarmGap, results: int) -> None:
        """See `Observer`."""
        self._alarm_gaps.labels(cause.value).inc(results)

    def alarm_store(self, up: bool) -> None:
        """See `Observer`."""
        self._redis.labels("alarms").set(up)

    def foreign(self, what: Foreign, detail: str) -> None:  # noqa: ARG002 - the log has the rest
        """See `Observer`."""
        self._foreign.labels(what.value).inc()
