"""Records that cannot be decoded, in the log of a real broker: each costs itself, and the rest is judged."""

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import NoReturn

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord

from patchline.engine.types import Verdict
from patchline.stream.kafka.batches import decompression
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.feedback import KafkaFeedback
from patchline.stream.model.result import Result
from patchline.stream.wire.frames import frame_headers
from patchline.stream.wire.results import read_frame_position, read_result
from tests.services.kafka import KafkaBroker
from tests.services.process import ServiceUnavailableError
from tests.stream.kafka.batches.crafted import (
    HEADER_BYTES,
    LAST_DELTA_AT,
    RawProducer,
    good,
    odd_name,
)
from tests.stream.kafka.test_feedback import answer, feedback, learning_topics, replies_of
from tests.stream.kafka_help import new_topics, produce, read_topic, running, worker
from tests.stream.scripted import Recorder, jpeg
from tests.stream.waiting import until


class FindingBroker(KafkaBroker):
    """A broker that can find each batch by itself, as it can batches of 4 KiB."""

    def properties(self) -> dict[str, object]:
        return super().properties() | {"log.index.interval.bytes": 1}


@pytest.fixture(scope="module")
def broker(unavailable: Callable[[ServiceUnavailableError], NoReturn]) -> Iterator[KafkaBroker]:
    """A broker whose files can be damaged."""
    try:
        with FindingBroker() as started:
            started.start_broker()
            yield started
    except ServiceUnavailableError as error:
        unavailable(error)


def batch(name: str, count: int = 1, *, codec: int = 0) -> bytes:
    """So many frames of camera cam-0 with one id, as one batch."""
    headers = frame_headers(frame_id=name, camera="cam-0", time=datetime.now(UTC), recipe="plate")
    return good(0, *[jpeg(50)] * count, codec=codec, headers=headers)


def damage(broker: KafkaBroker, topic: str, base: int, at: int, found: bytes, *, partition: int = 0) -> None:
    """Write other bytes into the batch with a base offset, in the broker's file."""
    for log in (broker.directory / "data" / f"{topic}-{partition}").glob("*.log"):
        with log.open("r+b") as file:
            while len(head := file.read(12)) == 12:
                found_base, length = struct.unpack(">qi", head)
                if found_base == base:
                    file.seek(file.tell() - 12 + (at if at >= 0 else 12 + length + at))
                    file.write(found)
                    return
                file.seek(length, 1)
    raise AssertionError(f"no batch at {base} in partition {partition} of {topic}")


async def judged(config: KafkaConfig, offsets: dict[int, int], *, known: int = 0) -> dict[tuple[int, int], Result]:
    """Run a worker until so many frames of each partition have results; each has one, and the results by position.

    `known`: so many have results of a worker that ran before.
    """
    seen = Recorder()
    async with running(worker(config, seen)):
        await until(lambda: len(seen.results) >= sum(offsets.values()) - known, seconds=90)
        await asyncio.sleep(0.3)
    found = [positioned(record) for record in await read_topic(config, config.results_topic)]
    counts = Counter(position for position, _ in found)
    assert counts == {(partition, n): 1 for partition, count in offsets.items() for n in range(count)}
    return dict(found)


def positioned(record: ConsumerRecord) -> tuple[tuple[int, int], Result]:
    position = read_frame_position(record.headers)
    assert position is not None
    return (position.partition, position.offset), read_result(record.headers, record.value)


def unread(results: dict[tuple[int, int], Result]) -> dict[tuple[int, int], str | None]:
    assert {r.reason for r in results.values() if r.verdict is Verdict.NOT_INSPECTED} <= {"undecodable_record"}
    return {at: result.detail for at, result in results.items() if result.verdict is Verdict.NOT_INSPECTED}


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
async def test_a_header_name_that_is_not_utf8_costs_its_record(
    kafka: str, unique_name: Callable[[str], str], delivery: str
) -> None:
    """The other records of its batch are judged; its dead letter says where it is, and what could be read of it."""
    config = await new_topics(kafka, unique_name, delivery=delivery)
    odd = odd_name(batch("a", 3), b"content-type", b"content-typ\xe9")
    await RawProducer(kafka, config.frames_topic).send(0, batch("b"), odd, batch("c"))
    await produce(config, [("d", "cam-1", jpeg(50))], partition=True)
    results = await judged(config, {0: 5, 1: 1})
    assert unread(results) == {(0, 1): "the name b'content-typ\\xe9' of a header is not UTF-8"}
    assert (results[0, 1].frame_id, results[0, 1].camera, results[0, 1].recipe) == ("a", "cam-0", "plate")
    (letter,) = await read_topic(config, config.dead_letter_topic)
    headers = dict(letter.headers)
    assert not letter.value
    assert headers["ce_reason"] == b"undecodable_record"
    assert headers["ce_dataref"] == f"kafka:{config.frames_topic}/0/1".encode()
    assert "ce_framebytes" not in headers
    assert "ce_sha256" not in headers
    assert headers["frame-content-typ\\xe9"] == b"image/jpeg"


async def test_all_compressions_are_read(kafka: str, unique_name: Callable[[str], str]) -> None:
    """Whatever producers choose."""
    config = await new_topics(kafka, unique_name)
    await RawProducer(kafka, config.frames_topic).send(0, *(batch("a", 2, codec=codec) for codec in range(5)))
    assert unread(await judged(config, {0: 10})) == {}


