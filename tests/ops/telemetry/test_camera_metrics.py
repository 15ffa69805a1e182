"""Each camera has one state, from the start."""

from prometheus_client import CollectorRegistry

from patchline.ops.telemetry.metrics import Metrics
from patchline.stream.model.camera_event import DELIVERING_STATES
from patchline.stream.model.camera_state import CameraState


def states(metrics: Metrics, camera: str) -> set[str]:
    """Those that a camera is in."""
    return {state.value for state in CameraState if value(metrics.registry, camera, state)}


def value(registry: CollectorRegistry, camera: str, state: CameraState) -> float | None:
    return registry.get_sample_value("patchline_camera_state", {"camera": camera, "state": state.value})


def test_cameras_are_connecting_from_the_start_and_in_one_state_at_a_time() -> None:
    """Every state is there, at 0 or 1; a camera whose frames come through Kafka has none."""
    metrics = Metrics(process=False)
    metrics.expect(["a", "b", "through-kafka"], ["a", "b"])
    assert states(metrics, "a") == states(metrics, "b") == {"connecting"}
    assert all(value(metrics.registry, "a", state) is not None for state in CameraState)
    assert all(value(metrics.registry, "through-kafka", state) is None for state in CameraState)
    for state in CameraState:
        metrics.camera_state("a", state, "")
        assert states(metrics, "a") == {state.value}
        connected = metrics.registry.get_sample_value("patchline_camera_connected", {"camera": "a"})
        assert connected == (state in DELIVERING_STATES)
    assert states(metrics, "b") == {"connecting"}
    assert {"dark", "ok", "late", "damaged"} <= DELIVERING_STATES
    assert not {"connecting", "no_packets", "unauthorised"} & DELIVERING_STATES
