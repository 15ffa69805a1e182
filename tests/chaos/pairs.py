"""Whole frames at a steady rate, and how long their results take: calm spans beside disturbed ones, in turns."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from statistics import median
from time import monotonic

import numpy as np
from aiokafka import AIOKafkaProducer

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.wire.frames import frame_headers
from tests.chaos.crowd import RECIPE
from tests.chaos.figure import Measured
from tests.chaos.tally import Tally
from tests.stream.scripted import jpeg

_RESULTS_WITHIN_S = 60
_LINES = count()
_REST_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSizes:
    """So many `pairs` of spans of so many `frames`; the median of the p99s' ratios is to be at most `ratio`."""

    pairs: int
    frames: int
    frames_per_s: float
    ratio: float


class GoodFrames:
    """Camera N sends whole frames to partition N, in turn; each has an id of its own.

    Args:
        config: the brokers and topics.
        tally: sees the results.
        cameras: how many.
        frames_per_s: of all cameras together.
    """

    def __init__(self, config: KafkaConfig, tally: Tally, *, cameras: int, frames_per_s: float) -> None:
        self._config, self._tally = config, tally
        self._cameras, self._period_s = cameras, 1 / frames_per_s
        self._name = f"good-{next(_LINES)}"
        self.sent_s: dict[str, float] = {}
        """By frame id: the monotonic clock when it was sent."""

    async def span(self, frames: int) -> list[str]:
        """Send so many, and wait for their results; their ids."""
        ids, picture, begin = list[str](), jpeg(66), monotonic()
        async with AIOKafkaProducer(bootstrap_servers=self._config.bootstrap_servers) as producer:
            for number in range(frames):
                await asyncio.sleep(max(0.0, begin + number * self._period_s - monotonic()))
                partition = number % self._cameras
                frame_id = f"{self._name}/{len(self.sent_s)}"
                headers = frame_headers(
                    frame_id=frame_id, camera=f"cam-{partition}", time=datetime.now(UTC), recipe=RECIPE
                )
                self.sent_s[frame_id] = monotonic()
                key = f"cam-{partition}".encode()
                await producer.send(self._config.frames_topic, picture, key=key, headers=headers, partition=partition)
                ids.append(frame_id)
        with suppress(TimeoutError):
            async with asyncio.timeout(_RESULTS_WITHIN_S):
                while not all(frame_id in self._tally.first_s for frame_id in ids):
                    await asyncio.sleep(0.05)
        return ids

    def p99_s(self, ids: Sequence[str]) -> float:
        """From sending until the committed result is read; without end where more have none."""
        taken = [self._tally.first_s.get(frame_id, float("inf")) - self.sent_s[frame_id] for frame_id in ids]
        return float(np.quantile(taken, 0.99, method="lower"))

    def once(self, name: str) -> Measured:
        """Whether every frame that was sent was judged, and once."""
        lost = [frame_id for frame_id in self.sent_s if frame_id not in self._tally.seen]
        twice = sum(self._tally.seen[frame_id] > 1 for frame_id in self.sent_s)
        refused = sum(frame_id in self._tally.not_inspected for frame_id in self.sent_s)
        return Measured(
            name=f"{len(self.sent_s):,} whole frames {name}",
            measured=f"{len(lost)} without a result{': ' + ', '.join(lost[:3]) if lost else ''}, {twice} with two,"
            f" {refused} not inspected",
            goal="each judged once",
            met=not (lost or twice or refused),
        )


async def in_pairs(
    frames: GoodFrames, sizes: PairSizes, name: str, disturbed: Callable[[int], Awaitable[None]]
) -> Measured:
    """The p99 while disturbed over that of the calm span before, for each pair.

    Args:
        frames: what is sent in both.
        sizes: how many.
        name: of the disturbance.
        disturbed: disturbs for about the time of one span, whose number it is given; it ends by itself.
    """
    pairs: list[tuple[float, float]] = []
    for number in range(sizes.pairs):
        calm = await frames.span(sizes.frames)
        await asyncio.sleep(_REST_S)
        disturbing = asyncio.ensure_future(disturbed(number))
        meanwhile = await frames.span(sizes.frames)
        await disturbing
        await asyncio.sleep(_REST_S)
        pairs.append((frames.p99_s(calm), frames.p99_s(meanwhile)))
    found = median(meanwhile / calm for calm, meanwhile in pairs)
    return Measured(
        name=f"p99 {name} over that of calm spans, {sizes.pairs} pairs of {sizes.frames:,} frames at"
        f" {sizes.frames_per_s:g}/s, median",
        measured=f"{found:.2f} ("
        + ", ".join(f"{after * 1000:.0f} over {before * 1000:.0f} ms" for before, after in pairs)
        + ")",
        goal=f"at most {sizes.ratio:g}",
        met=found <= sizes.ratio,
    )
