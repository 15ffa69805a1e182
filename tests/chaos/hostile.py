"""Hostile records, references, acknowledgements, hashes, announcements and requests amid good frames.

Every good frame is judged once and in time, and no task of the one worker dies or hangs.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import redis.asyncio as redis
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.topics import Partitions, ensure_topics
from patchline.stream.model.checks import MIB
from tests.chaos.alive import Probes, longest_steps, undisturbed
from tests.chaos.crowd import RECIPE, Crowd, small_bank
from tests.chaos.damaged_log import DamagedLog
from tests.chaos.figure import Measured
from tests.chaos.good_frames import GoodFrames
from tests.chaos.kinds.table import all_kinds
from tests.chaos.kinds.target import GOOD_IMAGE, Kind, Target
from tests.chaos.line import settings_of
from tests.chaos.loop_meter import METERED, TOLD_FROM_S
from tests.chaos.pairs import PairSizes, in_pairs
from tests.chaos.raw_records import RawProducer
from tests.chaos.scrape import TOKEN, port_of
from tests.chaos.tally import Tally
from tests.services.kafka import MESSAGE_MAX_BYTES, KafkaBroker
from tests.services.redis import RedisServer
from tests.stream.kafka_help import FRAME_BYTES

PARTITIONS = 4
_PREFIX = "patchline:"
_REST_S = 1.0
"""After the last frame of a span: what asks whether tasks answer is no part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Every `step`-th kind, among the frames of the disturbed spans; of `families` alone where they are named.

    The families take turns, so a step that shares no factor with their number takes some of each. No step of the event
    loop may take longer than `step_ms` of a processor. `yardsticks` are pairs with ordinary frames in place of hostile
    ones: what as many more frames cost by themselves.
    """

    spans: PairSizes
    step: int
    step_ms: float
    yardsticks: int
    families: tuple[str, ...] = ()


SHORT = Sizes(spans=PairSizes(pairs=1, frames=240, frames_per_s=20, ratio=100), step=9, step_ms=1000, yardsticks=0)
"""Other tests share the machine: how long a frame takes says little."""
LONG = Sizes(spans=PairSizes(pairs=5, frames=1000, frames_per_s=40, ratio=1.25), step=1, step_ms=50, yardsticks=2)


def measure(sizes: Sizes) -> list[Measured]:
    """One worker with everything on: learning, alarms, evidence, references and HTTP."""
    with TemporaryDirectory(prefix="patchline-chaos-") as folder, KafkaBroker() as broker, RedisServer() as server:
        broker.start_broker()
        server.start_redis()
        return asyncio.run(_measure(sizes, Path(folder), broker, server))


async def _measure(sizes: Sizes, folder: Path, broker: KafkaBroker, server: RedisServer) -> list[Measured]:
    config = await _topics(broker)
    stored = folder / "stored"
    stored.mkdir()
    (stored / "good.jpg").write_bytes(GOOD_IMAGE)
    settings, metered = _settings(config, folder, stored, server), {METERED: str(TOLD_FROM_S)}
    with Crowd(folder, settings, metered) as crowd:
        worker = await crowd.start_ready()
        async with AsyncExitStack() as stack:
            tally = await stack.enter_async_context(Tally(config))
            target = Target(
                config=config,
                partitions=PARTITIONS,
                producer=await stack.enter_async_context(
                    AIOKafkaProducer(
                        bootstrap_servers=config.bootstrap_servers, max_request_size=FRAME_BYTES + 2 * MIB, linger_ms=0
                    )
                ),
                raw=await stack.enter_async_context(RawProducer(broker.bootstrap, config.frames_topic)),
                damaged=await stack.enter_async_context(
                    DamagedLog(broker.bootstrap, broker.directory / "data", config.frames_topic)
                ),
                redis=await stack.enter_async_context(redis.from_url(server.url)),
                prefix=_PREFIX,
                port=port_of(worker),
                folder=stored,
            )
            probes = Probes(target, worker, tally)
            await probes.ask("before")
            begin_s = monotonic()
            found = await _among_good_frames(sizes, target, tally, probes)
            found.append(longest_steps(worker, begin_s, sizes.step_ms, target.sent_s))
        if worker.running:
            await worker.drain()
    return [*found, probes.measured(), undisturbed(worker)]


async def _topics(broker: KafkaBroker) -> KafkaConfig:
    """That of frames takes records of any time, and keeps them."""
    config = KafkaConfig(bootstrap_servers=broker.bootstrap)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    kept = {"message.timestamp.after.max.ms": str(2**63 - 1), "retention.ms": "-1"}
    kept |= {"max.message.bytes": str(MESSAGE_MAX_BYTES)}
    await admin.create_topics([NewTopic(config.frames_topic, PARTITIONS, 1, topic_configs=kept)])
    await admin.close()
    partitions = Partitions(frames=PARTITIONS, results=2, feedback=1)
    await ensure_topics(config, max_frame_bytes=FRAME_BYTES, partitions=partitions, replication=1, learning=True)
    return config


def _settings(config: KafkaConfig, folder: Path, stored: Path, server: RedisServer) -> dict[str, Any]:
    settings = settings_of(config, small_bank(folder), session_timeout_s=10.0)
    settings["recipes"][RECIPE]["learns"] = True
    return settings | {
        "redis": {"url": server.url},
        "alarms": {"rejects": 2, "window": 4, "passes": 2},
        "evidence": {"url": str(folder / "evidence"), "pass_share": 0.0},
        "limits": {"frame_references": [str(stored)]},
        "http": {"token": TOKEN},
    }


async def _among_good_frames(sizes: Sizes, target: Target, tally: Tally, probes: Probes) -> list[Measured]:
    chosen = [kind for kind in all_kinds()[:: sizes.step] if not sizes.families or kind.family in sizes.families]
    shares = [chosen[number :: sizes.spans.pairs] for number in range(sizes.spans.pairs)]
    span_s = sizes.spans.frames / sizes.spans.frames_per_s
    unsent: list[str] = []
    name = f"among {len(chosen)} kinds of hostile input"
    async with GoodFrames(target.config, cameras=PARTITIONS, frames_per_s=sizes.spans.frames_per_s) as frames:
        disturb = partial(_disturb, target, probes, shares, span_s, unsent)
        found = [await in_pairs(frames, sizes.spans, name, disturb)]
        if sizes.yardsticks:
            more = len(target.places) // sizes.spans.pairs
            spans = replace(sizes.spans, pairs=sizes.yardsticks)
            beside = f"beside {more} ordinary frames more, which is no goal"
            found.append(await in_pairs(frames, spans, beside, partial(_load, target, more, span_s)))
        found.insert(0, await frames.once(name))
    await _results_of(target, tally)
    await probes.ask_to_learn()
    return [*found, _answered(target, tally, chosen, unsent)]


async def _load(target: Target, frames: int, span_s: float, _: int) -> None:
    """Send as many ordinary frames, spread over the span."""
    for _number in range(frames):
        await target.frame()
        target.places.pop()  # it is none of the hostile ones
        await asyncio.sleep(span_s / frames)


async def _disturb(
    target: Target, probes: Probes, shares: Sequence[Sequence[Kind]], span_s: float, unsent: list[str], number: int
) -> None:
    """Send a share of the kinds, spread over the span; when that is over, see whether every task still answers."""
    loop = asyncio.get_running_loop()
    begin, kinds = loop.time(), shares[number]
    for at, kind in enumerate(kinds):
        await asyncio.sleep(begin + at * span_s / len(kinds) - loop.time())
        before = len(target.places)
        target.sent_s.append((loop.time(), f"{kind.family}, {kind.name}"))
        try:
            await asyncio.wait_for(kind.send(target), 20)
        except Exception as error:  # the figure names it
            unsent.append(f"{kind.family} {kind.name} ({type(error).__name__}: {error})"[:300])
        target.kinds |= dict.fromkeys(target.places[before:], f"{kind.family}, {kind.name}")
    await asyncio.sleep(begin + span_s + _REST_S - loop.time())
    await probes.ask(f"after span {number + 1}")


async def _results_of(target: Target, tally: Tally) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(120):
            while not all(place in tally.places for place in target.places):
                await asyncio.sleep(0.2)


def _answered(target: Target, tally: Tally, kinds: Sequence[Kind], unsent: Sequence[str]) -> Measured:
    missing = [target.kinds[place] for place in target.places if place not in tally.places]
    twice = sum(tally.places[place] > 1 for place in target.places)
    families = len({kind.family for kind in kinds})
    return Measured(
        name=f"{len(target.places):,} hostile frames of {len(kinds)} kinds of {families} families",
        measured=f"{len(missing)} without a result{': ' + '; '.join(missing[:9]) if missing else ''}, {twice} with two,"
        f" {len(unsent)} kinds could not be sent{': ' + '; '.join(unsent[:3]) if unsent else ''}",
        goal="exactly one each, all sent",
        met=not (missing or twice or unsent),
    )
