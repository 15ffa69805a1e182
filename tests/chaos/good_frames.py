"""Whole frames at a steady rate from a process of their own, which also sees how long their results take.

What disturbs the line is sent by the process of the figure. Did that one send the frames too and read their results,
each of its own long steps would count as the line's.
"""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np
from aiokafka import AIOKafkaProducer

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.wire.frames import frame_headers
from tests.chaos.crowd import RECIPE
from tests.chaos.figure import Measured
from tests.chaos.tally import Tally
from tests.services.process import REPOSITORY, dies_with_us
from tests.stream.scripted import jpeg

_RESULTS_WITHIN_S = 60


class GoodFrames:
    """Camera N sends whole frames to partition N, in turn; each has an id of its own.

    The process that sends them lives as long as the context.

    Args:
        config: the brokers and topics.
        cameras: how many.
        frames_per_s: of all cameras together.
    """

    def __init__(self, config: KafkaConfig, *, cameras: int, frames_per_s: float) -> None:
        said = (msgspec.json.encode(config).decode(), str(cameras), str(frames_per_s))
        self._command = dies_with_us([sys.executable, "-m", "tests.chaos.good_frames", *said])

    async def p99_s(self, frames: int) -> float:
        """Send so many, and wait for their results.

        Returns:
            From sending until the committed result is read, in seconds; without end where more have none.
        """
        return float((await self._ask({"frames": frames}))["p99_s"])

    async def once(self, name: str) -> Measured:
        """Whether every frame that was sent was judged, and once."""
        found = await self._ask({})
        lost, twice, refused = found["lost"], found["twice"], found["refused"]
        return Measured(
            name=f"{found['sent']:,} whole frames {name}",
            measured=f"{len(lost)} without a result{': ' + ', '.join(lost[:3]) if lost else ''}, {twice} with two,"
            f" {refused} not inspected",
            goal="each judged once",
            met=not (lost or twice or refused),
        )

    async def _ask(self, what: dict[str, int]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return answer

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, cwd=REPOSITORY, stdin=pipe, stdout=pipe, limit=2**26
        )
        await self._ask({})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


class _Line:
    """What the process does: see `GoodFrames`."""

    def __init__(self, config: KafkaConfig, tally: Tally, cameras: int, frames_per_s: float) -> None:
        self._config, self._tally = config, tally
        self._cameras, self._period_s = cameras, 1 / frames_per_s
        self._name = f"good-{os.getpid()}"
        self._sent_s: dict[str, float] = {}
        """By frame id: the monotonic clock when it was sent."""

    async def span(self, frames: int) -> dict[str, Any]:
        """Send so many; how long they took."""
        ids, picture, begin = list[str](), jpeg(66), monotonic()
        async with AIOKafkaProducer(bootstrap_servers=self._config.bootstrap_servers) as producer:
            for number in range(frames):
                await asyncio.sleep(max(0.0, begin + number * self._period_s - monotonic()))
                partition = number % self._cameras
                frame_id = f"{self._name}/{len(self._sent_s)}"
                headers = frame_headers(
                    frame_id=frame_id, camera=f"cam-{partition}", time=datetime.now(UTC), recipe=RECIPE
                )
                self._sent_s[frame_id] = monotonic()
                key = f"cam-{partition}".encode()
                await producer.send(self._config.frames_topic, picture, key=key, headers=headers, partition=partition)
                ids.append(frame_id)
        with suppress(TimeoutError):
            async with asyncio.timeout(_RESULTS_WITHIN_S):
                while not all(frame_id in self._tally.first_s for frame_id in ids):
                    await asyncio.sleep(0.05)
        return {"p99_s": self._p99_s(ids)}

    def _p99_s(self, ids: Sequence[str]) -> float:
        taken = [self._tally.first_s.get(frame_id, float("inf")) - self._sent_s[frame_id] for frame_id in ids]
        return float(np.quantile(taken, 0.99, method="lower"))

    def counts(self) -> dict[str, Any]:
        """What became of all that were sent."""
        return {
            "sent": len(self._sent_s),
            "lost": [frame_id for frame_id in self._sent_s if frame_id not in self._tally.seen],
            "twice": sum(self._tally.seen[frame_id] > 1 for frame_id in self._sent_s),
            "refused": sum(frame_id in self._tally.not_inspected for frame_id in self._sent_s),
        }


async def _serve(config: KafkaConfig, cameras: int, frames_per_s: float) -> None:
    async with Tally(config) as tally:
        line = _Line(config, tally, cameras, frames_per_s)
        while asked := await asyncio.to_thread(sys.stdin.readline):
            frames = json.loads(asked).get("frames")
            print(json.dumps(await line.span(frames) if frames else line.counts()), flush=True)


if __name__ == "__main__":
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that brokers are away is meant
    asyncio.run(_serve(msgspec.json.decode(sys.argv[1], type=KafkaConfig), int(sys.argv[2]), float(sys.argv[3])))
