"""A frame that was alone in flight at two crashes, before a real service: a process of its own tries it."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from tests.e2e import topics, traffic
from tests.e2e.line import Line
from tests.e2e.service import Service
from tests.e2e.traffic import CAMERAS, Sent

pytestmark = pytest.mark.timeout(600)
GOOD, POISON = 0, 1
"""Partitions: of the frame whose last trial ends well, and of that whose trial dies."""


async def leave_notes(line: Line) -> None:
    """What workers leave that died twice with the first frame of a partition alone in flight."""
    note = json.dumps({"in_flight": 1, "until": 1, "crashes": 2})
    partitions = [TopicPartition(line.frames, number) for number in (GOOD, POISON)]
    # Left to itself, a consumer commits its position without a note as it leaves.
    consumer = AIOKafkaConsumer(bootstrap_servers=line.bootstrap, group_id=line.group, enable_auto_commit=False)
    async with consumer:
        consumer.assign(partitions)
        await consumer.commit({partition: OffsetAndMetadata(0, note) for partition in partitions})


async def kill_the_trial(service: Service) -> None:
    """Kill the process that tries a frame, once there is one."""
    async with asyncio.timeout(120):
        while True:
            for child in psutil.Process(service.process.pid).children():
                with suppress(psutil.ZombieProcess, psutil.NoSuchProcess):
                    if any("spawn_main" in argument for argument in child.cmdline()):
                        child.kill()
                        return
            await asyncio.sleep(0.05)


async def test_the_last_trial_judges_a_frame_or_finds_it_to_be_poison(line: Line, bank: Path, tiles: Path) -> None:
    """One that lives through it has the result that the worker itself gives for its bytes; one that does not is
    dead-lettered. The worker lives on, and nothing is left to retry.
    """
    path = traffic.tiles(tiles)[0]
    good, poison, again = (
        Sent(frame_id=name, camera=camera, value=path.read_bytes())
        for name, camera in (("good", CAMERAS[0]), ("poison", CAMERAS[1]), ("again", CAMERAS[1]))
    )
    await leave_notes(line)
    with Service(line.settings(bank)) as service:
        service.run()
        await traffic.produce(line.bootstrap, line.frames, [good], partition=GOOD)
        (tried,) = await topics.read(line.bootstrap, line.results, 1)
        await traffic.produce(line.bootstrap, line.frames, [poison, again], partition=POISON)
        await kill_the_trial(service)
        results = {r.json["frame_id"]: r.json for r in await topics.read(line.bootstrap, line.results, 3)}
        (letter,) = await topics.read(line.bootstrap, line.dead_letters, 1)
        assert service.terminate() == 0, service.log

    assert results["good"] == tried.json
    assert results["again"]["verdict"] in ("pass", "reject")
    for said in ("verdict", "score", "threshold", "generation", "worst"):
        assert results["good"][said] == results["again"][said]
    assert (results["poison"]["verdict"], results["poison"]["reason"]) == ("not_inspected", "poison")
    assert "(SIGKILL)" in results["poison"]["detail"]
    assert (letter.headers["ce_id"], letter.value) == ("poison", poison.value)
    assert await topics.committed(line.bootstrap, line.group, line.frames) == 3
