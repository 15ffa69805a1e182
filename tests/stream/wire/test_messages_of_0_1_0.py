"""Messages that version 0.1.0 wrote are read into the same values, and these are written as the same bytes."""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
import redis.asyncio as redis

from patchline.engine.types import Verdict
from patchline.stream.alarms.applier import AlarmApplier, is_known
from patchline.stream.alarms.config import AlarmLimits, JournalConfig, RedisConfig
from patchline.stream.alarms.follower import AlarmFollower
from patchline.stream.alarms.journal import AlarmJournal
from patchline.stream.alarms.logs import ResultLog
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.evidence.store import EvidenceStore
from patchline.stream.kafka.assignor import Claim, Terms
from patchline.stream.kafka.crash_notes import CrashNotes
from patchline.stream.model.alarm import AlarmConfig, AlarmRules, AlarmState, Observation, observation_of
from patchline.stream.model.frame import Frame, Position
from patchline.stream.model.observer import Observer
from patchline.stream.model.outcome import Outcome
from patchline.stream.model.result import Result
from patchline.stream.recording.jsonl import JsonLinesSink
from patchline.stream.wire.alarms import decode_event, encode_event, from_fields, to_fields
from patchline.stream.wire.cloudevents import Headers, Record
from patchline.stream.wire.feedback import (
    announcement_record,
    feedback_record,
    parse_feedback,
    read_announcement,
    read_feedback,
    read_reply,
    reply_record,
)
from patchline.stream.wire.frames import frame_headers, read_frame
from patchline.stream.wire.results import (
    dead_letter_record,
    original_headers,
    read_frame_position,
    read_result,
    result_record,
)
from tests.version_0_1_0 import DATA, bytes_of, facts, known_then

KEPT = facts("messages.json")
REDIS = KEPT["redis"]
POSITION = Position("patchline.frames", 0, 1040)


def record_of(kept: Mapping[str, Any]) -> Record:
    """Key, value and headers, to the byte."""
    headers = [(name, bytes_of(value)) for name, value in kept["headers"]]
    return bytes_of(kept["key"]), bytes_of(kept["value"]), headers


def builtin(value: Any, kept: Any) -> Any:
    """A value as the JSON file keeps it, less what was not known then."""
    return known_then(msgspec.to_builtins(value), kept)


def read(key: bytes, value: bytes, headers: Headers, position: Position = POSITION) -> Frame:
    """The frame in a record, by a worker whose default recipe is `plate`."""
    return read_frame(
        position=position,
        timestamp_ms=1_772_439_330_000,
        key=key,
        value=value,
        headers=headers,
        default_recipe="plate",
    )


@pytest.mark.parametrize("name", KEPT["frames"])
def test_frames(name: str) -> None:
    """Frames whole, with the least headers and by reference are read without a flaw, and are headed alike."""
    kept = KEPT["frames"][name]
    key, value, headers = record_of(kept)
    seen = read(key, value, headers)
    found = {
        "frame_id": seen.frame_id,
        "camera": seen.camera,
        "recipe": seen.recipe,
        "time": seen.time.isoformat(),
        "content_type": seen.content_type,
        "content_sha256": seen.content_sha256,
        "reference": seen.reference,
        "flaw": seen.flaw,
        "payload_sha256": hashlib.sha256(seen.payload or b"").hexdigest(),
    }
    assert found == kept["read"]
    made = frame_headers(
        frame_id=seen.frame_id,
        camera=seen.camera,
        time=seen.time,
        content_type=seen.content_type or "",
        recipe=None if name == "least" else seen.recipe,
        sha256=seen.content_sha256,
        reference=seen.reference,
    )
    assert made == headers


@pytest.mark.parametrize("name", KEPT["results"])
def test_results(name: str) -> None:
    """Each kind of result is read into its values and position, and makes the same record again."""
    kept = KEPT["results"][name]
    key, value, headers = record_of(kept)
    result, position = read_result(headers, value), read_frame_position(headers)
    assert builtin(result, kept["read"]) == kept["read"]
    assert position == (Position(*kept["position"]) if kept["position"] else None)
    assert result_record(result, position) == (key, value, headers)


@pytest.mark.parametrize("name", KEPT["dead_letters"])
def test_dead_letters(name: str) -> None:
    """The frame comes back from a dead letter, and one that is not inspected again makes the same dead letter."""
    key, value, headers = record_of(KEPT["dead_letters"][name])
    told = {header: content.decode() for header, content in headers}
    position = read_frame_position(headers)
    assert position is not None
    whole = record_of(KEPT["frames"]["by reference" if name == "by reference" else "whole"])
    assert original_headers(headers) == whole[2]
    assert value == (b"" if name == "too large" else whole[1])
    seen = read(whole[0], whole[1], original_headers(headers), position)
    assert seen.flaw is None
    result = Result(
        frame_id=told["ce_id"],
        camera=seen.camera,
        recipe=told["ce_recipe"],
        time=seen.time,
        inspected_at=datetime.fromisoformat(told["ce_time"]),
        verdict=Verdict.NOT_INSPECTED,
        latency_ms=1.0,
        reason=told["ce_reason"],
        detail=told["ce_detail"],
    )
    sha256 = None if name == "by reference" else told["ce_sha256"]
    limit = 100 if name == "too large" else 2**20
    made = dead_letter_record(Outcome(frame=seen, result=result, payload_sha256=sha256), limit)
    assert made == (key, value, headers)


