"""Live cameras at several times what the engine can judge: pictures are fresh, and every camera has its share.

The engine sleeps for as long as a batch is to take, so what is measured is who waits where. Ages are from a picture's
arrival to its verdict. Twice: live cameras alone, and beside frames that can be replayed and never end.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np

from patchline.engine.types import Image, Inspection
from patchline.stream.inspection.engine import Maps
from patchline.stream.model.errors import DropCause
from patchline.stream.model.frame import Frame, Position
from patchline.stream.model.limits import Limits
from patchline.stream.model.observer import Observer
from patchline.stream.model.result import Result
from patchline.stream.pipeline import Pipeline
from patchline.stream.ports import Release
from tests.chaos.figure import Measured
from tests.stream.live_feed import LiveFeed
from tests.stream.scripted import ScriptedEngine, frame

CAMERAS, SLOW_PER_S, FAST_PER_S = 16, 5.0, 30.0
BATCH = 8
OVERLOAD = 4.0
RAMP_S = 1.5
"""Until the engine's time for a frame is known and every camera sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """So many seconds of load; p95 of the ages in batches beside the linger; shares within `share` of the fair one."""

    seconds: float
    batches: float
    share: float


SHORT = Sizes(seconds=8, batches=4, share=0.5)
"""Other tests share the machine: a batch may take longer than it should."""
LONG = Sizes(seconds=60, batches=2, share=0.1)


class _TimedEngine(ScriptedEngine):
    """Takes a time for each frame."""

    def __init__(self, frame_s: float) -> None:
        super().__init__()
        self.frame_s = frame_s

    def inspect(self, frames: Sequence[tuple[str, Image]], *, maps: Maps = "none") -> list[Inspection]:
        time.sleep(self.frame_s * len(frames))
        return super().inspect(frames, maps=maps)


class _Ages(Observer):
    """Of pictures that arrived in a span: those behind it have no fresher ones behind them."""

    def __init__(self, from_s: float, until_s: float) -> None:
        self.from_s, self.until_s = from_s, until_s
        self.ages: defaultdict[str, list[float]] = defaultdict(list)
        self.received, self.dropped, self.results = Counter[str](), Counter[str](), Counter[str]()

    def frame_received(self, camera: str) -> None:
        self.received[camera] += 1

    def frame_dropped(self, camera: str, cause: DropCause) -> None:
        self.dropped[camera] += 1

    def judged(self, frame: Frame, prepared: Image | None, inspection: Inspection | None, result: Result) -> None:
        if self.from_s < frame.received_s < self.until_s:
            self.ages[frame.camera].append(monotonic() - frame.received_s)

    def result(self, result: Result) -> None:
        self.results[result.camera] += 1


class _Backlog:
    """Frames that can be replayed, as many as are asked for, of four partitions."""

    def __init__(self) -> None:
        self.done = False
        self._payload = frame("f").payload

    async def open(self, release: Release) -> None:
        pass

    async def __aiter__(self) -> AsyncIterator[Frame]:
        number = 0
        while not self.done:
            await asyncio.sleep(0)
            made = frame(f"kafka/{number}", camera=f"kafka-{number % 4}")
            yield Frame(
                frame_id=made.frame_id,
                camera=made.camera,
                recipe=made.recipe,
                time=made.time,
                received_s=monotonic(),
                image=np.full((64, 96, 3), 60, np.uint8),
                position=Position("frames", number % 4, number // 4),
            )
            number += 1

    def begin_batch(self) -> None:
        pass

    async def commit(self, position: Position) -> None:
        pass

    async def try_alone(self, position: Position) -> None:
        pass

    async def close(self) -> None:
        pass


def measure(sizes: Sizes) -> list[Measured]:
    """One process, no services."""
    return asyncio.run(_measure(sizes))


async def _measure(sizes: Sizes) -> list[Measured]:
    return [*await _live(sizes, beside=False), *await _live(sizes, beside=True)]


async def _live(sizes: Sizes, *, beside: bool) -> list[Measured]:
    offered = (CAMERAS - 1) * SLOW_PER_S + FAST_PER_S
    frame_s = OVERLOAD / offered
    limits = Limits(batch_size=BATCH)
    seen = _Ages(monotonic() + RAMP_S, monotonic() + sizes.seconds - 2 / SLOW_PER_S)
    rates = {f"slow-{number:02}": SLOW_PER_S for number in range(CAMERAS - 1)} | {"fast": FAST_PER_S}
    feeds = [
        LiveFeed(name, rate, int(rate * sizes.seconds), observer=seen, after_s=number / len(rates) / SLOW_PER_S)
        for number, (name, rate) in enumerate(rates.items())
    ]
    backlog = _Backlog()
    sources: list[AsyncIterable[Frame]] = [*feeds, *([backlog] if beside else [])]
    pipeline = Pipeline(sources=sources, engine=_TimedEngine(frame_s), sinks=[], limits=limits, observer=seen)
    running = asyncio.create_task(pipeline.run())
    await asyncio.sleep(sizes.seconds)
    backlog.done = True
    await running
    batch_s = BATCH * frame_s
    where = "beside a backlog that can be replayed" if beside else "alone"
    ages = sorted(age for camera in rates for age in seen.ages[camera])
    p95_s, most_s = ages[int(0.95 * len(ages))], ages[-1]
    bound_s = sizes.batches * batch_s + limits.linger_s + (batch_s if beside else 0)
    judged = {camera: len(seen.ages[camera]) for camera in rates}
    fair = sum(judged.values()) / len(judged)
    off = max(abs(count / fair - 1) for count in judged.values())
    lost = {
        camera: seen.received[camera] - seen.results[camera] - seen.dropped[camera]
        for camera in rates
        if seen.received[camera] != seen.results[camera] + seen.dropped[camera]
    }
    sent = sum(int(rate * sizes.seconds) for rate in rates.values())
    received = sum(seen.received[camera] for camera in rates)
    return [
        Measured(
            name=f"age at judgement of {len(rates)} live cameras at {OVERLOAD:g} times the engine's rate, {where}",
            measured=f"p95 {p95_s:.3f} s, most {most_s:.3f} s, {p95_s / batch_s:.2f} batches of {batch_s:.3f} s",
            goal=f"p95 at most {bound_s:.3f} s: {sizes.batches + beside:g} batches and the linger",
            met=p95_s <= bound_s,
        ),
        Measured(
            name=f"shares of the cameras, one of {FAST_PER_S:g}/s among those of {SLOW_PER_S:g}/s, {where}",
            measured=f"{min(judged.values())} to {max(judged.values())} frames, {fair:.1f} in the mean",
            goal=f"each within {sizes.share:.0%} of its fair share",
            met=off <= sizes.share,
        ),
        Measured(
            name=f"pictures of live cameras, {where}",
            measured=f"{sent} sent, {received} received, not accounted for: {lost or 'none'}",
            goal="all received; each a result or a drop",
            met=not lost and sent == received,
        ),
    ]
