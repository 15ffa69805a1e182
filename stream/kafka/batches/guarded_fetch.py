"""Every answer to a consumer's fetches is looked at before the client library has it: see `answer`.

Where a batch cannot be trusted in where it ends, the brokers are asked what follows it. And where a broker cannot find
its own way through a batch, it answers that the log is corrupt, for ever: then what lies behind it is searched for.
Where nothing is there for a while, all up to the log's end cannot be read, and what is written later is asked for from
there on.

That takes time, and the library asks a broker for nothing more before it has the answer. So the other partitions do not
wait for it: one that takes longer than `SOON_S` is left out of the answer, and of the requests that follow, until it
has been looked at.
"""

import asyncio
import copy
from collections.abc import Collection, Sequence
from time import time
from types import SimpleNamespace
from typing import Any, TypeAlias

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CorruptRecordException, KafkaConnectionError, KafkaError, KafkaTimeoutError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest

from patchline.stream.kafka.batches.answer import checked_answer, is_quick
from patchline.stream.kafka.batches.checked_batch import Unbounded
from patchline.stream.kafka.batches.epochs import LogEpochs
from patchline.stream.kafka.batches.layout import BEFORE_LENGTH_BYTES, HEADER_BYTES, begin_of, blank_header
from patchline.stream.kafka.batches.placeholders import placeholders
from patchline.stream.kafka.batches.waiting import PAUSE_S, WaitingPartitions
from patchline.stream.model.checks import MIB

SOON_S = 0.02
"""Other partitions wait no longer for one; and while some are late, requests wait no longer for records."""
_LOOKS, _LOOK_AGAIN_S = 20, 0.05
_MANY_BYTES = 64 * MIB
_CORRUPT = CorruptRecordException.errno
_Found: TypeAlias = tuple[Any, ...]
"""What an answer says of a partition: its number, the error, the log's end, more of the format's, and the batches."""


def guard_fetches(consumer: AIOKafkaConsumer) -> AIOKafkaConsumer:
    """Let a consumer have only what it can decode; it must not be connected yet, and need not check CRCs itself.

    The library has no place for this: it decodes what its client was sent, so the client's `send` is stood in for.
    """
    client = consumer._client
    client.send = _GuardedFetches(client.send, reads_committed=consumer._isolation_level == "read_committed")
    return consumer


def epochs_fetched(consumer: AIOKafkaConsumer, topic: str, partition: int) -> LogEpochs | None:
    """The epochs of what a guarded consumer has fetched of a partition, read or not yet; None where it has nothing."""
    send = consumer._client.send
    return send.epochs.get((topic, partition)) if isinstance(send, _GuardedFetches) else None


def waiting_for(consumer: AIOKafkaConsumer, topic: str) -> str | None:
    """Why a partition of a topic has waited for long for what its broker cannot give; None where none has."""
    send = consumer._client.send
    return next(iter(send.waiting.long(topic)), None) if isinstance(send, _GuardedFetches) else None


