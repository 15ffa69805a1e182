"""Frames that any producer can send: strange keys, headers, times, values, recipes and cameras; every codec."""

import io
import time
from collections.abc import Iterator

import numpy as np
from aiokafka import AIOKafkaProducer
from PIL import Image as Pillow

from tests.chaos.kinds.target import GOOD_IMAGE, Kind, Send, Target, headers_of_odd, with_header
from tests.chaos.mutants import Headers
from tests.stream.scripted import picture

CODECS = ("gzip", "snappy", "lz4", "zstd")
_ATTRIBUTES = ("ce_specversion", "ce_type", "ce_id", "ce_source", "ce_time", "content-type", "ce_recipe", "ce_sha256")
_TEXTS = {
    "empty": b"",
    "nul": b"a\x00b",
    "not utf-8": b"caf\xe9\xff",
    "huge": b"x" * 70_000,
    "terminal": b"\x1b[2J\x1b]0;owned\x07\r\nline \xe2\x80\xae",
    "a number": b"-1e309",
}
_KEYS = {
    "none": None,
    "empty": b"",
    "nul": b"\x00",
    "not utf-8": b"\xff\xfe\xe9",
    "a mebibyte": b"k" * 2**20,
    "path": b"../../etc/passwd",
    "terminal": b"\x1b[31m\r\n",
    "right to left": "\u202eenil".encode(),
    "surrogates": b"\xed\xa0\x80",
    "a pattern": b"patchline:alarm:*",
}
_TIMES = (
    *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59"),
    *("2099-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "2016-12-31T23:59:60Z"),
    *("2026-01-01T00:00:00", "1772439330", "NaN", "2026-02-30T00:00:00Z", "2026-01-01T00:00:00+99:99"),
)
_YEAR_2099_MS = 4_070_908_800_000
_RECORD_TIMES_MS = (0, 1, _YEAR_2099_MS, 253_402_300_799_999, 253_402_300_800_000, 2**62)
_NAMES = ("other", "unknown", "patchline", "__proto__", "${HOME}", "%s%n", "a" * 256, "*", ".", "\ufeff", "😀" * 60)


def kinds() -> Iterator[Kind]:
    """In the order of the record's parts."""
    for name, send in (*_keys(), *_headers(), *_times(), *_values(), *_named()):
        yield Kind(family="frames", name=name, send=send)


def _sent(
    value: bytes | None = GOOD_IMAGE,
    headers: Headers | None = None,
    key: bytes | None = b"odd",
    timestamp_ms: int | None = None,
) -> Send:
    async def send(target: Target) -> None:
        await target.frame(value=value, headers=headers, key=key, timestamp_ms=timestamp_ms)

    return send


def _keys() -> Iterator[tuple[str, Send]]:
    for name, key in _KEYS.items():
        yield f"key: {name}", _sent(key=key)


def _headers() -> Iterator[tuple[str, Send]]:
    whole = headers_of_odd
    yield "no header", _sent(headers=[])
    for count in (300, 2000):
        yield f"{count} headers", _sent(headers=[*whole(), *((f"x-{number}", b"y") for number in range(count))])
    yield "900 times one header", _sent(headers=[*whole(), *[("ce_id", b"again")] * 900])
    yield "a header of a mebibyte", _sent(headers=[*whole(), ("x", b"y" * 2**20)])
    yield "a header name of nothing", _sent(headers=[*whole(), ("", b"y")])
    yield "a header name of 30,000 characters", _sent(headers=[*whole(), ("ce_" + "x" * 30_000, b"y")])
    yield "a header name that is a command", _sent(headers=[*whole(), ("\x1b[2J\r\n", b"y")])
    yield "all headers twice", _sent(headers=[*whole(), *whole()])
    yield "all headers in capitals", _sent(headers=[(name.upper(), value) for name, value in whole()])
    for name in _ATTRIBUTES:
        yield f"{name}: missing", _sent(headers=with_header(name, None))
        for how, text in _TEXTS.items():
            yield f"{name}: {how}", _sent(headers=with_header(name, text))


def _times() -> Iterator[tuple[str, Send]]:
    for text in _TIMES:
        yield f"taken at {text}", _sent(headers=with_header("ce_time", text.encode()))
    for time_ms in _RECORD_TIMES_MS:
        yield f"a record of {time_ms} ms", _sent(headers=with_header("ce_time", None), timestamp_ms=time_ms)


def _values() -> Iterator[tuple[str, Send]]:
    values: dict[str, bytes | None] = {
        "none": None,
        "empty": b"",
        "a byte": b"\x00",
        "a mebibyte of zeros": bytes(2**20),
        "a mebibyte of ones": b"\xff" * 2**20,
        "text": b"no image",
        "json": b'{"image": null}',
        "deep json": b"[" * 100_000,
        "half a jpeg": GOOD_IMAGE[: len(GOOD_IMAGE) // 2],
        "a jpeg twice": GOOD_IMAGE * 2,
        "a jpeg and a mebibyte": GOOD_IMAGE + bytes(2**20),
        "a png of no pixels": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(17),
        "a tiff that points at itself": b"II*\x00\x08\x00\x00\x00" * 40,
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "one pixel": _png((1, 1)),
        "a row of pixels": _png((1, 20_000)),
        "a column of pixels": _png((20_000, 1)),
        "more than the limit": bytes(33 * 2**20),
    }
    for name, value in values.items():
        # A producer takes no record without key and value, and a headless one has neither.
        yield f"value: {name}", _sent(value)


def _png(size_px: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(picture(66, size_px))).save(file, "PNG")
    return file.getvalue()


def _named() -> Iterator[tuple[str, Send]]:
    for name in _NAMES:
        yield f"camera {name[:20]!r}", _sent(headers=headers_of_odd(name))
        yield f"recipe {name[:20]!r}", _sent(headers=with_header("ce_recipe", name.encode()))
    yield "the same id twice", _twice
    for codec in CODECS:
        yield f"codec {codec}", _compressed(codec)
    yield "an aborted transaction", _aborted


async def _twice(target: Target) -> None:
    headers = headers_of_odd()
    for _ in range(2):
        await target.frame(headers=headers)


def _compressed(codec: str) -> Send:
    async def send(target: Target) -> None:
        partition = target.next_partition()
        producer = AIOKafkaProducer(bootstrap_servers=target.config.bootstrap_servers, compression_type=codec)
        async with producer:
            topic = target.config.frames_topic
            sent = await producer.send_and_wait(topic, GOOD_IMAGE, headers=headers_of_odd(), partition=partition)
        target.places.append((sent.partition, sent.offset))

    return send


async def _aborted(target: Target) -> None:
    """Its frames have no result: nobody who reads committed records may see them."""
    producer = AIOKafkaProducer(
        bootstrap_servers=target.config.bootstrap_servers, transactional_id=f"aborted-{time.monotonic_ns()}"
    )
    async with producer:
        await producer.begin_transaction()
        for _ in range(3):
            await producer.send_and_wait(
                target.config.frames_topic,
                GOOD_IMAGE,
                headers=headers_of_odd(),
                partition=target.next_partition(),
            )
        await producer.abort_transaction()
