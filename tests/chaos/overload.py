"""Several times more frames than a worker can judge, from Kafka and from a live camera: memory stays flat, every frame
that came is a result or a drop with a cause, and what is late is published all the same.
"""

import asyncio
import re
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter
from urllib.parse import urlsplit

import torch
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from patchline.engine.bank.store import load_bank
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.types import Verdict
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.model.errors import DropCause
from patchline.stream.model.result import Result
from patchline.stream.wire.frames import frame_headers
from patchline.stream.wire.results import read_result
from tests.chaos.crowd import RECIPE, Crowd, Worker, small_bank, until
from tests.chaos.figure import Measured
from tests.chaos.line import CAMERAS, new_line, settings_of
from tests.services.kafka import KafkaBroker
from tests.services.rtsp import RtspServer
from tests.stream.kafka_help import read_topic
from tests.stream.scripted import jpeg, picture

LIVE = "live"
SIZE_PX = (224, 224)
DEADLINE_S = 0.5
FULL_S = 2.0
"""Until every buffer is full, and what the first batches need is there: from then on memory may not grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """For `seconds` the line sends `offered` times what the bare engine judges on a thread, `live` of it by camera.

    That has to be at least `overload` times what the worker then judges. Its memory may grow by a `growth`.
    """

    seconds: float
    offered: float
    overload: float
    live: float
    growth: float


SHORT = Sizes(seconds=5, offered=4, overload=2, live=0.6, growth=0.1)
"""Other tests share the machine, and a short time sees the memory of the first batches."""
LONG = Sizes(seconds=60, offered=5, overload=5, live=0.5, growth=0.05)


def measure(sizes: Sizes) -> list[Measured]:
    """One worker, a broker, and a camera that streams as Motion JPEG."""
    with (
        TemporaryDirectory(prefix="patchline-chaos-") as folder,
        KafkaBroker() as broker,
        RtspServer() as camera,
    ):
        broker.start_broker()
        return asyncio.run(_measure(sizes, Path(folder), broker, camera))


async def _measure(sizes: Sizes, folder: Path, broker: KafkaBroker, camera: RtspServer) -> list[Measured]:
    config = await new_line(broker)
    # Its frames take the engine tens of milliseconds, so that several times as many can be sent.
    bank = await asyncio.to_thread(small_bank, folder, stages=("layer2", "layer3"), size_px=SIZE_PX, images=8, fitted=3)
    rate = sizes.offered * await asyncio.to_thread(_frames_per_s, bank)
    settings = settings_of(config, bank, session_timeout_s=10.0)
    settings["recipes"][RECIPE]["deadline_s"] = DEADLINE_S
    settings["cameras"] = {
        LIVE: {"source": "rtsp", "recipe": RECIPE, "url": _stream(camera, folder, rate * sizes.live)}
    }
    with Crowd(folder, settings) as crowd:
        worker = await crowd.start_ready()
        await until(lambda: worker.running and _frames(_scrape(worker))[LIVE].results > 0, "a live result")
        memory = asyncio.create_task(_memory(worker, sizes.seconds))
        before, began = _frames(_scrape(worker)), monotonic()
        sent = await _send(config, rate * (1 - sizes.live), sizes.seconds)
        after, took_s = _frames(_scrape(worker)), monotonic() - began
        memory_mib = await memory
        camera.stop()
        await until(lambda: worker.running and _at_rest(_frames(_scrape(worker)), len(sent)), "every frame's end")
        counted, late = _frames(_scrape(worker)), _late_frames(_scrape(worker))
        await worker.drain()
    results = [read_result(r.headers, r.value) for r in await read_topic(config, config.results_topic)]
    came = after[LIVE].received - before[LIVE].received + len(sent)
    judged = sum(after[name].results - before[name].results for name in after)
    return [
        _overload(sizes, came / took_s, judged / took_s),
        _flat(sizes, memory_mib),
        _live(counted[LIVE], [result for result in results if result.camera == LIVE]),
        _kafka(counted, sent, [result for result in results if result.camera != LIVE]),
        _late(late, results),
    ]


def _frames_per_s(bank: Path) -> float:
    """What the engine judges on one thread, as the worker has it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        inspector = Inspector({RECIPE: load_bank(bank)}, device="cpu", runtime="torch")
        batch = [(RECIPE, inspector.prepare(RECIPE, picture(70, SIZE_PX)))] * 8
        inspector.inspect(batch)
        began = perf_counter()
        inspector.inspect(batch)
        return len(batch) / (perf_counter() - began)
    finally:
        torch.set_num_threads(threads)


def _stream(camera: RtspServer, folder: Path, frames_per_s: float) -> str:
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(8):
        (pictures / f"{number}.jpg").write_bytes(jpeg(60 + 12 * number, SIZE_PX))
    return camera.serve(pictures, codec="mjpeg", frames_per_s=round(frames_per_s), size_px=SIZE_PX, loop=True)


