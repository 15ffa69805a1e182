"""What follows a batch that cannot be trusted is asked of the broker, here of one that answers as a test says.

Real brokers: `test_undecodable.py`.
"""

import asyncio
import struct
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError, NotLeaderForPartitionError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest

from patchline.stream.kafka.batches import guarded_fetch as module
from patchline.stream.kafka.batches import waiting
from patchline.stream.kafka.batches.guarded_fetch import epochs_fetched, guard_fetches, waiting_for
from patchline.stream.kafka.batches.placeholders import undecodable
from tests.stream.kafka.batches.crafted import LAST_DELTA_AT, good, read, with_bytes

SIZE = 1
"""Of an answer that has one batch of each partition."""


def damaged(batch: bytes) -> bytes:
    return with_bytes(batch, len(batch) - 2, b"\xff", seal=False)


class Broker:
    """Answers fetches from files of a log, each a list of batches; some offsets it cannot find."""

    def __init__(self, *files: Sequence[bytes], end: int, lost: Sequence[int] = (), silent: Sequence[int] = ()) -> None:
        self.files, self.end, self.lost, self.silent = files, end, lost, silent
        self.believes = False
        """Whether it believes what batches say of their ends."""
        self.full = 0
        """How many answers have no room."""
        self.asked: list[tuple[int, int]] = []
        self.committed: int | None = None
        self.ends: list[int] = []
        """The log's end in the next answers, before `end`."""
        self.error = 0
        self.version = 11

    async def send(self, node: int, request: Any, **options: Any) -> Any:
        if isinstance(request, OffsetRequest):
            end = self.end if self.committed is None else self.committed
            return SimpleNamespace(topics=[("frames", [(0, 0, -1, end)])])
        if not isinstance(request, FetchRequest):
            return "other"
        answers = []
        for number, position, size in request.topics[0][1]:
            self.asked.append((position, size))
            error = self.error or (2 if position in self.lost else 0)
            end = self.ends.pop(0) if self.ends else self.end
            end = -1 if error else end
            stable = [] if self.version < 4 else [end if self.committed is None else self.committed]
            answers.append((number, error, end, *stable, None if error else self._batches(position, size)))
        return SimpleNamespace(API_VERSION=self.version, topics=[("frames", answers)])

    def _batches(self, position: int, size: int) -> bytes:
        if position in self.silent or self.full:
            self.full = max(0, self.full - 1)
            return b""
        for file in reversed(self.files):
            if struct.unpack_from(">q", file[0])[0] <= position:
                break
        rest = list(file)
        while len(rest) > 1 and not self.believes and struct.unpack_from(">q", rest[1])[0] <= position:
            rest.pop(0)
        last = struct.unpack_from(">q", rest[0])[0] + struct.unpack_from(">i", rest[0], LAST_DELTA_AT)[0]
        if last < position and not self.believes:
            files = self.files[self.files.index(file) + 1 :]
            rest = list(files[0]) if files else []
        return b"".join(rest)[: max(size, len(rest[0]) if rest else 0)]


async def fetched(
    broker: Broker, *positions: int, committed: bool = False, size: int = 2**20
) -> list[dict[int, bytes | str | None]]:
    """What a consumer reads of partitions 0, 1, ... from these positions on: values, or why there is none."""
    level = "read_committed" if committed else "read_uncommitted"
    consumer = SimpleNamespace(_client=SimpleNamespace(send=broker.send), _isolation_level=level)
    guard_fetches(cast(AIOKafkaConsumer, consumer))
    found: dict[int, bytes] = {}
    while missing := [(number, at, size) for number, at in enumerate(positions) if number not in found]:
        answer = await consumer._client.send(1, FetchRequest(500, 1, 2**20, int(committed), [("frames", missing)]))
        found |= {one[0]: one[-1] for _, some in answer.topics for one in some}
    return [
        {r.offset: r.value or undecodable(r.headers) for r in read(found[number], position).records}
        for number, position in enumerate(positions)
    ]


