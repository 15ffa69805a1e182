"""Metrics, on a fresh registry, scraped over real HTTP."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast, get_args

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.types import Verdict
from patchline.ops.errors import InputError
from patchline.ops.telemetry.camera_labels import OTHER
from patchline.ops.telemetry.metrics import Metrics
from patchline.ops.web.server import HttpServer
from patchline.stream.model.alarm import AlarmChange, AlarmEvent, AlarmState
from patchline.stream.model.errors import AlarmGap, DropCause, Foreign, LogBreak
from patchline.stream.model.observer import StoredKind
from patchline.stream.model.result import Result

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Samples = dict[tuple[str, ...], float]


class Worker:
    """Metrics behind a server, and what it takes to scrape them."""

    def __init__(self) -> None:
        self.metrics = Metrics(max_cameras=2, process=False)
        self.why_not: str | None = "loading banks"
        self.remark: str | None = None
        self.server = HttpServer(self.metrics.registry, lambda: self.why_not, remark=lambda: self.remark)

    async def get(self, path: str) -> tuple[int, str]:
        async with httpx.AsyncClient() as client:
            answer = await client.get(self.server.url + path)
            return answer.status_code, answer.text

    async def scrape(self) -> Samples:
        """Samples by name and label values, in the order of the labels' names."""
        _, text = await self.get("/metrics")
        return {
            (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    """A server on a free port."""
    one = Worker()
    await one.server.start()
    yield one
    await one.server.stop()


def result(camera: str, verdict: Verdict, reason: str | None = None) -> Result:
    """A result of nothing in particular."""
    return Result(
        frame_id="f",
        camera=camera,
        recipe="r",
        time=NOW,
        inspected_at=NOW,
        verdict=verdict,
        latency_ms=1.0,
        reason=reason,
    )


async def test_frames_are_counted_by_camera_and_outcome(worker: Worker) -> None:
    """Every received frame ends in one outcome or one drop cause; expected cameras show at zero."""
    metrics = worker.metrics
    metrics.expect(["a"])
    assert (await worker.scrape())["patchline_frames_total", "a", "reject"] == 0
    for _ in range(3):
        metrics.frame_received("a")
    metrics.result(result("a", Verdict.REJECT))
    metrics.result(result("a", Verdict.NOT_INSPECTED, "truncated"))
    metrics.frame_dropped("a", DropCause.SUPERSEDED)
    found = await worker.scrape()
    assert found["patchline_frames_received_total", "a"] == 3
    assert found["patchline_frames_total", "a", "reject"] == 1
    assert found["patchline_frames_total", "a", "not_inspected"] == 1
    assert found["patchline_not_inspected_total", "a", "truncated"] == 1
    assert found["patchline_frames_dropped_total", "a", "superseded"] == 1


async def test_cameras_beyond_the_bound_are_counted_together(worker: Worker) -> None:
    """Whatever names producers invent, the number of series stays bounded and no frame goes uncounted."""
    for number in range(100):
        worker.metrics.frame_received(f"camera-{number}")
        worker.metrics.alarm(
            AlarmEvent(
                camera=f"camera-{number}",
                alarm_id="f",
                change=AlarmChange.RAISED,
                state=AlarmState.UNACKNOWLEDGED,
                time=NOW,
            )
        )
    found = await worker.scrape()
    received = {key[1]: value for key, value in found.items() if key[0] == "patchline_frames_received_total"}
    assert received == {"camera-0": 1, "camera-1": 1, OTHER: 98}
    assert {key[1] for key in found if key[0] == "patchline_alarms"} == {"camera-0", "camera-1"}


async def test_stages_batches_queues_and_lag(worker: Worker) -> None:
    """Histograms count what they saw; the lag of a partition that went elsewhere is no longer reported here."""
    metrics = worker.metrics
    metrics.stage_seconds("decode", "a", 0.02)
    metrics.batch_closed(4)
    metrics.queue_depth("batcher", 7)
    metrics.partitions("frames", [0, 1])
    metrics.consumer_lag("frames", 0, 12)
    metrics.consumer_lag("frames", 1, 5)
    metrics.partitions("frames", [0])
    metrics.crash_found("frames", 0, 3)
    found = await worker.scrape()
    assert found["patchline_crashes_found_total",] == 1
    assert found["patchline_stage_seconds_count", "decode"] == 1
    assert found["patchline_stage_seconds_sum", "decode"] == pytest.approx(0.02)
    assert found["patchline_batch_size_sum",] == 4
    assert found["patchline_queue_depth", "batcher"] == 7
    lag = {key[1]: value for key, value in found.items() if key[0] == "patchline_consumer_lag"}
    assert lag == {"0": 12}
    assert {key[1] for key in found if key[0] == "patchline_partition_assigned"} == {"0"}


async def test_losing_a_partition_that_never_lagged_is_fine(worker: Worker) -> None:
    """A partition may go before its lag was ever seen."""
    worker.metrics.partitions("frames", [0])
    worker.metrics.partitions("frames", [])
    assert not [key for key in await worker.scrape() if key[0] == "patchline_consumer_lag"]


async def test_whether_kafka_answers_and_frames_can_be_read_shows(worker: Worker) -> None:
    """A worker without Kafka has none that is down. One that cannot read frames now is not ready, though it runs."""
    metrics = worker.metrics
    found = await worker.scrape()
    assert not [key for key in found if key[0] == "patchline_kafka_up"]
    metrics.kafka(False, "away")
    metrics.ready(True)
    for up, why, ready in ((False, "away", 0), (True, "no topic", 0), (True, None, 1)):
        metrics.kafka(up, why)
        found = await worker.scrape()
        assert (found["patchline_kafka_up", "frames"], found["patchline_ready",]) == (up, ready)
    metrics.ready(False)
    metrics.kafka(True, None)
    assert (await worker.scrape())["patchline_ready",] == 0


async def test_logs_that_are_others_and_what_was_lost_with_them_are_counted(worker: Worker) -> None:
    """By cause, from zero on; what nobody knows counts as an event alone."""
    found = await worker.scrape()
    assert {key[1]: value for key, value in found.items() if key[0] == "patchline_frames_lost_total"} == dict.fromkeys(
        LogBreak, 0
    )
    worker.metrics.log_break("frames", 0, LogBreak.EXPIRED, 5, 15, 10)
    worker.metrics.log_break("frames", 1, LogBreak.RECREATED, 5, 0, None)
    found = await worker.scrape()
    lost = {key[1]: value for key, value in found.items() if key[0] == "patchline_frames_lost_total"}
    breaks = {key[1]: value for key, value in found.items() if key[0] == "patchline_log_breaks_total"}
    assert lost == dict.fromkeys(LogBreak, 0) | {"expired": 10}
    assert breaks == dict.fromkeys(LogBreak, 0) | {"expired": 1, "recreated": 1}


async def test_feedback_that_was_gone_before_it_was_read_is_counted(worker: Worker) -> None:
    """As far as anybody knows how much it was."""
    assert (await worker.scrape())["patchline_feedback_lost_total",] == 0
    worker.metrics.feedback_gap("feedback", 0, LogBreak.EXPIRED, 5, 15, 10)
    worker.metrics.feedback_gap("feedback", 1, LogBreak.TRUNCATED, 5, 0, None)
    assert (await worker.scrape())["patchline_feedback_lost_total",] == 10


async def test_whether_alarms_reach_redis_shows(worker: Worker) -> None:
    """Redis up or down, results that alarms lost by cause, and the alarm of a camera that moved to another worker."""
    worker.metrics.alarm_store(True)
    worker.metrics.alarm_gap(AlarmGap.EXPIRED, 6)
    worker.metrics.alarm_state("a", AlarmState.ACKNOWLEDGED)
    found = await worker.scrape()
    assert found["patchline_redis_up", "alarms"] == 1
    assert found["patchline_alarm_results_lost_total", "expired"] == 6
    assert found["patchline_alarms", "a"] == 1
    worker.metrics.alarm_store(False)
    worker.metrics.alarm_state("a", None)
    found = await worker.scrape()
    assert found["patchline_redis_up", "alarms"] == 0
    assert ("patchline_alarms", "a") not in found


async def test_storage_that_is_away_and_what_it_holds_up_show(worker: Worker) -> None:
    """By the prefix of the settings, and in how many partitions wait."""
    assert (await worker.scrape())["patchline_partitions_held",] == 0
    worker.metrics.frame_storage("s3://line-3", False)
    worker.metrics.lanes_held(2)
    found = await worker.scrape()
    assert found["patchline_frame_storage_up", "s3://line-3"] == 0
    assert found["patchline_partitions_held",] == 2
    worker.metrics.frame_storage("s3://line-3", True)
    assert (await worker.scrape())["patchline_frame_storage_up", "s3://line-3"] == 1


async def test_an_alarm_shows_until_it_is_cleared(worker: Worker) -> None:
    """The gauge is 1 from raised to cleared, whoever has acknowledged."""
    for change, state, shown in (
        (AlarmChange.RAISED, AlarmState.UNACKNOWLEDGED, 1),
        (AlarmChange.ACKNOWLEDGED, AlarmState.ACKNOWLEDGED, 1),
        (AlarmChange.CLEARED, AlarmState.NORMAL, 0),
    ):
        worker.metrics.alarm(AlarmEvent(camera="a", alarm_id="f", change=change, state=state, time=NOW))
        assert (await worker.scrape())["patchline_alarms", "a"] == shown


async def test_health_and_readiness(worker: Worker) -> None:
    """`/healthz` answers at once; `/readyz` is 503 with the reason until frames are taken."""
    assert await worker.get("/healthz") == (200, "ok\n")
    assert await worker.get("/readyz") == (503, "loading banks\n")
    worker.why_not = None
    assert await worker.get("/readyz") == (200, "ready\n")
    worker.remark = "one of two partitions waits"
    assert await worker.get("/readyz") == (200, "ready; one of two partitions waits\n")


async def test_a_taken_port_is_named(worker: Worker) -> None:
    """A port in use is bad input that names the key to change."""
    second = HttpServer(worker.metrics.registry, lambda: None, port=worker.server.port)
    with pytest.raises(InputError, match=r"http\.port"):
        await second.start()


async def test_what_is_damaged_is_counted_from_zero(worker: Worker) -> None:
    """Generations by recipe, files by what they were to hold: names of others make no series."""
    worker.metrics.banks(
        {"plate": cast(MemoryBank, SimpleNamespace(rows=[0], generation=1, covering_radius=1.0, threshold=2.0))}
    )
    found = await worker.scrape()
    assert found["patchline_generations_refused_total", "plate"] == 0
    assert {key[1] for key in found if key[0] == "patchline_damaged_files_total"} == set(get_args(StoredKind))
    worker.metrics.generation_refused("plate", 7, ValueError("altered"))
    worker.metrics.damaged_file("evidence", "a/b.json", "truncated")
    found = await worker.scrape()
    assert found["patchline_generations_refused_total", "plate"] == 1
    assert found["patchline_damaged_files_total", "evidence"] == 1
    assert found["patchline_damaged_files_total", "usage"] == 0


async def test_a_shelved_alarm_alerts_nobody(worker: Worker) -> None:
    """The gauge that rules look at is 0 meanwhile and what it should be afterwards; its changes are not counted."""
    metrics = worker.metrics
    metrics.alarm_state("a", AlarmState.UNACKNOWLEDGED)
    metrics.alarm_shelved("a", True)
    found = await worker.scrape()
    assert (found["patchline_alarms", "a"], found["patchline_alarms_shelved", "a"]) == (0, 1)
    returned, cleared = (AlarmState.RETURNED, AlarmState.NORMAL)
    quiet = AlarmEvent(camera="a", alarm_id="f", change=AlarmChange.RETURNED, state=returned, time=NOW, shelved=True)
    metrics.alarm(quiet)
    found = await worker.scrape()
    assert found["patchline_alarms", "a"] == 0
    assert ("patchline_alarm_events_total", "a", "returned") not in found
    metrics.alarm_shelved("a", False)
    found = await worker.scrape()
    assert found["patchline_alarms", "a"] == 1
    assert ("patchline_alarms_shelved", "a") not in found
    metrics.alarm_state("a", cleared)
    assert (await worker.scrape())["patchline_alarms", "a"] == 0
    metrics.alarm_shelved("never seen", False)
    metrics.alarm_shelved("b", True)
    assert ("patchline_alarms", "b") not in await worker.scrape()


async def test_what_others_wrote_is_counted_by_kind(worker: Worker) -> None:
    """Every kind is there from the start, at zero."""
    worker.metrics.foreign(Foreign.ACKNOWLEDGEMENT, "a message of 3 MB")
    found = await worker.scrape()
    assert {key[1]: value for key, value in found.items() if key[0] == "patchline_foreign_total"} == {
        what.value: float(what is Foreign.ACKNOWLEDGEMENT) for what in Foreign
    }
