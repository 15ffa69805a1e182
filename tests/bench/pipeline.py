"""What the stream leaves of the engine's throughput, and what exactly once costs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

from patchline.engine.inspection.inspector import Inspector
from patchline.engine.types import Image
from patchline.stream.decoding.image_file import read_image
from patchline.stream.model.limits import Limits
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
COMMIT_S = 0.2
"""Results of a partition that come sooner after one another are committed together."""
WARM_UP_FRAMES = 4000
"""Through the broker before anything is timed: it has been running for a while, and its code is compiled."""


def pipeline(bench: Bench) -> list[Row]:
    """Kafka to Kafka over the bare engine, two backbones."""
    sides = (("lite0", workload.efficientnet_lite0(), 8, 768), ("wide_resnet50", workload.wide_resnet50(), 2, 96))
    return [_against_engine(bench, *side) for side in sides]


def _against_engine(bench: Bench, label: str, weights: workload.Weights, batch: int, count: int) -> Row:
    bank = workload.bank_of(bench, weights, 0.1, PRODUCT)
    inspector = Inspector({PRODUCT: bank}, device="cpu")
    jpegs = _jpegs(bench, 16 if bench.quick else count)
    frames = [inspector.prepare(PRODUCT, _decoded(jpeg)) for jpeg in jpegs]
    with _broker(bench, jpegs) as broker:
        line = _Line(broker, inspector, jpegs, batch)
        candidates = {str(size): inspecting(inspector, frames, size, maps="none") for size in {batch, 8}}
        best, bare = fastest(candidates, repeats=1)
        compared = compare(line.seconds, bare, repeats=bench.repeats, warm_up=False)
    bench.say(
        f"{label}, weights: {weights.stated}; bank of {len(bank.rows)} x {bank.rows.shape[1]}; {_stated(jpegs)}\n"
        f"ours: Kafka to Kafka, exactly once, batches of {batch}, decoding included, from the first frame read to "
        f"the last result committed; the broker runs on the same {bench.threads} cores\n"
        f"bare engine: the same frames decoded and resized beforehand, batches of {best}\n"
        f"{line.bound(compared.peer_s / len(jpegs))}"
    )
    return from_times(f"pipeline_{label}", compared, goal=0.95, unit="frames/s", work=len(jpegs))


def exactly_once(bench: Bench) -> list[Row]:
    """The same line with transactions and without."""
    weights, batch = workload.efficientnet_lite0(), 8
    bank = workload.bank_of(bench, weights, 0.1, PRODUCT)
    inspector = Inspector({PRODUCT: bank}, device="cpu")
    jpegs = _jpegs(bench, 16 if bench.quick else 768)
    frames = [inspector.prepare(PRODUCT, _decoded(jpeg)) for jpeg in jpegs]
    with _broker(bench, jpegs) as broker:
        ours, peer = (
            _Line(broker, inspector, jpegs, batch, delivery=delivery) for delivery in ("exactly_once", "at_least_once")
        )
        compared = compare(ours.seconds, peer.seconds, repeats=bench.repeats, warm_up=False)
        bare_s = median(inspecting(inspector, frames, batch, maps="none")() for _ in range(bench.repeats))
    bench.say(
        f"EfficientNet-Lite0, bank of {len(bank.rows)} x {bank.rows.shape[1]}; {_stated(jpegs)}, batches of {batch}, "
        f"Kafka to Kafka; the broker runs on the same cores\n"
        f"exactly once: {ours.bound(bare_s / len(jpegs))}\nat least once: {peer.bound(bare_s / len(jpegs))}"
    )
    return [from_times("exactly_once", compared, goal=0.97, unit="frames/s", work=len(jpegs))]


class _Line:
    """Frames that wait in Kafka, through a stream of its own each time."""

    def __init__(
        self, broker: KafkaBroker, inspector: Inspector, jpegs: Sequence[bytes], batch: int, **kafka: Any
    ) -> None:
        self._broker, self._inspector, self._jpegs, self._batch, self._kafka = broker, inspector, jpegs, batch, kafka
        self._end_to_end_s: list[float] = []

    def seconds(self) -> float:
        """From the first frame read to the last result committed."""
        limits = Limits(
            batch_size=self._batch,
            max_in_flight=8 * self._batch,
            max_wait_s=WAIT_S,
            commit_interval_s=COMMIT_S,
        )
        with KafkaLine(
            self._broker.bootstrap,
            self._inspector,
            PRODUCT,
            limits=limits,
            waiting=self._jpegs,
            partition_buffer_frames=READ_AHEAD,
            **self._kafka,
        ) as line:
            seconds = line.seconds_of_waiting()
            self._end_to_end_s += line.end_to_end_s
        return seconds

    def bound(self, frame_s: float) -> str:
        """What is said of latency, where the bare engine takes so long for a frame."""
        p99_s, engine_s = float(np.percentile(self._end_to_end_s, 99)), frame_s * self._batch
        return (
            f"a frame is read when it is expected to wait for the engine {WAIT_S * 1000:.0f} ms at most; results of a "
            f"partition that come within {COMMIT_S * 1000:.0f} ms are committed together; latency from "
            f"read to committed, p99 {p99_s * 1000:.0f} ms, less the bare engine's {engine_s * 1000:.0f} ms for a "
            f"batch: {'kept' if p99_s - engine_s <= BEYOND_S else 'NOT KEPT'} (bound {BEYOND_S * 1000:.0f} ms)"
        )


def _stated(jpegs: Sequence[bytes]) -> str:
    return (
        f"{len(jpegs)} frames of {PRODUCT} as JPEG ({sum(map(len, jpegs)) // len(jpegs) // 1000} kB on average) wait "
        f"in {PARTITIONS} partitions"
    )


@contextmanager
def _broker(bench: Bench, jpegs: Sequence[bytes]) -> Iterator[KafkaBroker]:
    """A broker that is warm."""
    try:
        broker = KafkaBroker()
        broker.start_broker()
    except ServiceUnavailableError as error:
        raise FigureUnavailableError(str(error)) from error
    with broker:
        many = [jpegs[n % len(jpegs)] for n in range(20 if bench.quick else WARM_UP_FRAMES)]
        with KafkaLine(broker.bootstrap, Instant(), "plate", limits=Limits(), waiting=many) as line:
            line.seconds_of_waiting()
        yield broker


def _jpegs(bench: Bench, count: int) -> list[bytes]:
    """Test images as JPEG, in drawn order; some twice where there are too few."""
    paths, _ = workload.held_out(bench, PRODUCT, None)
    drawn = np.random.default_rng(workload.SEED).permutation(len(paths))
    return [_jpeg(paths[drawn[number % len(paths)]]) for number in range(count)]


def _jpeg(path: Path) -> bytes:
    if path.suffix.lower() in (".jpg", ".jpeg"):
        return path.read_bytes()
    pixels = cv2.imread(str(path))
    assert pixels is not None
    ok, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert ok
    return encoded.tobytes()


def _decoded(jpeg: bytes) -> Image:
    return read_image(jpeg, max_bytes=len(jpeg), max_pixels=2**26)
