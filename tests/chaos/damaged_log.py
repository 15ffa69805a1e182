"""Record batches that are damaged on the broker's disk before anyone reads them.

A broker looks at what it is sent, so nonsense cannot be produced. It is written in an open transaction, which consumers
of committed records do not see yet, changed in the broker's file, and then committed. What others write to the
partition meanwhile is not seen either: so that is short, and a file is searched from where the last batch was found.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from aiokafka import AIOKafkaProducer

from tests.chaos.mutants import Headers
from tests.chaos.raw_records import HEADER_BYTES, sealed

Damage: TypeAlias = Callable[[bytes], bytes]
"""A batch's bytes -> as many others."""


class DamagedLog:
    """Writes single frames and damages their batches.

    Args:
        bootstrap: HOST:PORT of the one broker.
        data: the broker's folder of logs.
        topic: where to.
    """

    def __init__(self, bootstrap: str, data: Path, topic: str) -> None:
        self._bootstrap, self._data, self._topic = bootstrap, data, topic
        self._found: dict[Path, int] = {}
        """Where in each file the last batch was found."""

    async def send(self, partition: int, value: bytes, headers: Headers, damage: Damage) -> int:
        """Write one frame with that damage; its offset."""
        async with self._producer.transaction():
            sent = await self._producer.send_and_wait(
                self._topic, value, key=b"odd", headers=headers, partition=partition
            )
            self._damage(partition, sent.offset, damage)
        return int(sent.offset)

    def _damage(self, partition: int, offset: int, damage: Damage) -> None:
        for log in sorted((self._data / f"{self._topic}-{partition}").glob("*.log"), reverse=True):
            with log.open("r+b") as file:
                file.seek(self._found.get(log, 0))
                while len(head := file.read(12)) == 12:
                    base, length = struct.unpack(">qi", head)
                    if base != offset:
                        file.seek(length, 1)
                        continue
                    self._found[log] = file.tell() - len(head)
                    before = head + file.read(length)
                    after = damage(before)
                    assert len(after) == len(before)
                    assert after[:12] == before[:12]
                    file.seek(-len(before), 1)
                    file.write(after)
                    return
        raise AssertionError(f"no batch at {offset} in the broker's log of partition {partition}")

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, transactional_id="damage")
        await self._producer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer.stop()


def at(position: int, found: bytes, *, seal: bool = True) -> Damage:
    """Other bytes at a position of the batch; `seal`: with a CRC that fits them."""

    def damage(batch: bytes) -> bytes:
        damaged = (batch[:position] + found + batch[position + len(found) :])[: len(batch)]
        return sealed(damaged) if seal else damaged

    return damage


def in_field(name: str, found: bytes) -> Damage:
    """Other bytes from a field of the first record on, with a CRC that fits them."""

    def damage(batch: bytes) -> bytes:
        return at(_fields(batch)[name], found)(batch)

    return damage


def _fields(batch: bytes) -> dict[str, int]:
    """Where each field of the first record begins."""
    position, fields = HEADER_BYTES, dict[str, int]()

    def read(name: str) -> int:
        nonlocal position
        fields[name], value, shift = position, 0, 0
        while True:
            byte = batch[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)

    read("length")
    position += 1  # attributes
    for name in ("time_delta", "offset_delta"):
        read(name)
    for name in ("key_length", "value_length"):
        position += max(0, read(name))
    read("header_count")
    position += read("header_name_length")
    read("header_value_length")
    return fields
