from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from patchline.engine.types import Verdict
from patchline.ops.telemetry.log_observer import LogObserver
from patchline.stream.model.alarm import AlarmChange, AlarmEvent, AlarmState
from patchline.stream.model.errors import AlarmGap, DropCause, Foreign, LogBreak, Reason
from patchline.stream.model.feedback import FeedbackOutcome, FeedbackReply, FeedbackVerdict
from patchline.stream.model.result import Result
from tests.stream.scripted_learning import Bank

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def result(**more: Any) -> Result:
    fields: dict[str, Any] = {"verdict": Verdict.PASS} | more
    return Result(frame_id="f", camera="cam", recipe="plate", time=NOW, inspected_at=NOW, latency_ms=1.0, **fields)


def event(change: AlarmChange, operator: str | None = None) -> AlarmEvent:
    frame = None if operator else "f"
    return AlarmEvent(
        camera="cam", alarm_id="a", change=change, state=AlarmState.NORMAL, time=NOW, frame_id=frame, operator=operator
    )


def test_storage_of_frames_that_goes_away_and_comes_back_is_logged() -> None:
    """Once each."""
    with capture_logs() as lines:
        log = LogObserver(clock=Clock())
        log.frame_storage("s3://line-3", False)
        log.frame_storage("s3://line-3", True)
    assert [(line["log_level"], line["storage"]) for line in lines] == [
        ("warning", "s3://line-3"),
        ("info", "s3://line-3"),
    ]


def test_what_an_operator_should_know_is_logged() -> None:
    """One line for each: its level says whether something is wrong, its fields what it is about."""
    with capture_logs() as lines:
        log = LogObserver(clock=Clock())
        log.ready(True)
        log.ready(False)
        log.partitions("frames", (1, 2))
        log.crash_found("frames", 1, 8)
        log.generation("plate", Bank(generation=4))  # type: ignore[arg-type] # counts rows as a bank does
    assert lines == [
        {"event": "taking frames", "log_level": "info"},
        {"event": "no longer taking frames", "log_level": "info"},
        {"event": "partitions assigned", "topic": "frames", "partitions": [1, 2], "log_level": "info"},
        {
            "event": "a crash was found",
            "topic": "frames",
            "partition": 1,
            "retried_alone_at_most": 8,
            "log_level": "warning",
        },
        {
            "event": "generation taken",
            "recipe": "plate",
            "generation": 4,
            "rows": 1,
            "threshold": 9.0,
            "log_level": "info",
        },
    ]


@pytest.mark.parametrize(
    ("change", "level"),
    [
        (AlarmChange.RAISED, "warning"),
        (AlarmChange.RERAISED, "warning"),
        (AlarmChange.RETURNED, "info"),
        (AlarmChange.CLEARED, "info"),
    ],
)
def test_alarms_warn_when_they_are_raised(change: AlarmChange, level: str) -> None:
    """A line names the frame that brought the change, or the operator where one did."""
    with capture_logs() as lines:
        LogObserver().alarm(event(change))
        LogObserver().alarm(event(AlarmChange.ACKNOWLEDGED, "ada"))
    common = {"camera": "cam", "alarm": "a", "state": "normal"}
    assert lines == [
        {"event": f"alarm {change.value}", "frame": "f", "log_level": level} | common,
        {"event": "alarm acknowledged", "operator": "ada", "log_level": "info"} | common,
    ]


@pytest.mark.parametrize("cause", LogBreak)
@pytest.mark.parametrize("lost", [None, 10])
def test_a_log_that_is_another_is_logged(cause: LogBreak, lost: int | None) -> None:
    """With topic, partition and offsets, and how many frames were lost, if anybody knows."""
    with capture_logs() as lines:
        LogObserver().log_break("frames", 2, cause, 5, 15, lost)
    (line,) = lines
    assert ("lost" in line.pop("event")) is (cause is not LogBreak.PARTITION_ADDED)
    assert line == {
        "cause": cause.value,
        "topic": "frames",
        "partition": 2,
        "expected_offset": 5,
        "read_from": 15,
        "frames_lost": "unknown" if lost is None else 10,
        "log_level": "info" if cause is LogBreak.PARTITION_ADDED else "warning",
    }


