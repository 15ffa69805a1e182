"""Broken results that the alarms read, broken feedback and broken announcements; and what comes of them."""

import asyncio
import base64
import json
import random
from collections import Counter
from contextlib import suppress
from typing import Any

import redis.asyncio as redis
from aiokafka import ConsumerRecord

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.model.errors import RecordError
from patchline.stream.model.feedback import FeedbackOutcome
from patchline.stream.wire.cloudevents import attributes_of
from patchline.stream.wire.feedback import parse_feedback, read_reply
from tests.chaos.crowd import RECIPE, Crowd
from tests.chaos.figure import Measured
from tests.chaos.line import CAMERAS
from tests.chaos.mutants import Headers, encodings, mutated, mutated_headers, mutated_json, photographs
from tests.chaos.sender import Sender
from tests.services.redis import RedisServer
from tests.stream.kafka_help import read_topic
from tests.stream.scripted import jpeg

RESULT: dict[str, Any] = {
    "frame_id": "made-up",
    "camera": "made-up",
    "recipe": RECIPE,
    "time": "2026-03-02T08:15:30.250000Z",
    "inspected_at": "2026-03-02T08:15:30.250000Z",
    "verdict": "reject",
    "latency_ms": 1.5,
    "score": 30.5,
    "threshold": 24.5,
    "generation": {"number": 1, "sha256": "0" * 64},
    "worst": {"top_px": 0, "left_px": 0, "height_px": 16, "width_px": 16},
}
"""A result that nobody has judged."""


async def followed(
    config: KafkaConfig, crowd: Crowd, sender: Sender, server: RedisServer, count: int, draw: random.Random
) -> Measured:
    """Results that the alarms read: none stops them, and an alarm that comes after them is told."""

    def headers(offset: int) -> Headers:
        where = (("ce_frametopic", config.frames_topic), ("ce_framepartition", "0"), ("ce_frameoffset", str(offset)))
        named = _named("io.patchline.result.v1", "r", "patchline/cam-0")
        return [*named, *((name, text.encode()) for name, text in where)]

    for number in range(count):
        camera = draw.choice(CAMERAS)
        value = mutated_json(RESULT | {"frame_id": f"r{number}", "camera": camera}, draw)
        changed = mutated_headers(headers(number), draw) if draw.random() < 0.4 else headers(number)
        await sender.send(config.results_topic, camera.encode(), value, changed, partition=draw.randrange(2))
    last = ("last-0", "last-1")
    for number in range(20):
        partition, camera = number % 2, last[number % 2]
        value = json.dumps(RESULT | {"camera": camera, "frame_id": f"{camera}/{number}"}).encode()
        await sender.send(config.results_topic, camera.encode(), value, headers(number), partition=partition)
    await sender.settle()
    client = redis.from_url(server.url, decode_responses=True)
    states: list[str | None] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(240):
            while crowd.running and states != ["unacknowledged"] * 2:
                await asyncio.sleep(0.1)
                found = [await client.hget(f"patchline:alarm:{camera}", "state") for camera in last]
                states = [None if state is None else str(state) for state in found]
    await client.aclose()
    return Measured(
        name=f"alarms of two cameras after {count:,} broken results",
        measured=" and ".join(map(str, states)),
        goal="unacknowledged, both",
        met=states == ["unacknowledged"] * 2,
    )