class _GuardedFetches:
    """Sends requests, and looks at the answers to those that fetch.

    Args:
        send: sends a request to a broker by its number, and returns the answer.
        reads_committed: whether the consumer reads no further than transactions are decided.
    """

    def __init__(self, send: Any, *, reads_committed: bool) -> None:
        self._send, self._reads_committed = send, reads_committed
        self._late: dict[tuple[str, int], tuple[int, asyncio.Task[_Found]]] = {}
        """By topic and partition: the offset that was asked for, and what looks at the answer."""
        self._version = 0
        self.epochs: dict[tuple[str, int], LogEpochs] = {}
        """By topic and partition: of what was fetched."""
        self.waiting = WaitingPartitions()

    async def __call__(self, node: int, request: Any, **options: Any) -> Any:
        if not isinstance(request, FetchRequest):
            return await self._send(node, request, **options)
        if self.waiting:
            due = self.waiting.due(request.topics)
            if not due:
                await asyncio.sleep(PAUSE_S)
                return SimpleNamespace(API_VERSION=self._version, topics=[])
            request = copy.copy(request)  # the library compares the answer with what it has asked for itself
            request._topics = due
        asked = {(topic, number): at for topic, partitions in request.topics for number, at, _ in partitions}
        late = self._still_late(asked)
        if not late:
            answer = await self._send(node, request, **options)
        elif len(late) == len(asked):
            await asyncio.wait(late.values(), timeout=SOON_S, return_when=asyncio.FIRST_COMPLETED)
            answer = SimpleNamespace(API_VERSION=self._version, topics=[])
        else:
            answer = await self._send(node, _without(request, late), **options)
        self._version = answer.API_VERSION
        topics = [(topic, await self._soon(node, topic, found, asked)) for topic, found in answer.topics or []]
        for (topic, number), task in late.items():
            if task.done():
                del self._late[topic, number]
                topics.append((topic, [task.result()]))
        for topic, found in topics:
            for number, error, *_, batches in found:
                if batches and not error:
                    self.epochs.setdefault((topic, number), LogEpochs()).saw_all(batches)
        answer.topics = topics
        return answer

    def _still_late(self, asked: dict[tuple[str, int], int]) -> dict[tuple[str, int], asyncio.Task[_Found]]:
        """The partitions of a request whose last answer at the same offset is still looked at, or now has been."""
        found: dict[tuple[str, int], asyncio.Task[_Found]] = {}
        for partition, at in asked.items():
            if partition in self._late:
                position, task = self._late[partition]
                if position == at:
                    found[partition] = task
                else:  # the consumer is elsewhere by now
                    task.cancel()
                    del self._late[partition]
        return found

    async def _soon(
        self, node: int, topic: str, found: Sequence[_Found], asked: dict[tuple[str, int], int]
    ) -> list[_Found]:
        """The partitions of an answer, without those that take longer. Raises KafkaConnectionError."""
        checked: list[_Found] = []
        looking: dict[asyncio.Task[_Found], int] = {}
        for one in found:
            partition = _Partition(self, node, topic, one[0], asked[topic, one[0]])
            if (at_once := partition.checked_at_once(one)) is not None:
                checked.append(at_once)
            else:
                looking[asyncio.ensure_future(partition.guarded(one))] = one[0]
        if not looking:
            return checked
        try:
            done, _ = await asyncio.wait(looking, timeout=SOON_S)
        except asyncio.CancelledError:
            for task in looking:
                task.cancel()
            raise
        for task, number in looking.items():
            if task not in done:
                task.add_done_callback(_heard)
                self._late[topic, number] = (asked[topic, number], task)
        return checked + [task.result() for task in done]

    async def fetch(self, node: int, topic: str, number: int, offset: int, size: int) -> tuple[int, int, bytes]:
        """The batches from an offset on.

        Args:
            node: the broker.
            topic: the topic.
            number: the partition.
            offset: the first batch has it, or begins behind it.
            size: about so many bytes, and at least one batch.

        Returns:
            The error, 0 where there is none; the offset behind all that a consumer may read now; the batches.

        Raises:
            KafkaError: the broker cannot be asked.
        """
        request = FetchRequest(0, 1, size, int(self._reads_committed), [(topic, [(number, offset, size)])])
        for _, partitions in (await self._send(node, request)).topics or []:
            for _, error, end, *more, batches in partitions:
                return error, self.end_in(end, more), batches or b""
        raise KafkaTimeoutError(f"broker {node} holds answers back")  # by its quotas

    def end_in(self, high_watermark: int, more: Sequence[Any]) -> int:
        """The offset behind all that a consumer may read, by what an answer says of a partition behind its error."""
        return int(more[0]) if self._reads_committed and more else high_watermark

    async def log_end(self, node: int, topic: str, number: int) -> int:
        """The offset behind all that a consumer may read; 0 where the broker does not say. Raises KafkaError."""
        request = OffsetRequest(-1, int(self._reads_committed), [(topic, [(number, -1)])])
        for _, partitions in (await self._send(node, request)).topics:
            for _, error, *_, offset in partitions:
                return 0 if error else int(offset)
        return 0