class Gated(Broker):
    """A broker that answers what is asked about a batch only when it may."""

    def __init__(self) -> None:
        super().__init__([damaged(good(0, b"a", b"b")), good(2, b"c")], end=3)
        self.gate = asyncio.Event()
        consumer = SimpleNamespace(_client=SimpleNamespace(send=self.send), _isolation_level="")
        guard_fetches(cast(AIOKafkaConsumer, consumer))
        self._fetch = consumer._client.send

    async def send(self, node: int, request: Any, **options: Any) -> Any:
        if request.topics[0][1][0][2] != SIZE:
            await self.gate.wait()
        return await super().send(node, request, **options)

    async def fetch(self, *positions: tuple[int, int]) -> list[int]:
        """The partitions of which there are records, each asked for from an offset on."""
        self.asked = []
        partitions = [(number, position, SIZE) for number, position in positions]
        answer = await self._fetch(1, FetchRequest(500, 1, SIZE, 0, [("frames", partitions)]))
        assert self.version == answer.API_VERSION
        return [one[0] for _, some in answer.topics for one in some if one[-1]]


async def test_a_partition_whose_batch_takes_long_holds_up_no_other() -> None:
    """It is left out, also of what is asked for next, until its batch has been looked at."""
    broker = Gated()
    assert await broker.fetch((0, 0), (1, 2)) == [1]
    assert await broker.fetch((0, 0), (1, 3)) == []
    assert broker.asked == [(3, SIZE)]
    assert await broker.fetch((0, 0)) == []
    assert broker.asked == []
    broker.gate.set()
    assert await broker.fetch((0, 0)) == [0]
    assert await broker.fetch((0, 2), (1, 2)) == [0, 1]


async def test_what_is_found_out_late_is_of_no_use_elsewhere() -> None:
    """The consumer was told to go on at another offset: it is asked for as ever."""
    broker = Gated()
    assert await broker.fetch((0, 0)) == []
    assert await broker.fetch((0, 2)) == [0]
    broker.gate.set()
    assert await broker.fetch((0, 0)) == [0]


async def test_an_error_that_is_found_out_late_lets_its_partition_wait() -> None:
    """As one that is found out at once: others go on, and it is asked for again after a pause."""
    broker = Gated()
    assert await broker.fetch((0, 0)) == []
    broker.error = 6
    broker.gate.set()
    await asyncio.sleep(0)
    assert await broker.fetch((0, 0)) == []
    broker.error = 0
    assert await broker.fetch((0, 0), (1, 2)) == [1]
    async with asyncio.timeout(60):
        while await broker.fetch((0, 0)) != [0]:
            pass


async def test_other_requests_pass() -> None:
    """With their answers."""
    consumer = SimpleNamespace(_client=SimpleNamespace(send=Broker([], end=0).send), _isolation_level="")
    guard_fetches(cast(AIOKafkaConsumer, consumer))
    assert await consumer._client.send(1, MetadataRequest([])) == "other"


async def test_sound_answers_cost_no_other_request() -> None:
    """Small ones, and those that a thread looks at."""
    broker = Broker([good(0, b"a", b"b"), good(2, b"c" * 300, codec=4)], end=3)
    assert await fetched(broker, 0, 2) == [{0: b"a", 1: b"b", 2: b"c" * 300}, {2: b"c" * 300}]
    assert broker.asked == [(0, 2**20), (2, 2**20)]


@pytest.mark.parametrize("files", [1, 2])
async def test_the_end_of_a_bad_batch_is_asked_for(files: int) -> None:
    """The next one is in the same file of the log, or begins the next file."""
    batches = [damaged(good(0, b"a", b"b", b"c")), good(3, b"d")]
    broker = Broker(batches, end=4) if files == 1 else Broker(batches[:1], batches[1:], end=4)
    (found,) = await fetched(broker, 0, size=10)
    assert list(found) == [0, 1, 2]
    assert "has the CRC" in str(found[2])


@pytest.mark.parametrize("says", [0, 9999])
async def test_what_a_bad_batch_says_of_its_end_is_not_relied_on(says: int) -> None:
    """Its next file may begin anywhere."""
    lying = with_bytes(good(0, b"a", b"b", b"c"), LAST_DELTA_AT, struct.pack(">i", says), seal=False)
    (found,) = await fetched(Broker([lying], [good(3, b"d")], end=4), 0, size=10)
    assert list(found) in ([0, 1, 2], [0, 1, 2, 3]), "what cannot be told apart is accounted for, never passed over"


@pytest.mark.parametrize("size", [10, 2**20])
async def test_a_batch_that_the_broker_takes_for_a_later_one_is_passed(size: int) -> None:
    """However little of an answer it leaves for the one that was asked for."""
    lying = with_bytes(good(0, b"a", b"b"), LAST_DELTA_AT, struct.pack(">i", 999), seal=False)
    broker = Broker([lying, damaged(good(2, b"c", b"d")), good(4, b"e")], end=5)
    broker.believes = True
    assert list((await fetched(broker, 0, size=size))[0])[:2] == [0, 1]
    assert "CRC" in str((await fetched(broker, 2, size=size))[0][3])
    assert (await fetched(broker, 4, size=size))[0] == {4: b"e"}