async def _send(config: KafkaConfig, frames_per_s: float, seconds: float) -> set[str]:
    """Frames of every camera of the line in turn, at that rate; their ids."""
    image, sent, begin = jpeg(66, SIZE_PX), set[str](), monotonic()
    async with AIOKafkaProducer(bootstrap_servers=config.bootstrap_servers) as producer:
        while monotonic() < begin + seconds:
            due = round((monotonic() - begin) * frames_per_s)
            for number in range(len(sent), due):
                partition = number % len(CAMERAS)
                camera, frame_id = CAMERAS[partition], f"f{number}"
                headers = frame_headers(frame_id=frame_id, camera=camera, time=datetime.now(UTC), recipe=RECIPE)
                await producer.send(
                    config.frames_topic, image, key=camera.encode(), headers=headers, partition=partition
                )
                sent.add(frame_id)
            await asyncio.sleep(0.01)
    return sent


async def _memory(worker: Worker, seconds: float) -> list[float]:
    """The worker's resident MiB, ten times a second, once every buffer is full."""
    await asyncio.sleep(FULL_S)
    seen, end = [], monotonic() + seconds - FULL_S
    while monotonic() < end:
        seen.append(_resident_mib(worker))
        await asyncio.sleep(0.1)
    return seen


def _resident_mib(worker: Worker) -> float:
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    return int(re.findall(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)[0]) / 1024


@dataclass(slots=True)
class _Counted:
    """A camera's frames by the worker's own count."""

    received: int = 0
    results: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


def _scrape(worker: Worker) -> str:
    port = urlsplit(worker.logged("listening")[-1]["url"]).port
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        text: str = page.read().decode()
    return text


def _frames(scraped: str) -> dict[str, _Counted]:
    counted: dict[str, _Counted] = defaultdict(_Counted)
    for family in text_string_to_metric_families(scraped):
        for sample in family.samples:
            if sample.name == "patchline_frames_received_total":
                counted[sample.labels["camera"]].received += int(sample.value)
            elif sample.name == "patchline_frames_total":
                counted[sample.labels["camera"]].results += int(sample.value)
            elif sample.name == "patchline_frames_dropped_total":
                counted[sample.labels["camera"]].dropped[sample.labels["cause"]] += int(sample.value)
    return counted


def _late_frames(scraped: str) -> int:
    families = text_string_to_metric_families(scraped)
    samples = (sample for family in families for sample in family.samples)
    return round(sum(sample.value for sample in samples if sample.name == "patchline_frames_late_total"))


def _at_rest(counted: Mapping[str, _Counted], sent: int) -> bool:
    live = counted[LIVE]
    kafka = sum(camera.results for name, camera in counted.items() if name != LIVE)
    return kafka >= sent and live.received == live.results + live.dropped.total()


def _overload(sizes: Sizes, came_per_s: float, judged_per_s: float) -> Measured:
    return Measured(
        name=f"overload for {sizes.seconds:g} s, Kafka and a live camera",
        measured=f"{came_per_s:.0f} frames/s came, {judged_per_s:.0f} were judged: {came_per_s / judged_per_s:.1f} x",
        goal=f"at least {sizes.overload:g} x",
        met=came_per_s >= sizes.overload * judged_per_s,
    )


def _flat(sizes: Sizes, memory_mib: Sequence[float]) -> Measured:
    first, most = memory_mib[0], max(memory_mib)
    return Measured(
        name="resident memory of the worker, the most over that once buffers are full",
        measured=f"{most:.0f} MiB over {first:.0f} MiB: {most / first - 1:+.1%}",
        goal=f"growth under {sizes.growth:.0%}",
        met=most < first * (1 + sizes.growth),
    )


def _live(counted: _Counted, results: Sequence[Result]) -> Measured:
    """Live frames are numbered as they come, so the numbers without a result tell of every one that was replaced."""
    numbers = [int(result.frame_id.rpartition("/")[2]) for result in results]
    replaced = counted.dropped[DropCause.SUPERSEDED]
    causes = ", ".join(f"{count:,} {cause}" for cause, count in sorted(counted.dropped.items()))
    return Measured(
        name="frames of the live camera",
        measured=f"{counted.received:,} came, {len(results):,} results, drops: {causes or 'none'};"
        f" {max(numbers) - len(results):,} of the {max(numbers):,} numbered ones have no result",
        goal="in = results + drops by cause, to the frame",
        met=counted.received == len(results) + counted.dropped.total()
        and counted.results == len(results) == len(set(numbers))
        and max(numbers) - len(results) == replaced > 0,
    )


def _kafka(counted: Mapping[str, _Counted], sent: Set[str], results: Sequence[Result]) -> Measured:
    found = Counter(result.frame_id for result in results)
    lost, twice = len(sent - found.keys()), found.total() - len(found)
    dropped = sum(camera.dropped.total() for name, camera in counted.items() if name != LIVE)
    refused = sum(result.verdict is Verdict.NOT_INSPECTED for result in results)
    return Measured(
        name="frames of Kafka",
        measured=f"{len(sent):,} sent, {lost} without a result, {twice} with two, {refused} not inspected,"
        f" {dropped} dropped",
        goal="one verdict each, no drop",
        met=not (lost or twice or refused or dropped) and found.keys() == sent,
    )


def _late(counted: int, results: Sequence[Result]) -> Measured:
    past = sum((result.inspected_at - result.time).total_seconds() > DEADLINE_S for result in results)
    marked = sum(result.late for result in results)
    return Measured(
        name=f"results later than the recipe's deadline of {DEADLINE_S:g} s",
        measured=f"{past:,} of {len(results):,}, {marked:,} marked late, {counted:,} counted",
        goal="published, marked and counted, each",
        met=past == marked == counted > 0,
    )