@pytest.mark.parametrize(
    ("kind", "name", "decode", "encode"),
    [
        (kind, name, decode, encode)
        for kind, decode, encode in (
            ("feedback", read_feedback, feedback_record),
            ("replies", read_reply, reply_record),
            ("generations", read_announcement, announcement_record),
        )
        for name in KEPT[kind]
    ],
)
def test_learning(kind: str, name: str, decode: Callable[..., Any], encode: Callable[..., Record]) -> None:
    """Feedback of each kind, answers and announcements are read into their values, and make the same records."""
    kept = KEPT[kind][name]
    key, value, headers = record_of(kept)
    found = decode(headers, value)
    assert builtin(found, kept["read"]) == kept["read"]
    assert encode(found) == (key, value, headers)
    if kind == "feedback":
        assert parse_feedback(value) == found


def test_offset_metadata() -> None:
    """What a partition's former owner noted with its offset tells which frames are tried alone, and their crashes."""
    together, to_retry, alone = (
        KEPT["offset_metadata"][name] for name in ("in flight", "to be retried alone", "alone in flight")
    )
    assert CrashNotes("", end=0, window=64).metadata(0) == together
    assert CrashNotes(to_retry, end=0, window=64).metadata(1000) == to_retry
    for text, crashes in ((to_retry, 0), (alone, 3)):
        notes = CrashNotes(text, end=9999, window=64)
        assert [notes.take(offset) for offset in (1000, 1001, 1041)] == [crashes, 0, None]


def test_what_workers_of_a_group_tell_each_other() -> None:
    """Workers of two versions share partitions while one replaces the other: claims and terms are read alike."""
    for name, kind in (("claim", Claim), ("terms", Terms)):
        kept = KEPT["group"][name]
        found: Any = msgspec.json.decode(kept["text"], type=kind)
        assert builtin(found, kept["read"]) == kept["read"]
        assert msgspec.json.encode(found).decode() == kept["text"]


async def test_json_lines() -> None:
    """Each line is one of the results, and they are written as the same lines."""
    lines = bytes_of(KEPT["lines"])
    results = [msgspec.json.decode(line, type=Result) for line in lines.splitlines()]
    kept = [result["read"] for result in KEPT["results"].values()]
    assert [builtin(result, told) for result, told in zip(results, kept, strict=True)] == kept
    seen = read(*record_of(KEPT["frames"]["whole"]))
    file = BytesIO()
    sink = JsonLinesSink(file)
    await sink.open()
    await sink.deliver([Outcome(frame=seen, result=result) for result in results])
    assert file.getvalue() == lines


def test_alarms_in_redis_are_encoded_alike() -> None:
    """A camera's hash is read into its alarm and an event into its values, and both are written as they were."""
    for camera, kept in REDIS["alarms"].items():
        fields = REDIS["keys"][f"patchline:alarm:{camera}"]["value"]
        stored = from_fields(camera, fields)
        found = msgspec.to_builtins(stored.alarm) | {"version": stored.version, "last": stored.last}
        assert known_then(found, kept) == kept
        assert to_fields(stored) == fields
    events = [message["event"] for message in REDIS["keys"]["patchline:alarms"]["value"]]
    assert [encode_event(decode_event(event)) for event in events] == events
    assert {decode_event(event).change.value for event in events} == {
        "raised",
        "reraised",
        "returned",
        "acknowledged",
        "cleared",
    }


@pytest.fixture
async def filled(redis_url: str, unique_name: Callable[[str], str]) -> RedisConfig:
    """A Redis that 0.1.0 left, under a prefix of the test's own."""
    config = RedisConfig(url=redis_url, prefix=unique_name("patchline") + ":")
    client = redis.from_url(redis_url, decode_responses=True)
    for name, kept in REDIS["keys"].items():
        key, value = name.replace("patchline:", config.prefix, 1), kept["value"]
        if kept["type"] == "hash":
            await client.hset(key, mapping=value)
        elif kept["type"] == "set":
            await client.sadd(key, *value)
        else:
            for message in value:
                await client.xadd(key, message)
    await client.aclose()
    return config


def observation(camera: str, number: int, verdict: Verdict, position: Position | None = None) -> Observation:
    """A judged frame, later than all that are kept."""
    time = datetime.fromisoformat("2026-03-02T09:00:00Z")
    return Observation(
        camera=camera, frame_id=f"{camera}/{number:06d}", verdict=verdict, time=time, score=1.0, position=position
    )