async def test_a_broker_that_holds_its_answers_back_is_asked_again() -> None:
    """It does so by its quotas."""
    broker = Broker([damaged(good(0, b"a"))], end=1)
    answered = broker.send

    async def throttled(node: int, request: Any, **options: Any) -> Any:
        answer = await answered(node, request)
        return answer if len(broker.asked) == 1 else SimpleNamespace(API_VERSION=11, topics=[])

    broker.send = throttled  # type: ignore[method-assign]
    assert await fetched(broker, 0) == [{}]


async def test_a_broker_that_gives_nothing_of_a_log_that_goes_on_is_helped() -> None:
    """It has no way through; but where it only had no room in its answer, or there is nothing yet, it is not."""
    broker = Broker([good(0, b"a"), good(1, b"x", b"y"), good(3, b"b")], end=4, silent=[1, 2])
    (found,) = await fetched(broker, 1)
    assert list(found) == [1, 2]
    assert "no way through its log at offset 1, and reads on at 3" in str(found[1])
    for broker in (Broker([good(0, b"a"), good(1, b"x")], end=1, silent=[1]), Broker([good(0, b"a")], end=1)):
        assert await fetched(broker, 1) == [{}]
    broker = Broker([good(0, b"a"), good(1, b"x")], end=2)
    broker.full = 1
    assert await fetched(broker, 1) == [{}]


async def test_the_last_batch_ends_with_the_log() -> None:
    """A consumer of committed records reads no further than transactions are decided, and sees no further."""
    broker = Broker([damaged(good(0, b"a", b"b"))], end=7)
    (found,) = await fetched(broker, 0)
    assert list(found) == list(range(7))
    broker.committed = 2
    (found,) = await fetched(broker, 1, committed=True)
    assert list(found) == [1]
    broker.version = 3
    (found,) = await fetched(broker, 0)
    assert list(found) == list(range(7))


