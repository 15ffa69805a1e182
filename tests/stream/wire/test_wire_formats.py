"""The examples of the READMEs of `wire`, `alarms` and `kafka` are decoded by the code they document."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import redis.asyncio as redis

from patchline.stream.alarms.config import RedisConfig
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.alarms.written import WriteAnswer, Written
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.crash_notes import CrashNotes, LogNote, log_note
from patchline.stream.model.alarm import AlarmState
from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.errors import Reason, UnreadableError
from patchline.stream.model.feedback import FeedbackOutcome
from patchline.stream.model.frame import Position
from patchline.stream.model.outcome import not_inspected
from patchline.stream.wire.alarms import StoredAlarm, decode_event, encode_event
from patchline.stream.wire.cameras import camera_record, read_camera_record
from patchline.stream.wire.feedback import (
    announcement_record,
    feedback_record,
    read_announcement,
    read_feedback,
    read_reply,
    reply_record,
)
from patchline.stream.wire.frames import frame_headers
from patchline.stream.wire.results import dead_letter_record, original_headers, read_result, result_record
from tests.stream.readme_examples import documented, examples, headers_of, read


def test_the_frame_example_is_a_frame() -> None:
    """The documented headers are read without a flaw, and are those that `frame_headers` makes."""
    headers = headers_of(examples("frame headers")[0])
    seen = read(headers)
    assert seen.flaw is None
    assert (seen.frame_id, seen.camera, seen.recipe) == ("line-3/000042", "line-3", "bottle")
    assert seen.time == datetime(2026, 3, 2, 8, 15, 30, 250_000, UTC)
    made = frame_headers(
        frame_id="line-3/000042",
        camera="line-3",
        time=seen.time,
        recipe="bottle",
        sha256=seen.content_sha256,
    )
    assert [name for name, _ in made] == [name for name, _ in headers]
    assert read(made).time == seen.time


def test_the_result_examples_are_results() -> None:
    """The documented results decode, and encode to the same JSON and headers."""
    headers = headers_of(examples("result headers")[0])
    rejected, unread = (read_result(headers, text.encode()) for text in examples("result"))
    key, value, made = result_record(rejected, Position("patchline.frames", 0, 1040, "0pQ4b4fLQ0C1W5wVw6uG2g"))
    assert (key, json.loads(value), made) == (b"line-3", json.loads(examples("result")[0]), headers)
    assert json.loads(result_record(unread)[1]) == json.loads(examples("result")[1])
    assert unread.reason == Reason.TRUNCATED


def test_every_reason_is_documented() -> None:
    """The table of reasons names each code there is."""
    section = documented().partition("| `reason` |")[2].partition("## Dead letters")[0]
    assert set(re.findall(r"`(\w+)`", section.partition("\n\n")[0])) - {"detail"} == {r.value for r in Reason}


def test_the_dead_letter_example_is_one() -> None:
    """A frame that cannot be read makes the documented headers, and comes back from them."""
    headers = headers_of(examples("dead letter headers")[0])
    original = original_headers(headers)
    unreadable = read(original, bytes(20712))
    assert unreadable.flaw is None
    detail = dict(headers)["ce_detail"].decode()
    outcome = not_inspected(unreadable, UnreadableError(Reason.TRUNCATED, detail), None)
    inspected_at = datetime.fromisoformat(dict(headers)["ce_time"].decode())
    outcome = type(outcome)(
        frame=unreadable,
        result=msgspec.structs.replace(outcome.result, inspected_at=inspected_at),
        payload_sha256=dict(headers)["ce_sha256"].decode(),
    )
    record = dead_letter_record(outcome, 32 * 2**20)
    assert record is not None
    assert (record[0], record[1]) == (b"line-3", bytes(20712))
    assert record[2] == headers
    by_reference = dead_letter_record(outcome, 20711)
    assert by_reference is not None
    assert by_reference[1] == b""
    assert ("ce_dataref", b"kafka:patchline.frames/0/1041") in by_reference[2]


def test_the_offset_metadata_examples_are_notes() -> None:
    """Each documented line says which frames are retried alone, and the crashes of the first."""
    together, to_retry, alone = examples("offset metadata")[0].strip().splitlines()
    assert CrashNotes("", end=0, window=64).metadata(0) == together
    for text, crashes in ((to_retry, 0), (alone, 2)):
        notes = CrashNotes(text, end=9999, window=64)
        assert [notes.take(offset) for offset in (1000, 1001, 1041)] == [crashes, 0, None]
    assert CrashNotes(to_retry, end=0, window=64).metadata(1000) == to_retry


def test_the_log_of_an_offset_is_noted_as_documented() -> None:
    """With the topic's id, its partitions, and the epoch; nothing is in flight then."""
    (text,) = (example.strip() for example in examples("log of an offset"))
    assert log_note(text) == LogNote(topic="0pQ4b4fLQ0C1W5wVw6uG2g", partitions=6, epoch=3, before=1040)
    assert CrashNotes("", end=0, window=64, log=log_note(text)).farewell(1040) == text