async def test_alarms_go_on_from_the_redis_of_then(filled: RedisConfig) -> None:
    """Keys, positions and acknowledgements are found, frames of then count once, and passes clear what was raised."""
    default = AlarmStore(RedisConfig())
    assert {name.replace("CAMERA", camera) for camera in REDIS["alarms"] for name in [default.keys.state("CAMERA")]} | {
        default.keys.events,
        default.keys.cameras,
        default.keys.positions,
        default.keys.acknowledgements,
    } == set(REDIS["keys"])
    assert default.keys.channel == REDIS["channel"]
    await default.close()
    store = AlarmStore(filled)
    assert {stored.alarm.camera: stored.alarm.state.value for stored in await store.all()} == {
        camera: kept["state"] for camera, kept in REDIS["alarms"].items()
    }
    for log, position in REDIS["positions"].items():
        assert await store.position(log) == position
    last = (await store.load("line-1")).last
    assert is_known(
        Observation(
            camera="line-1",
            frame_id="line-1/000107",
            verdict=Verdict.REJECT,
            time=datetime.fromisoformat("2026-03-02T08:17:17.250000Z"),
            position=Position("patchline.frames", 1, 107),
        ),
        last,
    )
    writer = AlarmApplier(
        "journal/2f1c", store, AlarmRules(general=AlarmConfig(k=2, n=4, m=3)), AlarmLimits(), Observer()
    )
    before = await writer.position()
    passes = [observation("line-2", number, Verdict.PASS) for number in (102, 103, 104, 105)]
    assert await writer.apply(passes, before, 17)
    alarm = (await store.load("line-2")).alarm
    assert (alarm.state, alarm.passes) == (AlarmState.NORMAL, 3)  # frame 102 was taken into account then
    assert await store.position("journal/2f1c") == 17
    async for _, fields in store.acknowledgements("group", "consumer"):
        assert fields == REDIS["keys"]["patchline:alarms:ack"]["value"][0]
        break
    await store.close()


class Unfollowed(AlarmFollower):
    """Leaves the journal to the test."""

    def __init__(self) -> None:
        self.logs: list[ResultLog] = []

    def start(self, log: ResultLog) -> None:
        self.logs.append(log)


async def test_the_alarm_journal(tmp_path: Path) -> None:
    """The file has its name, what waited in it is read from its position on, and more is put behind it."""
    kept = KEPT["journal"]
    path = Path(shutil.copy(DATA / "alarms.sqlite3", tmp_path))
    journal = AlarmJournal(JournalConfig(path=path, size=100))
    await journal.open(Unfollowed())
    assert journal.name == kept["name"]
    await journal.begin(kept["position"])
    run, after = await journal.read()
    assert after is not None
    assert after == kept["after"]
    assert [builtin(seen, told) for seen, told in zip(run, kept["observations"], strict=True)] == kept["observations"]
    result = read_result(*reversed(record_of(KEPT["results"]["reject"])[1:]))
    await journal.put([Outcome(frame=read(*record_of(KEPT["frames"]["whole"])), result=result)])
    assert await journal.read() == ([observation_of(result, POSITION)], after + 1)
    await journal.close()


def files_in(folder: Path, ends: Sequence[str]) -> dict[str, bytes]:
    """The files below a folder whose names end so."""
    found = [path for path in sorted(folder.rglob("*")) if path.name.endswith(tuple(ends))]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_evidence(tmp_path: Path) -> None:
    """Frames are found by their id with image and map, and kept again they are the same files."""
    folder = shutil.copytree(DATA / "evidence", tmp_path / "evidence")
    store = EvidenceStore(str(folder), keep_s=1e12, keep_bytes=2**30)
    again = EvidenceStore(str(tmp_path / "again"), keep_s=1e12, keep_bytes=2**30)
    for frame_id, kept in KEPT["evidence"].items():
        found = store.find(frame_id, ["other", "plate"])
        assert found is not None
        assert builtin(found, kept) == kept
        image = store.image(found)
        assert image is not None
        again.put(found, image)
        grey = store.map_png(found)
        assert (grey is None) == (kept["map_max"] is None)
        if grey is not None:
            decoded = cv2.imdecode(np.frombuffer(grey, np.uint8), cv2.IMREAD_UNCHANGED)
            assert decoded is not None
            assert (decoded.shape, decoded.max(), decoded[30, 28], decoded[0, 0]) == ((64, 64), 255, 255, 0)
    assert [found.result.frame_id for found in store.recent_rejects("plate", 5)] == ["line-1/000042"]
    written = files_in(tmp_path / "again", [".json", ".image"])
    assert written == files_in(folder, [".json", ".image"])
    assert len(written) == 2 * len(KEPT["evidence"])
    assert store.expire() == 0
