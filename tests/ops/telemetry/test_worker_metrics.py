"""Whether tasks move, and what the HTTP port turns away, as metrics."""

from prometheus_client import CollectorRegistry

from patchline.ops.telemetry.worker_metrics import ReloadMetrics, http_refusals, show_silence
from patchline.ops.web.connections import Refusal
from patchline.stream.support.heartbeat import Watchdog


def test_refusals_are_counted_by_cause() -> None:
    """Every cause is there from the start, at zero."""
    registry = CollectorRegistry()
    refused = http_refusals(Refusal, registry)
    refused(Refusal.HEAD)
    refused(Refusal.HEAD)
    for cause in Refusal:
        found = registry.get_sample_value("patchline_http_refused_total", {"cause": cause.value})
        assert found == (2 if cause is Refusal.HEAD else 0)


def test_silence_is_asked_for_when_metrics_are_read() -> None:
    """Of each part that is watched, also of one that came later."""
    registry, watchdog = CollectorRegistry(), Watchdog(1)
    show_silence(watchdog, registry)
    watchdog.heartbeat("engine").beat()
    watchdog.heartbeat("consumer")
    engine = registry.get_sample_value("patchline_task_seconds", {"task": "engine"})
    assert engine is not None
    assert 0 < engine < 60
    assert registry.get_sample_value("patchline_task_seconds", {"task": "consumer"}) == 0


def test_settings_that_are_refused_show_until_good_ones_are_read() -> None:
    """Whether or not those change anything."""
    registry = CollectorRegistry()
    metrics = ReloadMetrics(registry)

    def shown() -> list[float | None]:
        return [
            registry.get_sample_value("patchline_settings_last_reload_successful"),
            registry.get_sample_value("patchline_settings_reloads_total", {"outcome": "taken"}),
            registry.get_sample_value("patchline_settings_reloads_total", {"outcome": "refused"}),
        ]

    assert shown() == [1, 0, 0]
    metrics.refused()
    assert shown() == [0, 0, 1]
    metrics.good()
    assert shown() == [1, 0, 1]
    metrics.taken()
    assert shown() == [1, 1, 1]
