"""Record batches that a client library cannot read, or reads as nonsense: names in other encodings, codecs, CRCs."""

import struct
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tests.chaos.damaged_log import Damage, at, in_field
from tests.chaos.kinds.target import GOOD_IMAGE, Kind, Send, Target, headers_of_odd
from tests.chaos.raw_records import HEADER_BYTES, RawRecord, batch_of

_NOT_UTF8 = {
    "latin1": b"caf\xe9",
    "utf16": "line".encode("utf-16"),
    "overlong": b"\xc0\xaf",
    "surrogate": b"\xed\xa0\x80",
    "cut": b"\xe2\x82",
    "above 10ffff": b"\xf4\x90\x80\x80",
    "ff": b"\xff" * 300,
}
_MAGIC, _CRC, _ATTRIBUTES, _FIRST_TIME, _LARGEST_TIME, _COUNT = 16, 17, 21, 27, 35, 57
_NONSENSE = {
    "zero": b"\x00",
    "minus one": b"\x01",
    "huge": b"\xfe\xff\xff\xff\x0f",
    "negative": b"\xff\xff\xff\xff\x0f",
    "endless": b"\xff" * 12,
}
_NUMBERS = ("time_delta", "offset_delta")


def kinds() -> Iterator[Kind]:
    """Those of header names, which brokers take; and those of damage on a broker's disk."""
    for how, header in _NOT_UTF8.items():
        for where, records in (("alone", 1), ("first of three", 3), ("last of three", -3)):
            yield Kind(family="batches", name=f"header name {how}, {where}", send=_named(header, records))
    for name, damage in _damages():
        yield Kind(family="batches", name=name, send=_damaged(damage))


def _record(more: Sequence[tuple[bytes, bytes | None]] = ()) -> RawRecord:
    headers = [*((name.encode(), value) for name, value in headers_of_odd()), *more]
    return RawRecord(value=GOOD_IMAGE, headers=headers)


def _named(name: bytes, records: int) -> Send:
    async def send(target: Target) -> None:
        several = [_record([(name, b"x")]), *(_record() for _ in range(abs(records) - 1))]
        batch = batch_of(several if records > 0 else several[::-1], round(time.time() * 1000))
        partition = target.next_partition()
        first = await target.raw.send(partition, batch)
        target.places += [(partition, first + number) for number in range(abs(records))]

    return send


def _damaged(damage: Damage) -> Send:
    async def send(target: Target) -> None:
        partition = target.next_partition()
        offset = await target.damaged.send(partition, GOOD_IMAGE, headers_of_odd(), damage)
        target.places.append((partition, offset))

    return send


def _damages() -> Iterator[tuple[str, Damage]]:
    for where, position in {"crc": _CRC, "time": _FIRST_TIME, "first byte": HEADER_BYTES, "middle": 200}.items():
        yield f"wrong crc: {where}", at(position, b"\x5a\xa5", seal=False)
    yield "wrong crc: zeros", at(HEADER_BYTES, bytes(1 << 20), seal=False)
    for codec in range(1, 8):  # in a transaction, which attributes tell
        yield f"codec {codec} that the records are not in", at(_ATTRIBUTES, _packed("h", 0x10 | codec))
    yield "time of the broker", at(_ATTRIBUTES, _packed("h", 0x18))
    yield "attributes nobody knows", at(_ATTRIBUTES, _packed("h", 0x7F90))
    for magic in (3, 127):
        yield f"magic {magic}", at(_MAGIC, _packed("b", magic))
    for count in (0, 2, 1000, -1, 2**31 - 1):
        yield f"{count} records in a batch of one", at(_COUNT, _packed("i", count))
    for number in (-1, -(2**63), 2**63 - 1, 253_402_300_800_000):
        yield f"first time {number}", at(_FIRST_TIME, _packed("q", number))
        yield f"largest time {number}", at(_LARGEST_TIME, _packed("q", number))
    numbers = (*_NUMBERS, "length", "key_length", "value_length", "header_count")
    for field in (*numbers, "header_name_length", "header_value_length"):
        for how, found in _NONSENSE.items():
            if not (field in _NUMBERS and how == "zero"):  # as it is
                yield f"{field} {how}", in_field(field, found)


def _packed(kind: str, value: Any) -> bytes:
    return struct.pack(f">{kind}", value)