async def test_a_compression_that_is_not_installed_costs_its_batches(
    kafka: str, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each offset of them; what lies between and in other partitions is judged."""
    config = await new_topics(kafka, unique_name)
    raw = RawProducer(kafka, config.frames_topic)
    await raw.send(0, batch("a"), *(batch("b", 2, codec=codec) for codec in (4, 3, 2, 1)))
    await raw.send(1, batch("d", codec=4), batch("e"))
    monkeypatch.setattr(decompression, "cramjam", None)
    results = await judged(config, {0: 9, 1: 2})
    assert set(unread(results)) == {(0, n) for n in range(1, 7)} | {(1, 0)}
    assert "zstd, for which aiokafka[snappy,lz4,zstd] is not installed" in (results[0, 1].detail or "")
    assert (results[0, 1].frame_id, results[0, 1].camera) == (f"{config.frames_topic}/0/1", "unknown")


@pytest.mark.parametrize(
    ("at", "found", "is_last"),
    [
        (-40, b"MARK", False),
        (-40, b"MARK", True),
        (LAST_DELTA_AT, struct.pack(">i", 77), False),
        (LAST_DELTA_AT, struct.pack(">i", 77), True),
        (16, b"\x05", False),
        (16, b"\x05", True),
        (8, struct.pack(">i", -1), False),
        (8, struct.pack(">i", -1), True),
        (8, struct.pack(">i", 2**30), False),
        (8, struct.pack(">i", 2**30), True),
        (HEADER_BYTES, b"\xff" * 12, False),
        (HEADER_BYTES, b"\xff" * 12, True),
    ],
    ids=[
        what + where
        for what in ("payload", "last offset", "format", "no length", "too long", "first record")
        for where in ("", " of the last")
    ],
)
async def test_a_damaged_batch_costs_itself(
    broker: KafkaBroker, unique_name: Callable[[str], str], at: int, found: bytes, is_last: bool
) -> None:
    """Whatever of it is damaged on the broker's disk: what is behind it is judged, also what comes later.

    What the broker cannot read of its log's end has its results before anything is behind it.
    """
    config = await new_topics(broker.bootstrap, unique_name)
    raw = RawProducer(broker.bootstrap, config.frames_topic)
    await raw.send(0, batch("a"), batch("b", 2), *([] if is_last else [batch("c")]))
    await raw.send(1, batch("d"))
    damage(broker, config.frames_topic, 1, at, found)
    before = await judged(config, {0: 3, 1: 1}) if is_last else {}
    async with later(raw, batch("e"), after_s=2.0):
        results = await judged(config, {0: 4 if is_last else 5, 1: 1}, known=len(before))
    assert set(unread(before)) == ({(0, 1), (0, 2)} if is_last else set())
    assert set(unread(results)) == {(0, 1), (0, 2)}


@pytest.mark.parametrize("damaged", [(), (1,), (2,), (1, 2), (3,)], ids=str)
async def test_what_was_aborted_is_no_frame(
    broker: KafkaBroker, unique_name: Callable[[str], str], damaged: tuple[int, ...]
) -> None:
    """Nor is the end of a transaction, damaged or not; and the producer's next transaction counts again."""
    config = await new_topics(broker.bootstrap, unique_name)
    raw = RawProducer(broker.bootstrap, config.frames_topic)
    await raw.send(0, batch("a"))
    headers = frame_headers(frame_id="b", camera="cam-0", time=datetime.now(UTC), recipe="plate")
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id=unique_name("producer"))
    async with producer:
        for ends in (producer.abort_transaction, producer.commit_transaction):
            await producer.begin_transaction()
            await producer.send_and_wait(config.frames_topic, jpeg(50), headers=headers, partition=0)
            await ends()
    await raw.send(0, batch("e"))
    for base in damaged:
        damage(broker, config.frames_topic, base, -5, b"MARK")
    seen = Recorder()
    async with running(worker(config, seen)):
        await until(lambda: len(seen.results) >= 3, seconds=40)
        await asyncio.sleep(0.3)
    found = [positioned(record) for record in await read_topic(config, config.results_topic)]
    assert [at for at, _ in found] == [(0, 0), (0, 3), (0, 5)]
    assert set(unread(dict(found))) == ({(0, 3)} if 3 in damaged else set())


@asynccontextmanager
async def later(raw: RawProducer, sent: bytes, *, after_s: float) -> AsyncIterator[None]:
    """Send a batch to partition 0 while something runs."""

    async def send() -> None:
        await asyncio.sleep(after_s)
        await raw.send(0, sent)

    sending = asyncio.create_task(send())
    try:
        yield
    finally:
        await sending


async def test_messages_that_cannot_be_decoded_are_passed_over(kafka: str, unique_name: Callable[[str], str]) -> None:
    """Feedback and announcements behind them are read; feedback that could not be is answered, and not read again."""
    config = await learning_topics(kafka, unique_name)
    for topic in (config.feedback_topic, config.generations_topic, config.feedback_replies_topic):
        for partition in range(3 if topic == config.feedback_topic else 1):
            await RawProducer(kafka, topic).send(partition, odd_name(good(0, b"{}")))
    inbox = KafkaFeedback(config)
    await inbox.open()
    try:
        await inbox.submit(feedback("one"))
        async with asyncio.timeout(60):
            found = await anext(inbox.feedback())
        assert found.feedback_id == "one"
        await inbox.answer(found, answer(found))
        assert (await replies_of(inbox, "one"))["one"].outcome.value == "learned"
    finally:
        await inbox.close()
