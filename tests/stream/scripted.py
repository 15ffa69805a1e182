"""A scripted engine and frames whose verdict is known beforehand."""

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np

from patchline.engine.types import Image, Inspection, Verdict
from patchline.stream.inspection.engine import Maps
from patchline.stream.model.alarm import AlarmEvent, AlarmState
from patchline.stream.model.errors import AlarmGap, DropCause, Foreign, LogBreak
from patchline.stream.model.frame import Frame, Position
from patchline.stream.model.observer import Observer, Queue, Stage
from patchline.stream.model.result import Result

GENERATION_SHA256 = "5" * 64
SIZE_PX = (32, 48)


class ScriptedEngine:
    """Scores a frame by its mean brightness, 0 to 255; above 100 it is a reject.

    `seconds` is slept for each batch; `gate`, when given, holds every batch until it is set; `fail_on` raises at the
    n-th batch (from 1), as soon as `fails_when` holds: a second batch is inspected while the first is delivered.
    """

    def __init__(
        self,
        recipes: Sequence[str] = ("plate",),
        *,
        seconds: float = 0.0,
        gate: threading.Event | None = None,
        fail_on: int | None = None,
        fails_when: Callable[[], bool] = lambda: True,
    ) -> None:
        self.recipes = tuple(recipes)
        self.batches: list[int] = []
        self.threads: set[int] = set()
        self.warm = False
        self._seconds, self._gate, self._fail_on, self._fails_when = seconds, gate, fail_on, fails_when

    def prepare(self, recipe: str, image: Image) -> Image:
        return np.ascontiguousarray(cv2.resize(image, SIZE_PX[::-1], interpolation=cv2.INTER_AREA), dtype=np.uint8)

    def warm_up(self) -> None:
        self.warm = True

    def inspect(self, frames: Sequence[tuple[str, Image]], *, maps: Maps = "none") -> list[Inspection]:
        self.threads.add(threading.get_ident())
        self.batches.append(len(frames))
        if self._gate is not None:
            assert self._gate.wait(60)
        time.sleep(self._seconds)
        if len(self.batches) == self._fail_on:
            while not self._fails_when():
                time.sleep(0.001)
            raise RuntimeError("scripted failure")
        return [self._inspection(recipe, image) for recipe, image in frames]

    def _inspection(self, recipe: str, image: Image) -> Inspection:
        score = float(image.mean())
        return Inspection(
            recipe=recipe,
            generation=1,
            generation_sha256=GENERATION_SHA256,
            threshold=100.0,
            score=score,
            score_ratio=score / 100,
            p_value=0.01 if score > 100 else 1.0,
            verdict=Verdict.REJECT if score > 100 else Verdict.PASS,
            grid=(4, 6),
            worst_patch=(1, 2),
            nearest_row=0,
        )


