"""From the tap to the bank: how long until every worker judges with it, and what learning costs the frames."""

import asyncio
import time
from collections.abc import Iterator
from itertools import count

import numpy as np
from aiokafka import AIOKafkaProducer

from tests.bench.bench import Bench, FigureUnavailableError
from tests.bench.learning_line import LearningLine, altered, learning_line
from tests.bench.row import Row, from_times, from_values
from tests.bench.timing import Comparison
from tests.bench.workload import fitted_paths

LOAD = 0.8
"""Of the capacity of all workers together, measured first."""
TAPS_EACH = 20
"""Taps for each repeat."""
STEADY = 0.1
"""By so much what the line can do may differ before and after a repeat that counts."""
ATTEMPTS = 3
"""For each repeat."""
TURN_S = 6
"""Of it the first second is not counted: what waits from the turn before is judged in it."""


def tap(bench: Bench) -> list[Row]:
    """Tap to active in every one of three worker processes: p99 of 100 taps, each of which adds rows; fewer repeats are
    fewer taps.
    """
    return asyncio.run(_tap(bench, taps=5 if bench.quick else TAPS_EACH * bench.repeats, workers=3))


def learning_latency(bench: Bench) -> list[Row]:
    """p99 latency of frames while a frame a second is learned, against while nothing is: in turns of seconds under
    one steady load, so that what else slows the machine down falls on both alike.
    """
    return asyncio.run(_latency(bench, turns=1 if bench.quick else 2))


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
    bench.say(
        f"{taps} taps, {sum(added)} rows: median {p50:.3f} s, p99 {p99:.3f} s, worst {max(seconds):.3f} s; "
        f"judged by it where it was learned after {np.median(answered):.3f} s"
    )
    return [from_values("tap_to_active_p99", float(p99), 1.0, goal=1.0, unit="s", less_is_better=True)]


async def _latency(bench: Bench, *, turns: int) -> list[Row]:
    images = _images(bench)
    p99: dict[bool, list[float]] = {False: [], True: []}
    frames = 0
    async with learning_line(bench, workers=1) as (line, producer):
        capacity = await _capacity(bench, line, producer)
        for attempt in range(1, ATTEMPTS * bench.repeats + 1):
            load = asyncio.create_task(line.send(LOAD * capacity, 3600, producer))
            sent: dict[bool, list[range]] = {False: [], True: []}
            for turn in range(2 * turns):
                learns = turn % 2 == 1
                sent[learns].append(await _turn(line, images if learns else None))
            load.cancel()
            await asyncio.sleep(1)
            before, capacity = capacity, await _capacity(bench, line, producer)
            steady = bench.quick or abs(capacity / before - 1) <= STEADY
            found = {learns: [line.latency_of[n] for numbers in sent[learns] for n in numbers] for learns in sent}
            quantiles = {learns: np.percentile(latencies, [50, 99]) for learns, latencies in found.items()}
            bench.say(
                f"{attempt}: {before:.1f} frames/s, then {capacity:.1f}; load {LOAD:.0%} of the former; latency, s: "
                f"median {quantiles[False][0]:.3f}, p99 {quantiles[False][1]:.3f}; while learning "
                f"{quantiles[True][0]:.3f}, {quantiles[True][1]:.3f}"
                + ("" if steady else f"; not counted: it was not {LOAD:.0%} of what the machine could do")
            )
            for learns, (_, latency) in quantiles.items() if steady else ():
                p99[learns].append(float(latency))
                frames += len(found[learns])
            if len(p99[True]) == bench.repeats:
                break
        else:
            raise FigureUnavailableError(
                f"of {attempt} repeats {len(p99[True])} were under a steady load, expected {bench.repeats}: something "
                f"else runs on this machine"
            )
    bench.say(f"{frames} frames counted")
    return [from_times("latency_while_learning_p99", Comparison(p99[True], p99[False]), goal=1 / 1.1)]


async def _capacity(bench: Bench, line: LearningLine, producer: AIOKafkaProducer) -> float:
    return await line.capacity(120 if bench.quick else 500, producer)


async def _turn(line: LearningLine, images: Iterator[bytes] | None) -> range:
    """Some seconds under load, in which an image a second is learned if there are any; the frames sent after what the
    turn before may have left behind.
    """
    begin_s = time.monotonic()
    first = None
    for second in range(1, TURN_S + 1):
        if images is not None:
            await line.tap(next(images))
        await asyncio.sleep(max(0.0, begin_s + second - time.monotonic()))
        first = line.sent if first is None else first
    return range(first or 0, line.sent - 1)  # the last may not have gone


def _images(bench: Bench) -> Iterator[bytes]:
    fitted, held = fitted_paths(bench, "magnetic_tile")
    paths = fitted + held
    return (altered(paths[number % len(paths)], number) for number in count())