@pytest.mark.parametrize("lost", [None, 10])
def test_feedback_that_was_gone_before_it_was_read_is_logged(lost: int | None) -> None:
    """With topic, partition and offsets, and how much of it, if anybody knows."""
    with capture_logs() as lines:
        LogObserver().feedback_gap("feedback", 2, LogBreak.EXPIRED, 5, 15, lost)
    (line,) = lines
    assert line.pop("event").startswith("feedback lost")
    assert line == {
        "cause": "expired",
        "topic": "feedback",
        "partition": 2,
        "expected_offset": 5,
        "read_from": 15,
        "feedback_lost": "unknown" if lost is None else 10,
        "log_level": "warning",
    }


def test_why_no_frames_come_from_kafka_is_logged_now_and_then_and_that_they_come_again() -> None:
    """A reason that stays is not repeated every second."""
    clock = Clock()
    with capture_logs() as lines:
        log = LogObserver(clock=clock)
        log.kafka(True, None)
        for why in ("gone", "gone", "refused"):
            log.kafka(False, why)
        log.kafka(True, None)
        log.kafka(True, None)
        clock.now_s += 10
        log.kafka(True, "gone")
    assert [(line["event"], line.get("cause"), line.get("brokers_answer")) for line in lines] == [
        ("no frames from Kafka", "gone", False),
        ("no frames from Kafka", "refused", False),
        ("frames from Kafka again", None, None),
        ("no frames from Kafka", "gone", True),
    ]
    assert [line["log_level"] for line in lines] == ["warning", "warning", "info", "warning"]


def test_what_was_changed_of_a_topic_and_what_brokers_lack_are_logged() -> None:
    """From what to what; where it could not be changed, why."""
    with capture_logs() as lines:
        log = LogObserver()
        log.topic_setting("frames", "max.message.bytes", "1", "2", None)
        log.topic_setting("frames", "max.message.bytes", "1", "2", "policy")
        log.kafka_lacks("topic ids")
    common = {"topic": "frames", "setting": "max.message.bytes"}
    assert lines == [
        {"event": "topic setting changed", "before": "1", "after": "2", "log_level": "info"} | common,
        {
            "event": "topic setting left as it is",
            "found": "1",
            "expected": "2",
            "why": "policy",
            "log_level": "warning",
        }
        | common,
        {
            "event": "the Kafka brokers are older than what is used where it is there",
            "missing": "topic ids",
            "log_level": "warning",
        },
    ]


def test_feedback_is_logged_with_its_answer() -> None:
    """The detail is there where there is one."""
    fields: dict[str, Any] = {"feedback_id": "1", "recipe": "plate", "frame_id": "f", "operator": "ada", "time": NOW}
    fields["verdict"] = FeedbackVerdict.CONFIRM_GOOD
    with capture_logs() as lines:
        LogObserver().feedback(FeedbackReply(outcome=FeedbackOutcome.LEARNED, **fields))
        LogObserver().feedback(FeedbackReply(outcome=FeedbackOutcome.HELD, detail="it hides d", **fields))
    common = {"feedback": "1", "recipe": "plate", "frame": "f", "operator": "ada", "verdict": "confirm_good"}
    assert lines == [
        {"event": "feedback learned", "log_level": "info"} | common,
        {"event": "feedback held", "detail": "it hides d", "log_level": "info"} | common,
    ]


def test_only_results_without_inspection_and_lost_evidence_are_logged() -> None:
    """A verdict is no line, and neither is evidence that was kept."""
    with capture_logs() as lines:
        log = LogObserver(clock=Clock())
        log.result(result())
        log.result(result(verdict=Verdict.NOT_INSPECTED, reason=Reason.EMPTY.value, detail="nothing"))
        log.evidence("plate", "kept")
        log.evidence("plate", "dropped")
        log.alarm_gap(AlarmGap.EXPIRED, 12)
        log.frame_dropped("cam", DropCause.SUPERSEDED)
    assert [line["event"] for line in lines] == [
        "frame not inspected",
        "evidence lost",
        "results never reached the alarms",
        "live frames dropped",
    ]
    assert (lines[0]["subject"], lines[0]["cause"], lines[0]["frame"]) == ("cam", "empty", "f")
    assert lines[0]["detail"] == "nothing"
    assert (lines[1]["subject"], lines[1]["cause"]) == ("plate", "dropped")
    assert (lines[2]["cause"], lines[2]["results"]) == ("expired", 12)
    assert (lines[3]["subject"], lines[3]["cause"]) == ("cam", "superseded")
    assert {line["log_level"] for line in lines} == {"warning"}