def test_results_and_dead_letters_fit_whatever_a_record_repeats() -> None:
    """Headers of a megabyte each leave records of a few kilobytes, and the frame the name of its position."""
    long = b"x" * 2**20
    names = ("ce_id", "ce_source", "ce_recipe", "ce_time", "ce_type", "ce_sha256", "ce_dataref", "content-type")
    seen = read([(name, long) for name in names], b"", key=long)
    assert seen.flaw is not None
    assert "ce_id has more than 1,024 bytes" in seen.flaw
    assert seen.frame_id == "patchline.frames/0/1041"
    outcome = not_inspected(seen, UnreadableError(Reason.MALFORMED_RECORD, seen.flaw * 10), None)
    for record in (result_record(outcome.result), dead_letter_record(outcome, 1000)):
        assert record is not None
        key, value, headers = record
        assert len(key) + len(value) + sum(len(header) for _, header in headers) < 10_000


@pytest.mark.parametrize(
    ("kind", "read_one", "record"),
    [
        ("feedback", read_feedback, feedback_record),
        ("feedback reply", read_reply, reply_record),
        ("generation", read_announcement, announcement_record),
    ],
)
def test_the_examples_of_learning_are_read_and_written_alike(
    kind: str, read_one: Callable[..., Any], record: Callable[..., Any]
) -> None:
    """Documented feedback, its answer and an announcement decode, and encode to the same JSON, headers and key."""
    headers, text = headers_of(examples(f"{kind} headers")[0]), examples(kind)[0]
    key, value, made = record(read_one(headers, text.encode()))
    assert (key, json.loads(value), made) == (b"bottle", json.loads(text), headers)


def test_every_outcome_of_feedback_is_documented() -> None:
    """The table names each outcome there is."""
    table = documented().partition("| `outcome` |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == {outcome.value for outcome in FeedbackOutcome}


async def test_the_alarm_examples_are_read_by_the_store(redis_url: str, unique_name: Callable[[str], str]) -> None:
    """The documented hash loads, the events decode and encode to the same JSON, the key names are the store's."""
    config = RedisConfig(url=redis_url, prefix=unique_name("p") + ":")
    store = AlarmStore(config)
    fields: dict[Any, Any] = dict(line.split(": ", 1) for line in examples("alarm state")[0].splitlines())
    client = redis.from_url(redis_url, decode_responses=True)
    await client.hset(store.keys.state("line-3"), mapping=fields)
    stored = await store.load("line-3")
    assert (stored.alarm.state, stored.version) == (AlarmState.UNACKNOWLEDGED, 218)
    assert await store.write([StoredAlarm(stored.alarm, 219, stored.last)], []) == WriteAnswer(Written.WRITTEN)
    again = await client.hgetall(store.keys.state("line-3"))
    assert again == {**fields, "version": "219"}
    for text in examples("alarm event"):
        assert json.loads(encode_event(decode_event(text))) == json.loads(text)
    default = AlarmStore(RedisConfig())
    names = [
        default.keys.events,
        default.keys.cameras,
        default.keys.positions,
        default.keys.channel,
        default.keys.acknowledgements,
        default.keys.health,
        default.keys.health_events,
        default.keys.state("CAMERA"),
    ]
    for name in names:
        assert f"| `{name}` |" in documented()
    command, key, _, *pairs = examples("acknowledgement")[0].split()
    assert (command, key, pairs[::2]) == ("XADD", default.keys.acknowledgements, ["camera", "operator"])
    await client.aclose()
    await store.close()
    await default.close()


def test_the_camera_example_is_a_change() -> None:
    """It is read, and written alike; every state is in the table."""
    headers, (text,) = headers_of(examples("camera headers")[0]), examples("camera")
    event = read_camera_record(headers, text.encode())
    key, value, written = camera_record(event)
    assert (key, json.loads(value), written) == (b"line-3", json.loads(text), headers)
    table = documented().partition("| `state` | |")[2].partition("\n\n")[0]
    assert {state.value for state in CameraState} <= set(re.findall(r"`(\w+)`", table))


def test_topic_names_are_the_defaults() -> None:
    """The table of topics names those of the configuration."""
    config = KafkaConfig()
    learning = (config.feedback_topic, config.feedback_replies_topic, config.generations_topic)
    for topic in (config.frames_topic, config.results_topic, config.dead_letter_topic, config.cameras_topic, *learning):
        assert f"| `{topic}` " in documented()
