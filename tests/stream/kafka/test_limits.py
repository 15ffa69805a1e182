"""Frames at and beyond the limits, and frames by reference, with transactions and without."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from patchline.engine.types import Verdict
from patchline.stream.model.checks import MIB
from patchline.stream.wire.frames import frame_headers
from tests.stream.kafka_help import FRAME_BYTES, new_topics, produce, read_topic, results_of, running, worker
from tests.stream.scripted import Recorder, jpeg
from tests.stream.waiting import until

DELIVERIES = pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])


@DELIVERIES
async def test_frames_of_nearly_32_mib_pass(kafka: str, unique_name: Callable[[str], str], delivery: str) -> None:
    """The largest frame is judged, an unreadable one of that size is dead-lettered whole, a larger one by reference."""
    config = await new_topics(kafka, unique_name, delivery=delivery)
    side = 3343  # BMP: 3 bytes a pixel, rows padded to 4
    ok, encoded = cv2.imencode(".bmp", np.full((side, side, 3), 60, np.uint8))
    assert ok
    whole = encoded.tobytes()
    assert 0 < FRAME_BYTES - len(whole) < 64 * 1024
    noise = np.random.default_rng(0).bytes(FRAME_BYTES)
    beyond = np.random.default_rng(1).bytes(FRAME_BYTES + 100)
    await produce(config, [("whole", "cam-0", whole), ("noise", "cam-0", noise), ("beyond", "cam-0", beyond)])
    seen = Recorder()
    async with running(worker(config, seen)):
        await until(lambda: len(seen.results) == 3)
    results = await results_of(config)
    assert [(r.frame_id, r.verdict, r.reason) for r in results] == [
        ("whole", Verdict.PASS, None),
        ("noise", Verdict.NOT_INSPECTED, "not_an_image"),
        ("beyond", Verdict.NOT_INSPECTED, "too_many_bytes"),
    ]
    letters = await read_topic(config, config.dead_letter_topic)
    assert [letter.value or b"" for letter in letters] == [noise, b""]
    headers = {name: value.decode() for name, value in letters[1].headers}
    assert headers["ce_framebytes"] == str(len(beyond))
    assert headers["ce_dataref"].startswith(f"kafka:{config.frames_topic}/")


@DELIVERIES
async def test_a_dead_letter_that_its_topic_does_not_take_goes_by_reference(
    kafka: str, unique_name: Callable[[str], str], delivery: str
) -> None:
    """The topic takes less than the settings say: the frame's result is there, its letter names it, others go on."""
    config = await new_topics(kafka, unique_name, delivery=delivery)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    small = {"max.message.bytes": str(MIB)}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, config.dead_letter_topic, configs=small)])
    await admin.close()
    large = b"text" * MIB
    await produce(config, [("large", "cam-0", large), ("good", "cam-0", jpeg(50)), ("bad", "cam-0", b"text")])
    seen = Recorder()
    async with running(worker(config, seen)):
        await until(lambda: len(seen.results) == 3)
    results = await results_of(config)
    assert [(r.frame_id, r.reason) for r in results] == [
        ("large", "not_an_image"),
        ("good", None),
        ("bad", "not_an_image"),
    ]
    letters = {dict(letter.headers)["ce_id"]: letter for letter in await read_topic(config, config.dead_letter_topic)}
    assert sorted(letters) == [b"bad", b"large"]
    headers = dict(letters[b"large"].headers)
    assert not letters[b"large"].value
    assert headers["ce_sha256"] == hashlib.sha256(large).hexdigest().encode()
    assert headers["ce_dataref"].startswith(f"kafka:{config.frames_topic}/".encode())
    assert headers["ce_reason"] == b"not_an_image"


@DELIVERIES
async def test_frames_by_reference_become_results_and_dead_letters(
    kafka: str, unique_name: Callable[[str], str], tmp_path: Path, delivery: str
) -> None:
    """What is stored is judged; what is not there, elsewhere, or another image has a letter with reference and hash."""
    config = await new_topics(kafka, unique_name, delivery=delivery)
    allowed = tmp_path / "frames"
    allowed.mkdir()
    stored = jpeg(50)
    (allowed / "1.jpg").write_bytes(stored)
    (tmp_path / "2.jpg").write_bytes(stored)
    sha256 = hashlib.sha256(stored).hexdigest()
    frames = {
        "good": (allowed / "1.jpg", sha256, None),
        "gone": (allowed / "3.jpg", sha256, "reference_not_found"),
        "elsewhere": (tmp_path / "2.jpg", sha256, "reference_refused"),
        "another": (allowed / "1.jpg", "0" * 64, "hash_mismatch"),
    }
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for frame_id, (where, hashed, _) in frames.items():
            headers = frame_headers(
                frame_id=frame_id, camera="cam-0", time=datetime.now(UTC), recipe="plate", sha256=hashed
            )
            headers.append(("ce_dataref", str(where).encode()))
            await producer.send_and_wait(config.frames_topic, None, key=b"cam-0", partition=0, headers=headers)
    seen = Recorder()
    async with running(worker(config, seen, frame_references=(str(allowed),))):
        await until(lambda: len(seen.results) == len(frames))
    results = await results_of(config)
    assert [(r.frame_id, r.reason) for r in results] == [(i, reason) for i, (_, _, reason) in frames.items()]
    assert results[0].verdict is Verdict.PASS
    letters = [dict(letter.headers) for letter in await read_topic(config, config.dead_letter_topic)]
    assert [(h["ce_id"], h["ce_dataref"], h["ce_sha256"]) for h in letters] == [
        (frame_id.encode(), str(where).encode(), hashed.encode())
        for frame_id, (where, hashed, reason) in frames.items()
        if reason is not None
    ]


@DELIVERIES
async def test_pixels_and_references_of_too_many_bytes_are_refused_unread(
    kafka: str, unique_name: Callable[[str], str], tmp_path: Path, delivery: str
) -> None:
    """Each is not inspected for its reason, its letter is there, and the next frame is judged."""
    config = await new_topics(kafka, unique_name, delivery=delivery)
    (tmp_path / "large.jpg").write_bytes(jpeg(50))
    sha256 = hashlib.sha256(jpeg(50)).hexdigest()
    _, wide = cv2.imencode(".png", np.zeros((90, 90, 3), np.uint8))
    await produce(config, [("wide", "cam-0", wide.tobytes())], partition=True)
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        headers = frame_headers(frame_id="large", camera="cam-0", time=datetime.now(UTC), recipe="plate", sha256=sha256)
        headers.append(("ce_dataref", str(tmp_path / "large.jpg").encode()))
        await producer.send_and_wait(config.frames_topic, None, key=b"cam-0", partition=0, headers=headers)
    await produce(config, [("good", "cam-0", jpeg(50))], partition=True)
    seen = Recorder()
    allowed = (str(tmp_path),)
    async with running(worker(config, seen, max_pixels=90 * 89, max_referenced_bytes=100, frame_references=allowed)):
        await until(lambda: len(seen.results) == 3)
    assert [(r.frame_id, r.reason) for r in await results_of(config)] == [
        ("wide", "too_many_pixels"),
        ("large", "too_many_bytes"),
        ("good", None),
    ]
    letters = [dict(letter.headers)["ce_id"] for letter in await read_topic(config, config.dead_letter_topic)]
    assert letters == [b"wide", b"large"]
