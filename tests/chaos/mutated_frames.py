"""Frames with broken bytes, and records with broken headers; and whether each has exactly one answer."""

import asyncio
import hashlib
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from patchline.engine.types import Verdict
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.model.result import Result
from patchline.stream.wire.frames import frame_headers
from patchline.stream.wire.results import read_frame_position, read_result
from tests.chaos.crowd import RECIPE, Crowd
from tests.chaos.figure import Measured
from tests.chaos.line import CAMERAS
from tests.chaos.mutants import Headers, bombs, encodings, mutated, mutated_headers, photographs
from tests.chaos.sender import Place
from tests.services.process import REPOSITORY
from tests.stream.kafka_help import read_topic
from tests.stream.scripted import jpeg

FrameRecord: TypeAlias = tuple[bytes | None, Headers]
"""Value and headers."""
AGAIN_EVERY = 10
"""Every so many frames the bytes of an earlier one are sent again."""


def broken_frames(count: int, draw: random.Random) -> Iterator[FrameRecord]:
    """Frames with broken bytes, among them whole ones, and bytes that came before."""
    data = Path(os.environ.get("PATCHLINE_DATA") or REPOSITORY.parent / "shared" / "data")
    whole = [encoded for image in photographs(data if data.is_dir() else None) for encoded in encodings(image)]
    strange = bombs()
    sent: list[bytes] = []
    for number in range(count):
        if number % AGAIN_EVERY == AGAIN_EVERY - 1:
            value = draw.choice(sent)
        else:
            value = draw.choice(strange) if number % 50 == 0 else mutated(whole, draw)
            sent.append(value)
        sha256 = hashlib.sha256(value).hexdigest() if draw.random() < 0.1 else None
        yield value, _headers(f"f{number}", number, sha256)


def _headers(frame_id: str, number: int, sha256: str | None = None) -> Headers:
    camera = CAMERAS[number % len(CAMERAS)]
    time = datetime.now(UTC)
    return frame_headers(frame_id=frame_id, camera=camera, time=time, recipe=RECIPE, sha256=sha256)


def with_broken_headers(count: int, stored: Path, draw: random.Random) -> Iterator[FrameRecord]:
    good = jpeg(66)
    sha256 = hashlib.sha256(good).hexdigest()
    for number in range(count):
        headers, value = _headers(f"h{number}", number, sha256), good
        if draw.random() < 0.3:
            where = draw.choice(
                (stored / "good.jpg", stored / "none.jpg", stored / ".." / "plate", Path("/etc/passwd"))
            )
            headers.append(("ce_dataref", str(where).encode()))
            value = draw.choice((b"", b"", good))
        yield draw.choice((value, value, value, None)), mutated_headers(headers, draw)


async def all_committed(config: KafkaConfig, crowd: Crowd, sent: Sequence[Place]) -> None:
    """Wait until the group has committed every frame."""
    ends = Counter(dict.fromkeys(range(len(CAMERAS)), 0))
    for partition, offset in sent:
        ends[partition] = max(ends[partition], offset + 1)
    partitions = [TopicPartition(config.frames_topic, number) for number in ends]
    asking = AIOKafkaConsumer(
        bootstrap_servers=config.bootstrap_servers, group_id=config.group, enable_auto_commit=False
    )
    async with asking as reader:
        async with asyncio.timeout(900):
            while crowd.running and any([(await reader.committed(p) or 0) < ends[p.partition] for p in partitions]):
                await asyncio.sleep(0.2)


async def answers_to(frames: Sequence[FrameRecord], sent: Sequence[Place], config: KafkaConfig) -> list[Measured]:
    """Whether each frame has one result, the same for the same bytes, and each that was not inspected a dead letter."""
    results: dict[Place, list[Result]] = {}
    for record in await read_topic(config, config.results_topic):
        results.setdefault(_place(record), []).append(read_result(record.headers, record.value))
    letters = Counter(map(_place, await read_topic(config, config.dead_letter_topic)))
    missing = sum(place not in results for place in sent)
    twice = sum(len(some) > 1 for some in results.values())
    refused = {place: result for place, (result, *_) in results.items() if result.verdict is Verdict.NOT_INSPECTED}
    unexplained = sum(not (result.reason and result.detail) for result in refused.values())
    poison = sum(result.reason == "poison" for result in refused.values())
    lost_letters = letters != Counter(refused.keys())
    reasons = Counter(result.reason for result in refused.values())
    said: dict[bytes | None, set[object]] = {}
    for place, (value, _) in zip(sent, frames, strict=False):  # behind them come those with broken headers
        if place in results:
            result = results[place][0]
            said.setdefault(value, set()).add((result.verdict, result.reason, result.score))
    differing = sum(len(found) > 1 for found in said.values())
    return [
        Measured(
            name=f"{len(sent):,} frames with broken bytes or headers",
            measured=f"{len(sent) - missing:,} with a result ({len(refused):,} not inspected: "
            + ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
            + f"), {missing} missing, {twice} twice, {unexplained} unexplained, dead letters "
            + ("WRONG" if lost_letters else "right"),
            goal="exactly one each: a verdict, or not inspected with the reason; none poison",
            met=not (missing or twice or unexplained or poison or lost_letters) and len(results) == len(sent),
        ),
        Measured(
            name=f"{len(frames):,} frames of {len(said):,} different contents",
            measured=f"{differing} judged otherwise",
            goal="none: the same bytes, the same result",
            met=not differing,
        ),
    ]


def _place(record: ConsumerRecord) -> Place:
    position = read_frame_position(record.headers)
    assert position is not None
    return position.partition, position.offset


def memory(before: int, after: int, frames: int, growth: float) -> Measured:
    return Measured(
        name=f"resident memory of the worker after {frames:,} frames over that after half of them",
        measured=f"{after / before:.3f} ({before / 2**20:.0f} MiB before)",
        goal=f"at most {1 + growth:g}",
        met=after <= before * (1 + growth),
    )
