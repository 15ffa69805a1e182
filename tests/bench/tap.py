"""From the tap to the bank: how long until every worker judges with it, and what learning costs the frames."""

import asyncio
import time
from collections.abc import Iterator
from itertools import count, islice

import numpy as np

from tests.bench.bench import Bench
from tests.bench.learning_line import altered, learning_line
from tests.bench.row import Row, from_times, from_values
from tests.bench.timing import Comparison
from tests.bench.workload import fitted_paths

LOAD = 0.8
"""Of the capacity of all workers together, measured first."""
HALF_LOAD = 0.5
"""Of one worker's: what a line that is not short of cores runs at."""
TAPS_EACH = 20
"""Taps for each repeat."""


def tap(bench: Bench) -> list[Row]:
    """Tap to active in every one of three worker processes: p99 of 100 taps, each of which adds rows; fewer repeats are
    fewer taps.
    """
    return asyncio.run(_tap(bench, taps=5 if bench.quick else TAPS_EACH * bench.repeats, workers=3))


def learning_latency(bench: Bench) -> list[Row]:
    """p99 latency of frames while a frame a second is learned, against while nothing is: turn by turn, at each load.

    Capacity is that of full batches. Frames one by one take more of the cores, so 80 % of it is nearly all there is.
    """
    seconds = 5 if bench.quick else 20
    return [asyncio.run(_latency(bench, load, seconds=seconds)) for load in (HALF_LOAD, LOAD)]


async def _tap(bench: Bench, *, taps: int, workers: int) -> list[Row]:
    images = _images(bench)
    async with learning_line(bench, workers=workers) as (line, producer):
        capacity = await line.capacity(120 if bench.quick else 600, producer)
        bench.say(f"{workers} workers judge {capacity:.1f} frames/s together; load {LOAD:.0%} of it")
        load = asyncio.create_task(line.send(LOAD * capacity, 3600, producer))
        seconds: list[float] = []
        answered: list[float] = []
        added: list[int] = []
        for _ in range(taps):
            await asyncio.sleep(0.3)
            at, reply = await line.tap(next(images))
            answered.append(reply.time.timestamp() - at)
            assert reply.preview is not None, reply
            assert reply.generation is not None, reply
            assert reply.preview.rows_added > 0, "a tap that taught nothing"
            added.append(reply.preview.rows_added)
            seconds.append(await line.active(reply.generation.number) - at)
        load.cancel()
    p50, p99 = np.percentile(seconds, [50, 99])
    slowest = sorted(range(taps), key=lambda tap: -seconds[tap])[:5]
    bench.say("slowest: " + ", ".join(f"tap {tap} with {added[tap]} rows {seconds[tap]:.3f} s" for tap in slowest))
    bench.say(
        f"{taps} taps, {sum(added)} rows: median {p50:.3f} s, p99 {p99:.3f} s, worst {max(seconds):.3f} s; "
        f"judged by it where it was learned after {np.median(answered):.3f} s"
    )
    return [from_values("tap_to_active_p99", float(p99), 1.0, goal=1.0, unit="s", less_is_better=True)]


async def _latency(bench: Bench, load: float, *, seconds: float) -> Row:
    images = _images(bench)
    p99: dict[bool, list[float]] = {False: [], True: []}
    frames = 0
    async with learning_line(bench, workers=1) as (line, producer):
        for turn in range(2 * bench.repeats):
            learns = turn % 2 == 1
            if not learns:  # what it can do may change with what else the machine has to do
                capacity = await line.capacity(120 if bench.quick else 400, producer)
                bench.say(f"1 worker judges {capacity:.1f} frames/s; load {load:.0%} of it, two turns of {seconds:g} s")
            tapped = list(islice(images, int(seconds) + 1)) if learns else []  # not made beside what is measured
            begin = len(line.latencies)
            sending = asyncio.create_task(line.send(load * capacity, seconds, producer))
            while tapped and not sending.done():
                next_s = time.monotonic() + 1
                await line.tap(tapped.pop())
                await asyncio.sleep(max(0.0, next_s - time.monotonic()))
            await sending
            await asyncio.sleep(1)
            latencies = [latency for _, latency in line.latencies[begin:]]
            p99[learns].append(float(np.percentile(latencies, 99)))
            frames += len(latencies)
    calm, learning = (" ".join(f"{seconds:.3f}" for seconds in p99[learns]) for learns in (False, True))
    bench.say(f"{frames} frames; p99 of each turn, s: {calm} without, {learning} with learning")
    return from_times(f"latency_while_learning_p99_{load:.0%}", Comparison(p99[True], p99[False]), goal=1 / 1.1)


def _images(bench: Bench) -> Iterator[bytes]:
    fitted, held = fitted_paths(bench, "magnetic_tile")
    paths = fitted + held
    return (altered(paths[number % len(paths)], number) for number in count())
