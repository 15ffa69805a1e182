"""Metrics of the cameras that the worker opens itself: the state of each, from the start."""

from prometheus_client import CollectorRegistry, Gauge

from patchline.ops.telemetry.camera_labels import CameraLabels
from patchline.stream.model.camera_event import DELIVERING_STATES
from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.observer import Observer


class CameraMetrics(Observer):
    """What each camera is doing.

    Args:
        registry: where the metrics are registered.
        cameras: which cameras are told apart.
    """

    def __init__(self, registry: CollectorRegistry, cameras: CameraLabels) -> None:
        self._label = cameras.of
        self._state = Gauge(
            "patchline_camera_state",
            "1 for the state that a camera which the worker opens is in, 0 for every other",
            ["camera", "state"],
            registry=registry,
        )
        self._connected = Gauge(
            "patchline_camera_connected",
            "1 while a camera that the worker opens delivers pictures, whatever they are like",
            ["camera"],
            registry=registry,
        )

    def expect(self, camera: str) -> None:
        """Show this camera, which is connecting, from the start."""
        self._show(camera, CameraState.CONNECTING)

    def forget(self, camera: str) -> None:
        """Show this camera no more."""
        self._state.remove_by_labels({"camera": camera})
        self._connected.remove_by_labels({"camera": camera})

    def camera_state(self, camera: str, state: CameraState, detail: str) -> None:  # noqa: ARG002 - the log has it
        """See `Observer`."""
        self._show(self._label(camera), state)

    def _show(self, label: str, state: CameraState) -> None:
        for each in CameraState:
            self._state.labels(label, each.value).set(each is state)
        self._connected.labels(label).set(state in DELIVERING_STATES)
