"""Feedback, announcements and results that others wrote: each a whole message with one part wrong, or no message."""

import json
from collections.abc import Iterator
from typing import Any

from tests.chaos.crowd import RECIPE
from tests.chaos.kinds.target import Kind, Send, Target
from tests.chaos.mutants import Headers
from tests.chaos.mutated_messages import RESULT

_FEEDBACK: dict[str, Any] = {
    "feedback_id": "hostile",
    "recipe": RECIPE,
    "frame_id": "nowhere",
    "verdict": "confirm_good",
    "operator": "ada",
    "time": "2026-03-02T08:16:04.120000Z",
    "reason": "a test",
}
_GENERATION: dict[str, Any] = {
    "recipe": RECIPE,
    "generation": {"number": 1_000_000, "sha256": "0" * 64},
    "rows": 100,
    "threshold": 24.5,
    "time": "2026-03-02T08:16:04.460000Z",
    "operator": "ada",
}
_DEEP = b'{"a":' * 50_000
_NO_JSON = {
    "nothing": b"",
    "null": b"null",
    "not utf-8": b"\xff\xfe\x00",
    "deep lists": b"[" * 100_000,
    "deep objects": _DEEP,
    "two at once": b"{}{}",
    "a megabyte of digits": b"1" * 10**6,
}
_HUGE = "x" * 2**20
_FEEDBACK_PARTS: dict[str, dict[str, Any]] = {
    "an operator of a mebibyte": {"operator": _HUGE},
    "an operator of a terminal's commands": {"operator": "\x1b[2J\r\n\u202e"},
    "no operator": {"operator": ""},
    "a reason of a mebibyte": {"reason": _HUGE},
    "an id of a mebibyte": {"feedback_id": _HUGE},
    "an id of nothing": {"feedback_id": ""},
    "a recipe nobody has": {"recipe": "nobody"},
    "a recipe that is a path": {"recipe": "../../etc"},
    "a frame that is a path": {"frame_id": "../../etc/passwd"},
    "a frame of a mebibyte": {"frame_id": _HUGE},
    "a verdict nobody knows": {"verdict": "maybe"},
    "a time of the year 2099": {"time": "2099-01-01T00:00:00Z"},
    "a time of the year 1": {"time": "0001-01-01T00:00:00+23:59"},
    "a time that is none": {"time": "yesterday"},
    "an image that is no base64": {"image": "%%%"},
    "an image that is none": {"image": "eHh4"},
    "an image of a mebibyte of zeros": {"image": "A" * 2**20},
    "an image that is a number": {"image": 7},
    "fields nobody knows": {f"f{number}": number for number in range(2000)},
    "an id that is a list": {"feedback_id": ["x"]},
}
_GENERATION_PARTS: dict[str, dict[str, Any]] = {
    "the number 0": {"generation": {"number": 0, "sha256": "0" * 64}},
    "a number below zero": {"generation": {"number": -1, "sha256": "0" * 64}},
    "a number beyond 64 bits": {"generation": {"number": 2**70, "sha256": "0" * 64}},
    "a number of 400 digits": {"generation": {"number": 10**400, "sha256": "0" * 64}},
    "a number that is true": {"generation": {"number": True, "sha256": "0" * 64}},
    "a hash that is none": {"generation": {"number": 9, "sha256": "g" * 64}},
    "a hash of a mebibyte": {"generation": {"number": 9, "sha256": _HUGE}},
    "another hash of the first": {"generation": {"number": 1, "sha256": "0" * 64}},
    "one that is not there": {},
    "no generation": {"generation": None},
    "a recipe nobody has": {"recipe": "nobody"},
    "a recipe of a mebibyte": {"recipe": _HUGE},
    "rows below zero": {"rows": -5},
    "a threshold without end": {"threshold": 1e308},
    "an operator of a mebibyte": {"operator": _HUGE},
    "a time of the year 9999": {"time": "9999-12-31T23:59:59-23:59"},
}
_RESULT_PARTS: dict[str, dict[str, Any]] = {
    "a camera of a mebibyte": {"camera": _HUGE},
    "a camera of a terminal's commands": {"camera": "\x1b[2J\r\n"},
    "no camera": {"camera": ""},
    "the year 2099": {"time": "2099-01-01T00:00:00Z", "inspected_at": "2099-01-01T00:00:00Z"},
    "the year 2099 of a camera of ours": {"camera": "cam-0", "time": "2099-01-01T00:00:00Z", "frame_id": "cam-0/2099"},
    "the year 1": {"time": "0001-01-01T00:00:00Z"},
    "a verdict nobody knows": {"verdict": "maybe"},
    "a score that is text": {"score": "NaN"},
    "fields nobody knows": {f"f{number}": number for number in range(2000)},
    "a reason nobody knows": {"verdict": "not_inspected", "reason": "tired", "detail": _HUGE},
    "an id of a mebibyte": {"frame_id": _HUGE},
}


def kinds() -> Iterator[Kind]:
    """Of each topic: parts that are wrong, values that are no JSON, and headers that are missing."""
    for family, kind, whole, parts in (
        ("feedback", "io.patchline.feedback.v1", _FEEDBACK, _FEEDBACK_PARTS),
        ("announcements", "io.patchline.generation.v1", _GENERATION, _GENERATION_PARTS),
        ("results", "io.patchline.result.v1", RESULT, _RESULT_PARTS),
    ):
        for name, part in parts.items():
            yield Kind(family=family, name=name, send=_sent(family, json.dumps(whole | part).encode(), _headers(kind)))
        for name, value in _NO_JSON.items():
            yield Kind(family=family, name=name, send=_sent(family, value, _headers(kind)))
        said = json.dumps(whole).encode()
        yield Kind(family=family, name="no value", send=_sent(family, None, _headers(kind)))
        yield Kind(family=family, name="no headers", send=_sent(family, said, []))
        yield Kind(family=family, name="headers not utf-8", send=_sent(family, said, [("ce_type", b"\xff\xfe")]))
        yield Kind(family=family, name="two thousand headers", send=_sent(family, said, _headers(kind) * 400))
        yield Kind(family=family, name="key not utf-8", send=_sent(family, said, _headers(kind), b"\xff\xfe"))


def _headers(kind: str) -> Headers:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_type", kind.encode()),
        ("ce_id", b"hostile"),
        ("ce_source", b"somebody"),
        ("ce_time", b"2026-03-02T08:16:04.120000Z"),
    ]


def _sent(family: str, value: bytes | None, headers: Headers, key: bytes = RECIPE.encode()) -> Send:
    async def send(target: Target) -> None:
        config = target.config
        topics = {
            "feedback": config.feedback_topic,
            "announcements": config.generations_topic,
            "results": config.results_topic,
        }
        await target.producer.send_and_wait(topics[family], value, key=key, headers=headers, partition=0)

    return send