class Recorder(Observer):
    """An observer that remembers."""

    def __init__(self) -> None:
        self.received: dict[str, int] = {}
        self.dropped: dict[tuple[str, str], int] = {}
        self.results: list[str] = []
        self.judged_ids: list[str] = []
        self.batches: list[int] = []
        self.retries: list[tuple[str, str]] = []
        self.ready_states: list[bool] = []
        self.alarm_events: list[AlarmEvent] = []
        self.alarm_states: dict[str, AlarmState | None] = {}
        self.alarm_gaps: dict[str, int] = {}
        self.shelved: dict[str, bool] = {}
        self.passed_over: list[tuple[Foreign, str]] = []
        self.redis_up: bool | None = None
        self.depth: dict[str, int] = {}
        self.stages: dict[str, int] = {}
        self.lag: dict[tuple[str, int], int] = {}
        self.owned: list[tuple[int, ...]] = []
        self.connections: list[tuple[str, bool]] = []
        self.crashes: dict[tuple[str, int], int] = {}
        self.storage_up: dict[str, bool] = {}
        self.held: list[int] = []
        self.log_breaks: list[tuple[int, str, int | None, int, int | None]] = []
        self.feedback_gaps: list[tuple[int, str, int, int, int | None]] = []
        """Partition, cause, the offset expected and the one found, and how many were lost."""
        self.kafka_told: list[tuple[bool, str | None]] = []
        """Each state of Kafka that differs from the one before."""
        self.lacking: list[str] = []
        self.topic_settings: list[tuple[str, str, str, str, str | None]] = []

    def ready(self, ready: bool) -> None:
        self.ready_states.append(ready)

    def frame_received(self, camera: str) -> None:
        self.received[camera] = self.received.get(camera, 0) + 1

    def frame_dropped(self, camera: str, cause: DropCause) -> None:
        self.dropped[camera, cause] = self.dropped.get((camera, cause), 0) + 1

    def stage_seconds(self, stage: Stage, camera: str, seconds: float) -> None:
        assert seconds >= 0
        self.stages[stage] = self.stages.get(stage, 0) + 1

    def batch_closed(self, size: int) -> None:
        self.batches.append(size)

    def queue_depth(self, queue: Queue, depth: int) -> None:
        self.depth[queue] = max(depth, self.depth.get(queue, 0))

    def judged(self, frame: Frame, prepared: Image | None, inspection: Inspection | None, result: Result) -> None:
        self.judged_ids.append(frame.frame_id)

    def result(self, result: Result) -> None:
        self.results.append(result.frame_id)

    def consumer_lag(self, topic: str, partition: int, lag: int) -> None:
        self.lag[topic, partition] = lag

    def partitions(self, topic: str, partitions: Sequence[int]) -> None:
        self.owned.append(tuple(partitions))

    def crash_found(self, topic: str, partition: int, frames: int) -> None:
        self.crashes[topic, partition] = frames

    def log_break(
        self, topic: str, partition: int, cause: LogBreak, expected: int | None, found: int, lost: int | None
    ) -> None:
        self.log_breaks.append((partition, cause.value, expected, found, lost))

    def feedback_gap(
        self, topic: str, partition: int, cause: LogBreak, expected: int, found: int, lost: int | None
    ) -> None:
        self.feedback_gaps.append((partition, cause.value, expected, found, lost))

    def kafka(self, up: bool, why: str | None) -> None:
        if self.kafka_told[-1:] != [(up, why)]:
            self.kafka_told.append((up, why))

    def kafka_lacks(self, what: str) -> None:
        self.lacking.append(what)

    def topic_setting(self, topic: str, setting: str, before: str, after: str, refused: str | None) -> None:
        self.topic_settings.append((topic, setting, before, after, refused))

    def camera_connected(self, camera: str, connected: bool) -> None:
        self.connections.append((camera, connected))

    def alarm(self, event: AlarmEvent) -> None:
        self.alarm_events.append(event)

    def alarm_state(self, camera: str, state: AlarmState | None) -> None:
        self.alarm_states[camera] = state

    def alarm_gap(self, cause: AlarmGap, results: int) -> None:
        self.alarm_gaps[cause] = self.alarm_gaps.get(cause, 0) + results

    def alarm_shelved(self, camera: str, shelved: bool) -> None:
        self.shelved[camera] = shelved

    def foreign(self, what: Foreign, detail: str) -> None:
        self.passed_over.append((what, detail))

    def alarm_store(self, up: bool) -> None:
        self.redis_up = up

    def frame_storage(self, storage: str, up: bool) -> None:
        self.storage_up[storage] = up

    def lanes_held(self, lanes: int) -> None:
        self.held.append(lanes)

    def retrying(self, what: str, error: BaseException, attempt: int) -> None:
        self.retries.append((what, str(error)))


def picture(level: int, size_px: tuple[int, int] = (64, 96)) -> Image:
    """A grey picture with some texture, of about the given brightness."""
    noise = np.random.default_rng(level).integers(-8, 9, (*size_px, 3))
    return np.clip(level + noise, 0, 255).astype(np.uint8)


def jpeg(level: int, size_px: tuple[int, int] = (64, 96)) -> bytes:
    ok, encoded = cv2.imencode(".jpg", picture(level, size_px))
    assert ok
    return encoded.tobytes()


def frame(
    frame_id: str,
    payload: bytes | None = None,
    *,
    camera: str = "cam-1",
    recipe: str = "plate",
    position: Position | None = None,
    hashed: bool = False,
    image: Image | None = None,
    **more: Any,
) -> Frame:
    if payload is None and image is None:
        payload = jpeg(50)
    return Frame(
        frame_id=frame_id,
        camera=camera,
        recipe=recipe,
        time=datetime.now(UTC),
        received_s=time.monotonic(),
        payload=payload,
        image=image,
        content_sha256=hashlib.sha256(payload or b"").hexdigest() if hashed else None,
        position=position,
        **more,
    )
