"""Metrics of a worker for Prometheus, on a registry of their own; fed by the stream's observer hooks.

Labels are bounded: cameras beyond `max_cameras` are counted together as `other`, and so is what is away beyond
`MAX_RETRIED`; recipes and topics come from the settings, and everything else is an enumeration.
"""

from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.ops.telemetry.alarm_metrics import AlarmMetrics
from patchline.ops.telemetry.bank_metrics import BankMetrics
from patchline.ops.telemetry.camera_labels import CameraLabels
from patchline.ops.telemetry.camera_metrics import CameraMetrics
from patchline.ops.telemetry.frame_metrics import FrameMetrics
from patchline.ops.telemetry.kafka_metrics import KafkaMetrics
from patchline.stream.model.observer import Fan


class Metrics(Fan):
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
        if process:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)
        self._cameras = CameraLabels(max_cameras)
        self._of_frames = FrameMetrics(self.registry, self._cameras)
        self._of_alarms = AlarmMetrics(self.registry, self._cameras)
        self._of_banks = BankMetrics(self.registry, self._cameras)
        self._of_cameras = CameraMetrics(self.registry, self._cameras)
        kafka = KafkaMetrics(self.registry)
        super().__init__(self._of_frames, kafka, self._of_alarms, self._of_banks, self._of_cameras)
        build = Gauge("patchline_build_info", "1, labelled by the running version", ["version"], registry=self.registry)
        build.labels(version("patchline")).set(1)

    def expect(self, cameras: Sequence[str], opened: Collection[str] = ()) -> None:
        """Show these cameras from the start, at zero, so that a silent one is seen; they are always told apart.

        Args:
            cameras: those that the settings list.
            opened: those of them that the worker opens itself: they have a state.
        """
        for camera in cameras:
            self._cameras.expect(camera)
            self._of_frames.expect(camera)
            self._of_alarms.expect(camera)
            if camera in opened:
                self._of_cameras.expect(camera)

    def forget(self, camera: str) -> None:
        """Show the state of this camera no more: the worker no longer opens it."""
        self._of_cameras.forget(camera)

    def banks(self, banks: Mapping[str, MemoryBank]) -> None:
        """The banks that judge from now on, by recipe."""
        self._of_banks.banks(banks)
