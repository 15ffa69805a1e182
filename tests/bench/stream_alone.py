"""The stream layer alone: an engine that takes 1 ms a batch, one core for the worker, another for the broker."""

import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import psutil

from patchline.engine.features.preprocess import prepare
from patchline.engine.types import Image, Inspection, Verdict
from patchline.stream.decoding.image_file import read_image
from patchline.stream.model.limits import Limits
from tests.bench.bench import Bench, FigureUnavailableError
from tests.bench.kafka_line import KafkaLine
from tests.bench.row import Row, from_values
from tests.services.kafka import KafkaBroker
from tests.services.process import ServiceUnavailableError

JPEG_BYTES = 100_000
SIZE_PX = (480, 640)
FRAMES = 600
BATCH_S = 0.001


@dataclass(frozen=True, slots=True)
class _Found:
    frames_per_s: float
    decoded_per_s: float
    """Only decoded and resized, one after another."""
    cpu_s: dict[str, float]
    """Of the run, by thread."""


def stream(bench: Bench) -> list[Row]:
    """Frames/s of everything but the engine, beside decoding alone."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise FigureUnavailableError("one core only: the worker and the broker need one each")
    count = 100 if bench.quick else FRAMES
    try:
        os.sched_setaffinity(0, {cores[1]})  # of this thread, and so of the broker that it starts
        broker = KafkaBroker()
        broker.start_broker()
    except ServiceUnavailableError as error:
        raise FigureUnavailableError(str(error)) from error
    finally:
        os.sched_setaffinity(0, cores)
    with broker, ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        runs = [pool.submit(_measure, broker.bootstrap, cores[0], count).result() for _ in range(bench.repeats)]
    best = sorted(runs, key=lambda run: run.frames_per_s)[len(runs) // 2]
    used = sum(best.cpu_s.values())
    shares = ", ".join(f"{name} {seconds / used:.0%}" for name, seconds in sorted(best.cpu_s.items()))
    bench.say(
        f"an engine that takes {1000 * BATCH_S:g} ms a batch of 8; {count} frames of {SIZE_PX} (H, W) as JPEG of "
        f"{JPEG_BYTES // 1000} kB, resized to 224 px; exactly once; the worker on one core, the broker on another\n"
        f"all frames wait in Kafka; where the worker's {used:.2f} s of CPU went: {shares}\n"
        f"beside it: the same frames only decoded and resized, by one thread on that core; no goal is set"
    )
    return [from_values("stream", best.frames_per_s, best.decoded_per_s, goal=None, unit="frames/s")]


def _measure(bootstrap: str, core: int, count: int) -> _Found:
    """In a process of its own, on one core."""
    os.sched_setaffinity(0, {core})
    cv2.setNumThreads(1)
    jpegs = [_jpeg(seed) for seed in range(8)] * (count // 8)
    begin = time.perf_counter()
    for jpeg in jpegs:
        prepare(read_image(jpeg, max_bytes=len(jpeg), max_pixels=2**26), (224, 224))
    decoded_per_s = len(jpegs) / (time.perf_counter() - begin)
    before: dict[str, float] = {}
    with KafkaLine(
        bootstrap, Instant(), "plate", limits=Limits(), waiting=jpegs, on_first=lambda: before.update(_cpu_s())
    ) as line:
        seconds = line.seconds_of_waiting()
        cpu_s = {name: spent - before.get(name, 0.0) for name, spent in _cpu_s().items()}
    return _Found(len(jpegs) / seconds, decoded_per_s, cpu_s)


def _cpu_s() -> dict[str, float]:
    """Seconds of CPU by kind of thread so far."""
    names = {thread.native_id: thread.name.partition("_")[0] for thread in threading.enumerate()}
    spent: dict[str, float] = {}
    for thread in psutil.Process().threads():
        name = names.get(thread.id, "other")
        spent[name] = spent.get(name, 0.0) + thread.user_time + thread.system_time
    return spent


def _jpeg(seed: int) -> bytes:
    """A picture with as much noise as makes it about 100 kB."""
    noise = np.random.default_rng(seed).normal(0, 1, (*SIZE_PX, 3))
    low, high = 1.0, 128.0
    while high - low > 0.5:
        middle = (low + high) / 2
        picture = np.clip(128 + middle * noise, 0, 255).astype(np.uint8)
        encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        low, high = (middle, high) if len(encoded) < JPEG_BYTES else (low, middle)
    return encoded


class Instant:
    """Takes as long for every batch, and passes every frame."""

    recipes = ("plate",)

    def prepare(self, recipe: str, image: Image) -> Image:
        """At 224 px."""
        return prepare(image, (224, 224))

    def warm_up(self) -> None:
        """Nothing to do."""

    def inspect(self, frames: Sequence[tuple[str, Image]], *, maps: str = "none") -> list[Inspection]:
        """After `BATCH_S`."""
        time.sleep(BATCH_S)
        passed = Inspection(
            recipe="plate",
            generation=1,
            generation_sha256="5" * 64,
            threshold=1.0,
            score=0.5,
            score_ratio=0.5,
            p_value=1.0,
            verdict=Verdict.PASS,
            grid=(28, 28),
            worst_patch=(0, 0),
            nearest_row=0,
        )
        return [passed] * len(frames)