def test_what_repeats_is_logged_seldom_and_counted() -> None:
    """The same of the same within 10 seconds is only counted; another subject or cause is a line of its own."""
    clock = Clock()
    with capture_logs() as lines:
        log = LogObserver(clock=clock)
        for _ in range(3):
            log.retrying("kafka", OSError("away"), 2)
        log.retrying("redis", OSError("away"), 1)
        log.retrying("kafka", ValueError("odd"), 1)
        clock.now_s += 9.9
        log.retrying("kafka", OSError("away"), 3)
        assert len(lines) == 3
        clock.now_s += 0.1
        log.retrying("kafka", OSError("still away"), 4)
        clock.now_s += 10
        log.retrying("kafka", OSError("still away"), 5)
    assert [(line["subject"], line["cause"], line.get("and_before")) for line in lines] == [
        ("kafka", "OSError", None),
        ("redis", "OSError", None),
        ("kafka", "ValueError", None),
        ("kafka", "OSError", 3),
        ("kafka", "OSError", None),
    ]
    assert (lines[3]["error"], lines[3]["attempt"], lines[3]["event"]) == ("still away", 4, "away, trying again")


def test_what_is_remembered_of_subjects_is_bounded() -> None:
    """Subjects come with the frames: beyond 10,000 all are forgotten, and logged anew."""
    clock = Clock()
    with capture_logs() as lines:
        log = LogObserver(clock=clock)
        for number in range(10_001):
            clock.now_s += 0.2  # more at once would be told together
            log.frame_dropped(f"cam-{number}", DropCause.SUPERSEDED)
        log.frame_dropped("cam-10000", DropCause.SUPERSEDED)
        assert len(lines) == 10_001
        log.frame_dropped("one more", DropCause.SUPERSEDED)
        log.frame_dropped("cam-10000", DropCause.SUPERSEDED)
    assert len(lines) == 10_003
    assert "and_before" not in lines[-1]


def test_what_is_damaged_is_said_with_where_and_why() -> None:
    """No longer than a line can be, whatever the file says of itself."""
    with capture_logs() as lines:
        log = LogObserver(clock=Clock())
        log.generation_refused("plate", 7, ValueError("x" * 5000))
        log.generation_refused("plate", 7, ValueError("again"))
        log.damaged_file("usage", "usage/a.json", "y" * 5000)
    assert lines == [
        {
            "event": "generation refused",
            "subject": "plate",
            "cause": "ValueError",
            "generation": 7,
            "error": "x" * 1000,
            "log_level": "error",
        },
        {
            "event": "damaged file passed over",
            "subject": "usage",
            "cause": "usage/a.json",
            "why": "y" * 1000,
            "log_level": "warning",
        },
    ]


def test_a_shelved_alarm_does_not_warn() -> None:
    """Its line says that it is shelved."""
    with capture_logs() as lines:
        LogObserver().alarm(replace(event(AlarmChange.RAISED), shelved=True))
    assert [(line["log_level"], line["shelved"]) for line in lines] == [("info", True)]


def test_what_is_not_ours_is_logged_now_and_then_and_too_many_cameras_once() -> None:
    """A thousand odd messages are a line in ten seconds."""
    clock = Clock()
    with capture_logs() as lines:
        log = LogObserver(clock=clock)
        for number in range(1000):
            log.foreign(Foreign.ACKNOWLEDGEMENT, f"message {number}: operator is missing")
            log.alarm_gap(AlarmGap.TOO_MANY_CAMERAS, 1)
            clock.now_s += 0.011
    assert [line["event"] for line in lines] == [
        "passed over: not ours",
        "no alarms of further cameras",
        "passed over: not ours",
    ]
    assert "message 0: operator is missing" in lines[0]["detail"]
    assert "alarms.max_cameras" in lines[1]["hint"]