class _Partition:
    """A partition in an answer, and who to ask more of it.

    Args:
        fetches: asks the brokers.
        node: the broker that answered.
        topic: the topic.
        number: the partition.
        position: the offset that was asked for.
    """

    def __init__(self, fetches: _GuardedFetches, node: int, topic: str, number: int, position: int) -> None:
        self._fetches, self._where, self._position = fetches, (node, topic, number), position

    def checked_at_once(self, found: _Found) -> _Found | None:
        """The same as `guarded`, where that is quick and asks nobody; else None."""
        checked = self._checked_at_once(found)
        if checked is not None and self._fetches.waiting:
            self._fetches.waiting.done(self._where[1:])
        return checked

    def _checked_at_once(self, found: _Found) -> _Found | None:
        number, error, end, *more, batches = found
        if error or not batches:
            return None if error == _CORRUPT or self._fetches.end_in(end, more) > self._position else found
        if not is_quick(batches):
            return None
        data = checked_answer(batches, self._position).data
        return (number, error, end, *more, data) if data else None

    async def guarded(self, found: _Found) -> _Found:
        """The partition's part of an answer, with batches that can be decoded: none where they cannot be told of now.

        What is wrong with one partition is no reason to throw away what the answer has of others. Raises
        KafkaConnectionError where the broker is away.
        """
        try:
            checked = await self._checked(found)
        except KafkaConnectionError:
            raise
        except KafkaError as error:
            self._wait(str(error))
            return (*found[:-1], b"")
        if self._fetches.waiting and checked[-1] and not checked[1]:
            self._fetches.waiting.done(self._where[1:])
        return checked

    async def _checked(self, found: _Found) -> _Found:
        number, error, end, *more, batches = found
        if batches and not error:
            return (number, error, end, *more, await self._readable(batches))
        if error == _CORRUPT or (not error and await self._is_stuck(self._fetches.end_in(end, more))):
            batches = await self._beyond()
            if batches:
                return (number, 0, end, *more, batches)
        elif self._fetches.waiting:
            self._fetches.waiting.done(self._where[1:])
        return found

    def _wait(self, why: str, end: int = 0) -> int:
        """Ask for the partition again after a pause. The result is as of `WaitingPartitions.wait`."""
        return self._fetches.waiting.wait(self._where[1:], self._position, why, end)

    async def _readable(self, batches: bytes) -> bytes:
        passed = 0
        while batches:
            if is_quick(batches):
                checked = checked_answer(batches, self._position)
            else:
                checked = await asyncio.to_thread(checked_answer, batches, self._position)
            if checked.data:
                return checked.data
            passed += checked.passed_bytes
            if checked.left is not None:
                end = await self._end_of(checked.left, passed)
                if end > self._position:
                    return checked.left.until(end, self._position).data
            # The broker believes a batch that it reaches the position, where another is.
            _, _, answered = await self._fetch(self._position, passed + _MANY_BYTES)
            batches = answered[passed:]
        return b""

    async def _end_of(self, left: Unbounded, size: int) -> int:
        """The offset of what follows a batch, behind `size` bytes, whose own word on it cannot be trusted.

        It is the base offset of the next batch, and where there is none the log's end. An answer never goes beyond a
        file of the log: where the batch is the last in one, the next file is asked for by offsets that may be in it.
        """
        for _ in range(_LOOKS):
            _, end, batches = await self._fetch(self._position, size + HEADER_BYTES)
            if len(batches) >= size + BEFORE_LENGTH_BYTES:
                return begin_of(batches, size)[0]
            if end > self._position:
                break
            await asyncio.sleep(_LOOK_AGAIN_S)  # it was just written, and the broker had not yet counted it
        else:
            raise KafkaTimeoutError(f"{self._where}: the log ends before a record batch in it")
        for offset in (left.header.next_offset, self._position + 1):
            if self._position < offset < end:
                base = await self._base_at(offset)
                if base is not None and base > self._position:
                    return base
        return end

    async def _is_stuck(self, end: int) -> bool:
        """Whether the broker has nothing to give of a log that goes on, also where nothing else takes up the answer."""
        for _ in range(2):
            if end <= self._position:
                return False
            error, end, batches = await self._fetch(self._position, 1)
            if batches or error:
                return bool(error)
        return True

    async def _beyond(self) -> bytes:
        """Placeholders for what the broker cannot find its way through; nothing, where nothing is behind it yet.

        Where that stays so they stand for all up to the log's end: whatever is there, the broker cannot give it.
        """
        end = await self._fetches.log_end(*self._where)
        failing, step = self._position, 1
        while (found := self._position + step) < end and await self._base_at(found) is None:
            failing, step = found, 2 * step
        if found >= end:
            found = end - 1
            if found <= failing or await self._base_at(found) is None:
                _, topic, number = self._where
                why = f"the broker finds no way through partition {number} of {topic} at offset {self._position}"
                given_up = self._wait(f"{why}, and has nothing behind it", end)
                return self._unread(given_up, f"{why}, up to {given_up}, where the log ended")
        while found - failing > 1:
            middle = (found + failing) // 2
            if await self._base_at(middle) is None:
                failing = middle
            else:
                found = middle
        base = max(await self._base_at(found) or 0, self._position + 1)
        why = f"the broker finds no way through its log at offset {self._position}, and reads on at {base}"
        return self._unread(base, why)

    def _unread(self, end: int, why: str) -> bytes:
        """Placeholders for what lies from the position to before `end`; nothing where that is nothing."""
        if end <= self._position:
            return b""
        return placeholders(blank_header(self._position).dated(round(time() * 1000)), self._position, end, why)

    async def _base_at(self, offset: int) -> int | None:
        """The base offset of the batch that has an offset, or follows it; None where the broker has none to give."""
        _, _, batches = await self._fetch(offset, HEADER_BYTES)
        return begin_of(batches, 0)[0] if len(batches) >= BEFORE_LENGTH_BYTES else None

    async def _fetch(self, offset: int, size: int) -> tuple[int, int, bytes]:
        error, end, batches = await self._fetches.fetch(*self._where, offset, size)
        if error not in (0, _CORRUPT):
            raise for_code(error)(f"{self._where}: offset {offset} cannot be asked for")
        return error, end, batches


def _without(request: FetchRequest, partitions: Collection[tuple[str, int]]) -> FetchRequest:
    """A request that leaves some partitions out, and waits for the others no longer than `SOON_S`."""
    fewer = copy.copy(request)
    kept = [(topic, [one for one in some if (topic, one[0]) not in partitions]) for topic, some in request.topics]
    fewer._topics = [(topic, some) for topic, some in kept if some]
    fewer._max_wait_ms = min(request._max_wait_ms, round(SOON_S * 1000))
    return fewer


def _heard(task: "asyncio.Task[_Found]") -> None:
    """Take an error that nobody may ask for any more."""
    if not task.cancelled():
        task.exception()
