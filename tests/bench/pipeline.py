"""What the stream leaves of the engine's throughput, and what exactly once costs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from engine.inspection import Image
from engine.inspector import Inspector
from stream.config import Limits
from stream.image_file import read_image
from tests.bench import workload
from tests.bench.bench import Bench, FigureUnavailableError
from tests.bench.kafka_line import PARTITIONS, KafkaLine
from tests.bench.row import Row, from_times
from tests.bench.stream_alone import Instant
from tests.bench.throughput import PRODUCT, inspecting
from tests.bench.timing import compare, fastest
from tests.services.kafka import KafkaBroker
from tests.services.process import ServiceUnavailableError

BEYOND_S = 0.5
READ_AHEAD = 0
"""Frames of a partition that wait in the worker: what is read waits, and the bound on latency counts from there."""
WAIT_S = 0.2
"""Frames are read when they are expected to wait at most so long for the engine."""
WARM_UP_FRAMES = 4000
"""Through the broker before anything is timed: it has been running for a while, and its code is compiled."""


def pipeline(bench: Bench) -> list[Row]:
    """Kafka to Kafka over the bare engine, two backbones."""
    sides = (("lite0", workload.efficientnet_lite0(), 8, 384), ("wide_resnet50", workload.wide_resnet50(), 2, 64))
    return [_against_engine(bench, *side) for side in sides]


def _limits(batch: int) -> Limits:
    return Limits(batch_size=batch, max_in_flight=4 * batch, max_wait_s=WAIT_S)


def _against_engine(bench: Bench, label: str, weights: workload.Weights, batch: int, count: int) -> Row:
    bank = workload.bank_of(bench, weights, 0.1, PRODUCT)
    inspector = Inspector({PRODUCT: bank}, device="cpu")
    jpegs = _jpegs(bench, 16 if bench.quick else count)
    with _broker(bench, jpegs) as broker:
        kafka = {"limits": _limits(batch), "partition_buffer_frames": READ_AHEAD}
        with KafkaLine(broker.bootstrap, inspector, PRODUCT, **kafka) as line:
            frames = [inspector.prepare(PRODUCT, _decoded(jpeg)) for jpeg in jpegs]
            candidates = {str(size): inspecting(inspector, frames, size, maps="none") for size in {batch, 8}}
            best, bare = fastest(candidates, repeats=1)
            line.seconds(jpegs)
            line.forget()
            compared = compare(lambda: line.seconds(jpegs), bare, repeats=bench.repeats, warm_up=False)
            beyond_s = line.beyond_engine_s
    bench.say(
        f"{label}, weights: {weights.stated}; bank of {len(bank.rows)} x {bank.rows.shape[1]}; {len(jpegs)} frames of "
        f"{PRODUCT} as JPEG ({sum(map(len, jpegs)) // len(jpegs) // 1000} kB on average), {PARTITIONS} partitions\n"
        f"ours: Kafka to Kafka, exactly once, batches of {batch}, decoding included, from the first frame produced to "
        f"the last result committed; the broker runs on the same {bench.threads} cores\n"
        f"bare engine: the same frames decoded and resized beforehand, batches of {best}\n"
        f"frames are read when they are expected to wait for the engine {WAIT_S * 1000:.0f} ms at most; latency from "
        f"read to committed, p99 less the engine's own time for a batch: {beyond_s * 1000:.0f} ms "
        f"(bound {BEYOND_S * 1000:.0f} ms, {'kept' if beyond_s <= BEYOND_S else 'NOT KEPT'})"
    )
    return from_times(f"pipeline_{label}", compared, goal=0.95, unit="frames/s", work=len(jpegs))


def exactly_once(bench: Bench) -> list[Row]:
    """The same line with transactions and without."""
    weights = workload.efficientnet_lite0()
    bank = workload.bank_of(bench, weights, 0.1, PRODUCT)
    inspector = Inspector({PRODUCT: bank}, device="cpu")
    jpegs = _jpegs(bench, 16 if bench.quick else 192)

    def line(delivery: str) -> KafkaLine:
        return KafkaLine(
            broker.bootstrap,
            inspector,
            PRODUCT,
            limits=_limits(8),
            partition_buffer_frames=READ_AHEAD,
            delivery=delivery,
        )

    with _broker(bench, jpegs) as broker, line("exactly_once") as ours, line("at_least_once") as peer:
        for each in (ours, peer):
            each.seconds(jpegs)
            each.forget()
        compared = compare(
            lambda: ours.seconds(jpegs), lambda: peer.seconds(jpegs), repeats=bench.repeats, warm_up=False
        )
        beyond_ms = [1000 * each.beyond_engine_s for each in (ours, peer)]
    bench.say(
        f"EfficientNet-Lite0, bank of {len(bank.rows)} x {bank.rows.shape[1]}; {len(jpegs)} frames of {PRODUCT} as "
        f"JPEG, {PARTITIONS} partitions, batches of 8, Kafka to Kafka; the broker runs on the same cores\n"
        f"latency from read to committed, p99 less the engine's own time for a batch: exactly once "
        f"{beyond_ms[0]:.0f} ms, at least once {beyond_ms[1]:.0f} ms (bound {BEYOND_S * 1000:.0f} ms, "
        f"{'kept' if max(beyond_ms) <= BEYOND_S * 1000 else 'NOT KEPT'})"
    )
    return [from_times("exactly_once", compared, goal=0.97, unit="frames/s", work=len(jpegs))]


@contextmanager
def _broker(bench: Bench, jpegs: Sequence[bytes]) -> Iterator[KafkaBroker]:
    """A broker that is warm."""
    try:
        broker = KafkaBroker()
        broker.start_broker()
    except ServiceUnavailableError as error:
        raise FigureUnavailableError(str(error)) from error
    with broker:
        with KafkaLine(broker.bootstrap, Instant(), "plate", limits=Limits()) as line:
            line.seconds([jpegs[n % len(jpegs)] for n in range(20 if bench.quick else WARM_UP_FRAMES)])
        yield broker


def _jpegs(bench: Bench, count: int) -> list[bytes]:
    """Test images as JPEG, in drawn order; some twice where there are too few."""
    paths, _ = workload.held_out(bench, PRODUCT, None)
    drawn = np.random.default_rng(workload.SEED).permutation(len(paths))
    return [_jpeg(paths[drawn[number % len(paths)]]) for number in range(count)]


def _jpeg(path: Path) -> bytes:
    if path.suffix.lower() in (".jpg", ".jpeg"):
        return path.read_bytes()
    ok, encoded = cv2.imencode(".jpg", cv2.imread(str(path)), [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert ok
    return encoded.tobytes()


def _decoded(jpeg: bytes) -> Image:
    return read_image(jpeg, max_bytes=len(jpeg), max_pixels=2**26)
