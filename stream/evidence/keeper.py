"""Keeps evidence of what the stream judges: rejects, and a sample of the passes.

It watches the stream and holds nothing up: frames wait in a bounded queue for a thread that writes them, and what does
not fit is dropped and counted.
"""

import asyncio
import hashlib
import threading
from collections import deque
from dataclasses import dataclass
from time import monotonic

from patchline.engine.types import Image, Inspection, Verdict
from patchline.stream.evidence.store import Evidence, EvidenceStore, encode_png
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.model.frame import Frame
from patchline.stream.model.observer import Observer
from patchline.stream.model.result import Result
from patchline.stream.ports import Listener

EXPIRE_EVERY_S = 60.0
FLUSH_S = 5.0


@dataclass(frozen=True, slots=True)
class _Queued:
    frame: Frame
    inspection: Inspection
    result: Result

    @property
    def size(self) -> int:
        pixels = self.frame.image.nbytes if self.frame.image is not None else 0
        return len(self.frame.payload or b"") + pixels


class EvidenceKeeper(Listener):
    """Writes judged frames to the evidence store; a `SideTask` of the pipeline as well.

    Args:
        store: where to.
        pass_share: the share of passes that is kept, 0 to 1; a frame's id decides, so every worker decides alike.
        queue_bytes: encoded bytes and pixels that may wait.
        observer: told what was kept, dropped and failed.
    """

    def __init__(
        self, store: EvidenceStore, *, pass_share: float, queue_bytes: int, observer: Observer | None = None
    ) -> None:
        self._store = store
        self._pass_share = pass_share
        self._queue_bytes = queue_bytes
        self._observer = observer or Observer()
        self._changed = threading.Condition()
        self._waiting: deque[_Queued] = deque()
        self._waiting_bytes = 0
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._write_all, name="evidence", daemon=True)

    def judged(
        self,
        frame: Frame,
        prepared: Image | None,  # noqa: ARG002 - what was received is kept, not what the backbone saw
        inspection: Inspection | None,
        result: Result,
    ) -> None:
        """See `Listener`."""
        if inspection is None or not (result.verdict is Verdict.REJECT or self._sampled(frame.frame_id)):
            return
        waiting = _Queued(frame, inspection, result)
        with self._changed:
            fits = self._waiting_bytes + waiting.size <= self._queue_bytes and not self._closed
            if fits:
                self._waiting.append(waiting)
                self._waiting_bytes += waiting.size
                self._changed.notify()
        if not fits:
            self._observer.evidence(frame.recipe, "dropped")

    async def run(self, thread: EngineThread) -> None:  # noqa: ARG002 - a `SideTask` that needs no engine
        """Write until cancelled; then what waits is written for a few seconds more."""
        self._loop = asyncio.get_running_loop()
        self._store.damaged = self._tell_damaged
        self._thread.start()
        try:
            await asyncio.Event().wait()
        finally:
            with self._changed:
                self._closed = True
                self._changed.notify()
            await asyncio.to_thread(self._thread.join, FLUSH_S)

    def _sampled(self, frame_id: str) -> bool:
        digest = hashlib.sha256(frame_id.encode()).digest()
        return int.from_bytes(digest[:8], "big") < self._pass_share * 2**64

    def _write_all(self) -> None:
        expired_s = -EXPIRE_EVERY_S
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed, EXPIRE_EVERY_S)
                waiting = self._waiting.popleft() if self._waiting else None
                if waiting is None and self._closed:
                    return
            if waiting is not None:
                self._write(waiting)
                with self._changed:
                    self._waiting_bytes -= waiting.size
            if monotonic() - expired_s >= EXPIRE_EVERY_S:
                expired_s = monotonic()
                self._expire()

    def _write(self, waiting: _Queued) -> None:
        frame, inspection = waiting.frame, waiting.inspection
        try:
            image = frame.payload
            if image is None:
                image = encode_png(frame.image) if frame.image is not None else b""
            evidence = Evidence(
                result=waiting.result,
                content_type=(frame.content_type or "application/octet-stream") if frame.payload else "image/png",
                sha256=hashlib.sha256(image).hexdigest(),
                grid=inspection.grid,
                worst_patch=inspection.worst_patch,
                nearest_row=inspection.nearest_row,
            )
            self._store.put(evidence, image, inspection.anomaly_map)
        except Exception as error:  # one frame that cannot be written must not end the thread that writes all others
            self._tell(frame.recipe, "failed", error)
        else:
            self._tell(frame.recipe, "kept")

    def _expire(self) -> None:
        try:
            self._store.expire()
        except Exception as error:  # as above
            self._tell("", "failed", error)

    def _tell_damaged(self, where: str, why: str) -> None:
        """Whichever thread has read the file."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._observer.damaged_file, "evidence", where, why)

    def _tell(self, recipe: str, outcome: str, error: Exception | None = None) -> None:
        """Observers are told on the event loop."""
        if self._loop is None or self._loop.is_closed():
            return
        if error is not None:
            self._loop.call_soon_threadsafe(self._observer.retrying, "evidence", error, 1)
        if recipe:
            self._loop.call_soon_threadsafe(self._observer.evidence, recipe, outcome)