async def learned(
    config: KafkaConfig, crowd: Crowd, sender: Sender, feedback: int, announcements: int, draw: random.Random
) -> Measured:
    """Feedback has one answer each, in its order, between broken announcements; what is whole is learned after them."""
    whole = [encoded for image in photographs(None) for encoded in encodings(image)]
    told: list[set[str]] = []
    work = [True] * feedback + [False] * announcements
    draw.shuffle(work)
    for number, is_feedback in enumerate(work):
        if not is_feedback:
            await _announce(config, sender, number, draw)
            continue
        told_of = _feedback(f"m{number}", mutated(whole, draw) if draw.random() < 0.3 else None, draw)
        value = mutated_json(told_of, draw)
        headers = _named("io.patchline.feedback.v1", f"m{number}", "ada")
        if draw.random() < 0.3:
            headers = mutated_headers(headers, draw)
        key = draw.choice((RECIPE.encode(), None, b"\xff\xfe"))
        await sender.send(config.feedback_topic, key, value, headers, partition=0)
        told.append({f"m{number}", f"{config.feedback_topic}/0/{len(told)}", *_strange_ids(value, headers)})
    last = _feedback("last", jpeg(90), draw) | {"verdict": "confirm_good", "frame_id": "last"}
    headers = _named("io.patchline.feedback.v1", "last", "ada")
    await sender.send(config.feedback_topic, RECIPE.encode(), json.dumps(last).encode(), headers, partition=0)
    told.append({"last"})
    await sender.settle()
    replies: list[ConsumerRecord] = []
    try:
        async with asyncio.timeout(900):
            while crowd.running and len(replies) < len(told):
                await asyncio.sleep(0.5)
                replies = await read_topic(config, config.feedback_replies_topic)
    except TimeoutError:
        pass
    await asyncio.sleep(1)
    replies = await read_topic(config, config.feedback_replies_topic)
    answers = [read_reply(record.headers, record.value) for record in replies]
    misplaced = sum(answer.feedback_id not in ids for answer, ids in zip(answers, told, strict=False))
    outcomes = Counter(answer.outcome.value for answer in answers)
    return Measured(
        name=f"{len(told):,} feedback messages, all but the last broken, among {announcements:,} announcements",
        measured=f"{len(answers):,} answers, {misplaced} to another id ("
        + ", ".join(f"{outcome} {count}" for outcome, count in outcomes.most_common())
        + f"), the last {answers[-1].outcome.value if answers else 'without one'}",
        goal="exactly one each, and the last learned",
        met=len(answers) == len(told) and not misplaced and answers[-1].outcome is FeedbackOutcome.LEARNED,
    )


def _feedback(feedback_id: str, image: bytes | None, draw: random.Random) -> dict[str, Any]:
    feedback: dict[str, Any] = {
        "feedback_id": feedback_id,
        "recipe": RECIPE,
        "frame_id": f"f{draw.randrange(100)}",
        "verdict": draw.choice(("confirm_good", "confirm_defect", "unlearn")),
        "operator": "ada",
        "time": "2026-03-02T08:16:04.120000Z",
        "reason": "a test",
    }
    if image is not None:
        feedback["image"] = base64.b64encode(image).decode()
    return feedback


def _strange_ids(value: bytes, headers: Headers) -> set[str]:
    """Ids under which the answer may come, where they are not what was meant."""
    ids = {attributes_of(headers, []).get("ce_id", "")}
    with suppress(RecordError):
        ids.add(parse_feedback(value).feedback_id)
    return ids - {""}


async def _announce(config: KafkaConfig, sender: Sender, number: int, draw: random.Random) -> None:
    announced = {
        "recipe": RECIPE,
        "generation": {"number": draw.choice((1, 2, 10**6)), "sha256": "0" * 64},
        "rows": 100,
        "threshold": 24.5,
        "time": "2026-03-02T08:16:04.460000Z",
        "operator": "ada",
    }
    headers = _named("io.patchline.generation.v1", f"{RECIPE}/{number}", f"patchline/{RECIPE}")
    if draw.random() < 0.3:
        headers = mutated_headers(headers, draw)
    await sender.send(config.generations_topic, RECIPE.encode(), mutated_json(announced, draw), headers, partition=0)


def _named(kind: str, name: str, source: str) -> Headers:
    attributes = {
        "ce_specversion": "1.0",
        "ce_type": kind,
        "ce_id": name,
        "ce_source": source,
        "ce_time": "2026-03-02T08:16:04.120000Z",
        "content-type": "application/json",
    }
    return [(header, text.encode()) for header, text in attributes.items()]
