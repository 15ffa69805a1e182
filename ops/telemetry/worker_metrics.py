"""Metrics of a worker beside the stream: whether its tasks move, its settings, and what its HTTP port turns away."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from patchline.stream.support.heartbeat import Watchdog


def show_silence(watchdog: Watchdog, registry: CollectorRegistry) -> None:
    """Show for how long each of the parts that are watched has had work and not moved."""
    registry.register(_Silence(watchdog))


def http_refusals(causes: Iterable[str], registry: CollectorRegistry) -> Callable[[str], None]:
    """What counts connections of the HTTP port that were ended or turned away, by these causes."""
    refused = Counter(
        "patchline_http_refused",
        "Connections of the HTTP port that were ended or turned away, by cause",
        ["cause"],
        registry=registry,
    )
    for cause in causes:
        refused.labels(str(cause))
    return lambda cause: refused.labels(str(cause)).inc()


class ReloadMetrics:
    """Whether the settings file is what runs.

    Args:
        registry: where they are shown.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._successful = Gauge(
            "patchline_settings_last_reload_successful",
            "1 while the settings file is what runs, as far as it was read again",
            registry=registry,
        )
        self._successful.set(1)
        self._reloads = Counter(
            "patchline_settings_reloads", "Settings that were read again and differed", ["outcome"], registry=registry
        )
        for outcome in ("taken", "refused"):
            self._reloads.labels(outcome)

    def good(self) -> None:
        """The file was read again, and is what runs or what will run at once."""
        self._successful.set(1)

    def taken(self) -> None:
        """What the file says runs now, and differs from what ran before."""
        self._reloads.labels("taken").inc()

    def refused(self) -> None:
        """What the file says was refused."""
        self._successful.set(0)
        self._reloads.labels("refused").inc()


class _Silence(Collector):
    """Asks the watchdog whenever metrics are read, also where the part that hangs could no longer tell."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """See `Collector`."""
        silence = GaugeMetricFamily(
            "patchline_task_seconds", "How long a task has had work and not moved, in seconds", labels=["task"]
        )
        for part, heart in self._watchdog:
            silence.add_metric([part], heart.silent_s)
        yield silence