async def test_a_log_that_ends_before_what_it_holds_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record may have come between the two; one that does not count yet is asked for later."""
    monkeypatch.setattr(module, "_LOOK_AGAIN_S", 0.001)
    broker = Broker([damaged(good(0, b"a", b"b"))], end=2)
    broker.ends = [0, 0, 0]
    (found,) = await fetched(broker, 0)
    assert list(found) == [0, 1]
    broker.end = 0
    assert await fetched(broker, 0) == [{}]


async def test_a_broker_that_cannot_tell_of_one_partition_costs_the_others_nothing() -> None:
    """It is asked again, but only after a pause; one that is away is a fetch that failed."""
    broker = Broker([damaged(good(0, b"a")), good(1, b"b")], end=2)
    answered = broker.send
    failure: list[Exception] = []

    async def moved(node: int, request: Any, **options: Any) -> Any:
        if failure:
            raise failure[0]
        answer = await answered(node, request)
        broker.error = NotLeaderForPartitionError.errno
        failure.extend(fails)
        return answer

    broker.send = moved  # type: ignore[method-assign]
    fails: list[Exception] = []
    assert await fetched(broker, 0, 1, size=10) == [{}, {1: b"b"}]
    broker.error = 0
    fails = [KafkaConnectionError("gone")]
    with pytest.raises(KafkaConnectionError):
        await fetched(broker, 0, size=10)


async def test_what_a_broker_cannot_find_its_way_through_is_passed() -> None:
    """The first batch behind it is searched for; every offset before that counts."""
    broker = Broker([good(0, b"a"), good(1, *[b"x"] * 20), good(21, b"b"), good(22, b"c")], end=23, lost=range(1, 21))
    (found,) = await fetched(broker, 1)
    assert list(found) == list(range(1, 21))
    assert found[7] == "the broker finds no way through its log at offset 1, and reads on at 21"
    assert len(broker.asked) < 15
    (found,) = await fetched(broker, 15)
    assert list(found) == list(range(15, 21))


class Patient:
    """A guarded consumer whose clock stands where a test sets it."""

    def __init__(self, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(waiting, "monotonic", lambda: self.now)
        monkeypatch.setattr(module, "PAUSE_S", 0)
        self.consumer: Any = SimpleNamespace(_client=SimpleNamespace(send=broker.send), _isolation_level="")
        guard_fetches(self.consumer)

    async def fetch(self, *asked: tuple[int, int]) -> dict[int, tuple[int, dict[int, bytes | str | None]]]:
        """Of partitions and positions: of each that is in the answer its error, and what is read."""
        request = FetchRequest(0, 1, 2**20, 0, [("frames", [(number, at, 2**20) for number, at in asked])])
        answer = await self.consumer._client.send(1, request)
        assert request.topics == [("frames", [(number, at, 2**20) for number, at in asked])]
        found: dict[int, tuple[int, dict[int, bytes | str | None]]] = {}
        for _, partitions in answer.topics:
            for number, error, *_, batches in partitions:
                records = read(batches, dict(asked)[number]).records if batches else []
                found[number] = error, {r.offset: r.value or undecodable(r.headers) for r in records}
        return found


async def test_where_nothing_is_behind_it_a_partition_waits_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for now and then; what is unreadable for long is given up, to where the log ended when it began."""
    broker = Broker([good(0, b"a"), good(1, b"x"), good(2, b"y"), good(3, b"b")], end=3, lost=[1, 2])
    patient = Patient(broker, monkeypatch)
    assert await patient.fetch((0, 1), (1, 3)) == {0: (2, {}), 1: (0, {3: b"b"})}
    asked = len(broker.asked)
    assert await patient.fetch((0, 1)) == {}
    assert len(broker.asked) == asked
    assert (await patient.fetch((0, 1), (1, 3))).keys() == {1}
    patient.now += waiting.PAUSE_S
    assert await patient.fetch((0, 1)) == {0: (2, {})}
    assert waiting_for(patient.consumer, "frames") is None
    patient.now += waiting.PATIENCE_S
    ((error, found),) = (await patient.fetch((0, 1))).values()
    assert (error, list(found)) == (0, [1, 2])
    assert found[1] == "the broker finds no way through partition 0 of frames at offset 1, up to 3, where the log ended"
    broker.end = 4
    assert await patient.fetch((0, 3)) == {0: (0, {3: b"b"})}
    assert not patient.consumer._client.send.waiting


async def test_what_comes_while_a_partition_waits_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the wait, and what the broker cannot give counts up to there."""
    broker = Broker([good(0, b"a"), good(1, b"x"), good(2, b"b")], end=2, lost=[1])
    patient = Patient(broker, monkeypatch)
    assert await patient.fetch((0, 1)) == {0: (2, {})}
    broker.end = 3
    patient.now += waiting.PAUSE_S
    ((error, found),) = (await patient.fetch((0, 1))).values()
    assert (error, list(found)) == (0, [1])
    assert await patient.fetch((0, 2)) == {0: (0, {2: b"b"})}


async def test_a_partition_that_waits_for_long_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the broker cannot read on even from its log's end there is nothing to give up, and nothing to read."""
    broker = Broker([good(0, b"a"), good(1, b"x")], end=2, lost=[2])
    patient = Patient(broker, monkeypatch)
    for _ in range(20):
        assert await patient.fetch((0, 2)) == {0: (2, {})}
        patient.now += waiting.PAUSE_S
    assert waiting_for(patient.consumer, "others") is None
    assert waiting_for(patient.consumer, "frames") == (
        "the broker finds no way through partition 0 of frames at offset 2, and has nothing behind it"
    )
    broker.lost = []
    assert await patient.fetch((0, 2)) == {0: (0, {})}
    assert waiting_for(patient.consumer, "frames") is None


async def test_epochs_of_what_was_fetched_are_kept() -> None:
    """By partition; a consumer that is not guarded has none."""
    broker = Broker([with_bytes(good(0, b"a"), 12, bytes([0, 0, 0, 7]), seal=False), damaged(good(1, b"b"))], end=2)
    consumer: Any = SimpleNamespace(_client=SimpleNamespace(send=broker.send), _isolation_level="")
    assert epochs_fetched(consumer, "frames", 0) is None
    guard_fetches(consumer)
    await consumer._client.send(1, FetchRequest(0, 1, 2**20, 0, [("frames", [(0, 0, 2**20)])]))
    epochs = epochs_fetched(consumer, "frames", 0)
    assert epochs is not None
    assert epochs.at(0) == 7
    assert epochs_fetched(consumer, "frames", 1) is None
