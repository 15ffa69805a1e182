"""Frames that kill their worker, and frames that were only near when one died."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from patchline.engine.types import Image, Inspection, Verdict
from patchline.stream.inspection.engine import Maps
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.crash_notes import has_left
from patchline.stream.model.errors import EngineFailedError
from tests.stream.conftest import Worker
from tests.stream.kafka_help import SESSION, all_done, new_topics, produce, read_topic, results_of, running, worker
from tests.stream.scripted import Recorder, ScriptedEngine, jpeg

WHITE = jpeg(255)


def scripted_engine(_recipe: str) -> ScriptedEngine:
    return ScriptedEngine()


async def metadata_of(config: KafkaConfig) -> list[str]:
    """What is committed beside the offsets of the frames topic, by partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=config.bootstrap_servers)
    await admin.start()
    try:
        return [
            offset.metadata for _, offset in sorted((await admin.list_consumer_group_offsets(config.group)).items())
        ]
    finally:
        await admin.close()


@pytest.mark.parametrize(("crash_in", "delivery"), [("decoder", "exactly_once"), ("engine", "at_least_once")])
async def test_a_frame_that_kills_its_worker_is_dead_lettered_and_no_other(
    kafka: str, unique_name: Callable[[str], str], start: Callable[..., Awaitable[Worker]], crash_in: str, delivery: str
) -> None:
    """The worker dies with others in flight, twice with the frame alone, and so does the process that tries it last."""
    config = await new_topics(kafka, unique_name, delivery=delivery, **SESSION)
    ids = [f"f{n}" for n in range(30)]
    await produce(
        config, [(i, f"cam-{n % 3}", WHITE if n == 10 else jpeg(50)) for n, i in enumerate(ids)], partition=True
    )
    died: list[int] = []
    while len(died) < 5:
        one = await start(config, crash_in=crash_in)
        done, ended = asyncio.create_task(all_done(config, 30)), asyncio.create_task(one.process.wait())
        await asyncio.wait({done, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            ended.cancel()
            await done
            break
        done.cancel()
        await asyncio.gather(done, return_exceptions=True)
        died.append(ended.result())
    assert died == [-signal.SIGSEGV if crash_in == "decoder" else -signal.SIGABRT] * 3, one.printed
    await one.drain()
    results = await results_of(config)
    by_id = {r.frame_id: r for r in results}
    assert sorted(by_id) == sorted(ids)
    assert {r.frame_id for r in results if r.verdict is Verdict.NOT_INSPECTED} == {"f10"}
    assert by_id["f10"].reason == "poison"
    assert (by_id["f10"].detail or "").endswith(f"died trying it ({signal.Signals(-died[0]).name})")
    if delivery == "exactly_once":
        assert len(results) == 30
    (letter,) = await read_topic(config, config.dead_letter_topic)
    assert letter.value == WHITE
    assert dict(letter.headers)["ce_reason"] == b"poison"


async def test_a_frame_that_the_engine_refuses_is_found_among_its_batch(
    kafka: str, unique_name: Callable[[str], str]
) -> None:
    """An engine that raises ends the service; started again, it finds the frame, and the others are judged."""
    config = await new_topics(kafka, unique_name)
    ids = [f"f{n}" for n in range(12)]
    await produce(
        config, [(i, f"cam-{n % 3}", WHITE if n == 4 else jpeg(50)) for n, i in enumerate(ids)], partition=True
    )

    class Refusing(ScriptedEngine):
        def inspect(self, frames: Sequence[tuple[str, Image]], *, maps: Maps = "none") -> list[Inspection]:
            if any(image.mean() > 250 for _, image in frames):
                raise RuntimeError("scripted")
            return super().inspect(frames, maps=maps)

    for _ in range(3):
        with pytest.raises(EngineFailedError):
            await worker(config, Recorder(), Refusing()).run()
    seen = Recorder()
    async with running(worker(config, seen, Refusing())):
        await all_done(config, 12)
    assert sorted(r.frame_id for r in await results_of(config)) == sorted(ids)
    assert [dict(r.headers)["ce_id"] for r in await read_topic(config, config.dead_letter_topic)] == [b"f4"]


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
async def test_a_worker_that_leaves_in_order_leaves_nothing_to_retry(
    kafka: str, unique_name: Callable[[str], str], delivery: str
) -> None:
    """After a drain the next worker takes frames in batches at once; while one works, the offsets say so."""
    config = await new_topics(kafka, unique_name, delivery=delivery)
    await produce(config, [(f"f{n}", f"cam-{n % 3}", jpeg(50)) for n in range(12)], partition=True)
    for last in (12, 24):
        seen, engine = Recorder(), ScriptedEngine(seconds=0.05)
        async with running(worker(config, seen, engine)):
            await all_done(config, last)
            assert ['"in_flight":64,' in found for found in await metadata_of(config)] == [True] * 3
        with suppress(TimeoutError):  # brokers show an offset when they have ended its transaction
            async with asyncio.timeout(10):
                while not all(map(has_left, await metadata_of(config))):
                    await asyncio.sleep(0.1)
        assert [(has_left(found), "in_flight" in found) for found in await metadata_of(config)] == [(True, False)] * 3
        assert not seen.crashes
        assert max(engine.batches) > 1
        await produce(config, [(f"f{last + n}", f"cam-{n % 3}", jpeg(50)) for n in range(12)], partition=True)


async def test_frames_in_flight_when_workers_are_killed_are_judged_one_by_one(
    kafka: str, unique_name: Callable[[str], str], start: Callable[..., Awaitable[Worker]]
) -> None:
    """Also one that was alone each time: kills that are chance make no frame poison. What came later is not alone."""
    config = await new_topics(kafka, unique_name, **SESSION)
    await produce(config, [(f"f{n}", "cam-0", jpeg(50)) for n in range(9)], partition=True)
    for how in ({"kill_at": 1}, {"kill_alone": 0}, {"kill_alone": 0}):
        killed = await start(config, **how)
        assert await asyncio.wait_for(killed.process.wait(), 60) == -signal.SIGKILL, killed.printed
    seen, engine = Recorder(), ScriptedEngine()
    async with running(worker(config, seen, engine, trial_engine=scripted_engine)):
        await all_done(config, 9)
        retried = len(engine.batches)
        assert seen.crashes == {(config.frames_topic, 0): 64}
        assert engine.batches == [1] * 8, "the first was tried by another process"
        await produce(config, [(f"g{n}", "cam-0", jpeg(50)) for n in range(40)], partition=True)
        await all_done(config, 49)
        assert max(engine.batches[retried:]) > 1
    results = await results_of(config)
    assert [r.frame_id for r in results][:9] == [f"f{n}" for n in range(9)]
    assert {r.verdict for r in results} == {Verdict.PASS}
    assert not await read_topic(config, config.dead_letter_topic)
