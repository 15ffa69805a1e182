"""What people and other programs leave in Redis: acknowledgements, hashes, and keys of other types and encodings."""

import json
from collections.abc import Iterator
from typing import Any, TypeAlias

from tests.chaos.kinds.target import Kind, Send, Target, headers_of_odd

Fields: TypeAlias = dict[str | bytes, str | bytes]
_HASH: Fields = {
    "state": "unacknowledged",
    "alarm_id": "x",
    "raised_at": "2026-03-02T08:15:30+00:00",
    "window": "PPRP",
    "passes": "0",
    "last": "frames|0|10|1772439330.25",
    "version": "7",
}
_ACKNOWLEDGEMENTS: dict[str, Fields] = {
    "no field of ours": {"foo": "bar"},
    "no operator": {"camera": "cam-0"},
    "no camera": {"operator": "ada"},
    "a camera nobody has": {"camera": "nobody", "operator": "ada"},
    "a camera not utf-8": {"camera": b"caf\xe9", "operator": "ada"},
    "an operator not utf-8": {"camera": "cam-0", "operator": b"\xff\xfe"},
    "a field not utf-8": {b"\xff\xfe": "x", "camera": "cam-0", "operator": "ada"},
    "an operator of a mebibyte": {"camera": "cam-0", "operator": "x" * 2**20},
    "a camera of a mebibyte": {"camera": "x" * 2**20, "operator": "ada"},
    "an operator of nothing": {"camera": "cam-0", "operator": ""},
    "a camera of nothing": {"camera": "", "operator": "ada"},
    "nul": {"camera": "cam-\x00", "operator": "\x00"},
    "a terminal's commands": {"camera": "cam-0", "operator": "\x1b[2J\r\n\u202e"},
    "five hundred fields": {f"f{number}": "x" for number in range(500)},
    "json": {"camera": '{"camera": "cam-0"}', "operator": "[]"},
    "a pattern": {"camera": "*", "operator": "*"},
    "a name of another key": {"camera": "../alarms", "operator": "ada"},
}
_HASHES: dict[str, Fields] = {
    "no field of ours": {"foo": "bar"},
    "a state nobody knows": _HASH | {"state": "on fire"},
    "no state": {name: value for name, value in _HASH.items() if name != "state"},
    "a version that is none": _HASH | {"version": "seven"},
    "a version of 400 digits": _HASH | {"version": "9" * 400},
    "a version below zero": _HASH | {"version": "-1"},
    "a version beyond 64 bits": _HASH | {"version": str(2**64)},
    "passes that are none": _HASH | {"passes": "NaN"},
    "passes of 5,000 digits": _HASH | {"passes": "9" * 5000},
    "passes below zero": _HASH | {"passes": "-5"},
    "a window of a mebibyte": _HASH | {"window": "R" * 2**20},
    "a window of other letters": _HASH | {"window": "x\x00y"},
    "a window not utf-8": _HASH | {"window": b"\xff\xfe"},
    "a field not utf-8": _HASH | {b"\xff": "x"},
    "a last frame of the year 2099": _HASH | {"last": "|0|99999999|4070908800.0"},
    "a last frame that is none": _HASH | {"last": "|||||"},
    "a last frame of a mebibyte": _HASH | {"last": "x" * 2**20},
    "raised in the year 9999": _HASH | {"raised_at": "9999-12-31T23:59:59-23:59"},
    "raised at no time": _HASH | {"raised_at": "yesterday"},
    "raised without a zone": _HASH | {"raised_at": "2026-03-02T08:15:30"},
    "an alarm without an id": {name: value for name, value in _HASH.items() if name != "alarm_id"},
    "the name of another camera": _HASH | {"camera": "cam-0"},
}
_TYPES = ("string", "bytes", "list", "set", "sorted set", "stream", "big string")
_SHARED = ("alarm-cameras", "alarm-positions", "alarms", "alarms:ack")

