"""SIGTERM at random moments, under several times the load that a worker can take, on cores that are busy already.

Live cameras come and go meanwhile. Every life ends with 0, and no frame of Kafka is lost or judged twice.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from aiokafka import AIOKafkaProducer

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.wire.frames import frame_headers
from tests.chaos.crowd import RECIPE, Worker, small_bank, until
from tests.chaos.figure import Measured
from tests.chaos.line import CAMERAS, new_line, settings_of
from tests.chaos.nursery import Nursery
from tests.chaos.tally import Tally
from tests.services.kafka import KafkaBroker
from tests.services.process import dies_with_us
from tests.services.rtsp import RtspServer
from tests.stream.scripted import jpeg

SIZE_PX = (64, 64)
_LIVE_PER_S = 200
_BUSY = "while True: pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """So many `lives`, each told to end within `moment_s`; `waiting` frames wait for it at all times.

    That is several times what it judges in a life. The moment of every other life is counted from its first result,
    that of the others from when it could first be told: cores that are busy enough let none of these begin in time.
    """

    lives: int
    moment_s: float
    waiting: int
    seed: int = 0


SHORT = Sizes(lives=4, moment_s=3, waiting=300)
LONG = Sizes(lives=200, moment_s=5, waiting=3000)


def measure(sizes: Sizes) -> list[Measured]:
    """One worker at a time; the next takes over what the last has left."""
    with (
        TemporaryDirectory(prefix="patchline-chaos-") as folder,
        KafkaBroker() as broker,
        RtspServer() as camera,
        _busy_cores(),
    ):
        broker.start_broker()
        return asyncio.run(_measure(sizes, Path(folder), broker, camera))


@contextmanager
def _busy_cores() -> Iterator[None]:
    command = dies_with_us([sys.executable, "-c", _BUSY])
    busy = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


async def _measure(sizes: Sizes, folder: Path, broker: KafkaBroker, camera: RtspServer) -> list[Measured]:
    config, bank = await new_line(broker), await asyncio.to_thread(small_bank, folder)
    settings = settings_of(config, bank, session_timeout_s=10.0) | {"http": {"port": 0}, "log": {"format": "json"}}
    settings["cameras"] = {"live": {"source": "rtsp", "recipe": RECIPE, "url": _stream(camera, folder)}}
    file = folder / "patchline.yaml"
    file.write_text(yaml.safe_dump(settings))
    draw, ends, flaws, at_work = random.Random(sizes.seed), Counter[int](), list[str](), 0
    load = _Load(config, sizes.waiting)
    async with Nursery(folder, file) as nursery, Tally(config) as tally:
        sending = asyncio.create_task(load.run(tally))
        coming = asyncio.create_task(_come_and_go(camera, random.Random(sizes.seed)))
        for number in range(sizes.lives):
            worker = await nursery.start()
            await _live(worker, draw.uniform(0, sizes.moment_s), tally if number % 2 else None)
            status = worker.process.returncode
            assert status is not None
            ends[status] += 1
            at_work += worker.ready
            if status != 0:
                flaws.append(worker.printed[-2000:])
        load.stop()
        judged = _judged(tally)
        await sending
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        last = await nursery.start()
        await until(lambda: not last.running or load.sent <= tally.seen.keys(), "every result", seconds=900)
        await last.drain()
    lost, twice = len(load.sent - tally.seen.keys()), sum(tally.seen[frame_id] > 1 for frame_id in load.sent)
    return [
        Measured(
            name=f"{sizes.lives} times SIGTERM within {sizes.moment_s:g} s, {sizes.waiting:,} frames waiting,"
            f" {os.cpu_count()} busy cores, a live camera that comes and goes",
            measured="exit status "
            + ", ".join(f"{status} x {count}" for status, count in sorted(ends.items()))
            + f"; {at_work} of them took frames, and judged {judged:,}"
            + (f"; {flaws[0]}" if flaws else ""),
            goal="0, each; half of them at work",
            met=set(ends) == {0} and at_work >= sizes.lives // 2 and judged > 0,
        ),
        Measured(
            name=f"{len(load.sent):,} frames of Kafka meanwhile",
            measured=f"{lost} lost, {twice} with two results",
            goal="none, none",
            met=not lost and not twice,
        ),
    ]


async def _live(worker: Worker, moment_s: float, tally: Tally | None) -> None:
    """Until the signal could first be taken in order, or until a first result; then to the moment, and to its end."""
    before = 0 if tally is None else _judged(tally)

    def begun() -> bool:
        if tally is None:
            return not worker.running or bool(worker.logged("listening"))
        return not worker.running or (worker.owns and _judged(tally) > before)

    await until(begun, "a worker that has begun")
    await asyncio.sleep(moment_s)
    if worker.running:
        worker.send(signal.SIGTERM)
        await asyncio.wait_for(worker.process.wait(), 120)


def _judged(tally: Tally) -> int:
    """How many frames of Kafka have results."""
    return sum(tally.results_of(camera) for camera in CAMERAS)


def _stream(camera: RtspServer, folder: Path) -> str:
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(8):
        (pictures / f"{number}.jpg").write_bytes(jpeg(60 + number, SIZE_PX))
    return camera.serve(pictures, codec="mjpeg", frames_per_s=_LIVE_PER_S, size_px=SIZE_PX, loop=True)


async def _come_and_go(camera: RtspServer, draw: random.Random) -> None:
    while True:
        await asyncio.sleep(draw.uniform(0.5, 4))
        await asyncio.to_thread(camera.kill)
        await asyncio.sleep(draw.uniform(0.5, 2))
        await asyncio.to_thread(camera.start_again)


class _Load:
    """So many frames wait at all times."""

    def __init__(self, config: KafkaConfig, waiting: int) -> None:
        self._config, self._waiting = config, waiting
        self._stopped = False
        self.sent: set[str] = set()

    def stop(self) -> None:
        self._stopped = True

    async def run(self, tally: Tally) -> None:
        picture = jpeg(66, SIZE_PX)
        async with AIOKafkaProducer(bootstrap_servers=self._config.bootstrap_servers) as producer:
            while not self._stopped:
                for _ in range(max(0, self._waiting - (len(self.sent) - _judged(tally)))):
                    number = len(self.sent)
                    partition = number % len(CAMERAS)
                    camera, frame_id = CAMERAS[partition], f"f{number}"
                    headers = frame_headers(frame_id=frame_id, camera=camera, time=datetime.now(UTC), recipe=RECIPE)
                    self.sent.add(frame_id)
                    await producer.send(
                        self._config.frames_topic, picture, key=camera.encode(), headers=headers, partition=partition
                    )
                await asyncio.sleep(0.1)