_POSITIONS: dict[str, Fields] = {
    "not utf-8": {b"\xff": b"\xfe"},
    "words": {"frames/0": "ten"},
    "many": {f"other-{number}/0": "1" for number in range(300)},
}
_CAMERAS: dict[str, list[bytes]] = {
    "not utf-8": [b"\xff\xfe"],
    "many": [f"made-up-{number}".encode() for number in range(300)],
}


def kinds() -> Iterator[Kind]:
    """Acknowledgements; hashes of cameras that then send a frame; keys of other types; messages on the channel."""
    for name, fields in _ACKNOWLEDGEMENTS.items():
        yield Kind(family="acknowledgements", name=name, send=_acknowledged(fields))
    for name, fields in _HASHES.items():
        yield Kind(family="hashes", name=name, send=_hash(name, fields))
    for kind in _TYPES:
        yield Kind(family="hashes", name=f"a {kind} where a hash is", send=_typed(f"alarm:typed {kind}", kind))
    for key in _SHARED:
        yield Kind(family="keys", name=f"{key} is a string", send=_typed(key, "string"))
    for key in ("alarm-cameras", "alarms", "alarms:ack"):
        yield Kind(family="keys", name=f"{key} is a hash", send=_typed(key, "hash"))
    for name, fields in _POSITIONS.items():
        yield Kind(family="keys", name=f"positions of others: {name}", send=_positions(fields))
    for name, names in _CAMERAS.items():
        yield Kind(family="keys", name=f"cameras of others: {name}", send=_cameras(names))
    for text in (b"\xff\xfe", b"", b"null", json.dumps({"camera": 3}).encode()):
        yield Kind(family="keys", name=f"announced: {text!r}", send=_announced(text))
        yield Kind(family="keys", name=f"an event: {text!r}", send=_event(text))


async def _key(target: Target, name: str, kind: bytes) -> str:
    """A key that can take this kind of value: what an earlier one left there of another kind goes."""
    key = target.prefix + name
    if await target.redis.type(key) not in (kind, b"none"):
        await target.redis.delete(key)
    return key


def _acknowledged(fields: Fields) -> Send:
    async def send(target: Target) -> None:
        await target.redis.xadd(await _key(target, "alarms:ack", b"stream"), fields)

    return send


def _hash(name: str, fields: Fields) -> Send:
    async def send(target: Target) -> None:
        camera = f"hash {name}"
        await target.redis.hset(await _key(target, f"alarm:{camera}", b"hash"), mapping=fields)
        for _ in range(2):
            await target.frame(headers=headers_of_odd(camera))

    return send


def _typed(key: str, kind: str) -> Send:
    async def send(target: Target) -> None:
        full = target.prefix + key
        await target.redis.delete(full)
        await _write(target.redis, full, kind)
        await target.frame(headers=headers_of_odd(key.removeprefix("alarm:")))

    return send


async def _write(client: Any, key: str, kind: str) -> None:
    if kind == "list":
        await client.rpush(key, "x")
    elif kind == "set":
        await client.sadd(key, "x")
    elif kind == "sorted set":
        await client.zadd(key, {"x": 1.0})
    elif kind == "stream":
        await client.xadd(key, {"x": "y"})
    elif kind == "hash":
        await client.hset(key, "x", "y")
    else:
        await client.set(key, {"bytes": b"\xff\xfe", "big string": b"x" * 2**22}.get(kind, b"x"))


def _positions(fields: Fields) -> Send:
    async def send(target: Target) -> None:
        await target.redis.hset(await _key(target, "alarm-positions", b"hash"), mapping=fields)

    return send


def _cameras(names: list[bytes]) -> Send:
    async def send(target: Target) -> None:
        await target.redis.sadd(await _key(target, "alarm-cameras", b"set"), *names)

    return send


def _announced(text: bytes) -> Send:
    async def send(target: Target) -> None:
        await target.redis.publish(f"{target.prefix}alarms:live", text)

    return send


def _event(text: bytes) -> Send:
    async def send(target: Target) -> None:
        await target.redis.xadd(await _key(target, "alarms", b"stream"), {"event": text})

    return send
