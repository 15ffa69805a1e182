"""Frames from a camera (RTSP) or a video file, read by PyAV on a thread of its own.

A live camera cannot be replayed and does not wait. While the engine is busy its freshest frame waits in a slot; the
frames it replaces are counted as dropped, as are pictures the decoder gave up. A stream that fails, ends or falls
silent is opened again, with growing pauses. A recording is read to its end, every frame in turn.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import av
from av.error import FFmpegError, InvalidDataError
from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event, wait_exponential
from tenacity.stop import stop_when_event_set

from patchline.stream.cameras.config import CameraConfig
from patchline.stream.cameras.picture_watch import PictureWatch
from patchline.stream.cameras.slot import Slot
from patchline.stream.model.errors import DropCause, Reason, SourceError, SourceUnavailableError
from patchline.stream.model.frame import Frame
from patchline.stream.model.observer import Observer
from patchline.stream.support.redaction import redact_url

_JOIN_S = 2.0
"""How long closing waits for the reader; one that hangs in the network ends by itself at its timeout."""


@dataclass(frozen=True, slots=True)
class _Picture:
    video_frame: Any
    frame_id: str
    time: datetime
    received_s: float


class VideoSource:
    """One camera or recording.

    Frame ids are `camera/start/number` for a live camera, `camera/number` for a recording. The time of a live frame is
    when it was read; that of a recording's frame as well.

    Args:
        config: the camera.
        observer: told of connections and drops.
        watch: looks at each picture; one that has a flaw is not judged. None: every picture is.
    """

    def __init__(
        self, config: CameraConfig, *, observer: Observer | None = None, watch: PictureWatch | None = None
    ) -> None:
        self._config = config
        self._watch = watch
        self._observer = observer or Observer()
        self._where = redact_url(config.url)
        self._stop = threading.Event()
        self._slot: Slot[_Picture] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        start = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._id_prefix = f"{config.name}/{start}" if config.is_live else config.name
        self._count = 0

    async def open(self) -> None:
        """Start reading; a camera that is not there yet is waited for."""
        self._loop = asyncio.get_running_loop()
        self._slot = Slot(self._loop)
        self._thread = threading.Thread(
            target=self._read, args=(self._slot,), name=f"camera {self._config.name}", daemon=True
        )
        self._thread.start()

    @property
    def live_camera(self) -> str | None:
        """The camera's name where it is live: its freshest frame alone waits."""
        return self._config.name if self._config.is_live else None

    async def until_waiting(self) -> bool:
        """See `LiveSource`.

        Raises:
            SourceError: it is not open.
        """
        if self._slot is None:
            raise SourceError(f"camera {self._config.name!r} is not open")
        return await self._slot.until_filled()

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        """The freshest frame of a camera, the next one of a recording.

        Raises:
            SourceError: a recording that cannot be read.
        """
        if self._slot is None:
            raise SourceError(f"camera {self._config.name!r} is not open")
        picture = await self._slot.take()
        if picture is None:
            raise StopAsyncIteration
        try:
            image = await asyncio.to_thread(picture.video_frame.to_ndarray, format="rgb24")
            flaw = await self._watch.look(image, picture.received_s) if self._watch is not None else None
        except asyncio.CancelledError:
            self._dropped(DropCause.SHUTDOWN)
            raise
        return Frame(
            frame_id=picture.frame_id,
            camera=self._config.name,
            recipe=self._config.recipe,
            time=picture.time,
            received_s=picture.received_s,
            image=image,
            flaw=flaw.detail if flaw is not None else None,
            flaw_reason=flaw.reason if flaw is not None else Reason.MALFORMED_RECORD,
        )

    async def close(self) -> None:
        """Stop reading; the frame that waits is dropped."""
        self._stop.set()
        if self._slot is None or self._thread is None:
            return
        self._slot.end()
        with contextlib.suppress(SourceError):
            if await self._slot.take() is not None:
                self._dropped(DropCause.SHUTDOWN)
        await asyncio.to_thread(self._thread.join, _JOIN_S)
        await asyncio.sleep(0)  # what the thread still had to tell

    # On the reader's thread from here.

    def _read(self, slot: Slot[_Picture]) -> None:
        try:
            while not self._stop.is_set():
                with self._open_patiently() as container:
                    self._tell(self._observer.camera_connected, self._config.name, True)
                    try:
                        self._read_pictures(container, slot)
                        if not self._config.is_live:
                            break
                        self._tell_retry(SourceUnavailableError(f"{self._where} ended"), 1)
                    except FFmpegError as error:
                        if not self._config.is_live:
                            raise SourceError(f"{self._where} cannot be read on: {_reason_of(error)}") from None
                        self._tell_retry(SourceUnavailableError(f"{self._where} failed: {_reason_of(error)}"), 1)
                    finally:
                        self._tell(self._observer.camera_connected, self._config.name, False)
                self._stop.wait(self._config.reconnect_min_s)
            slot.end()
        except Exception as error:  # whatever ends this thread must reach the task that waits for frames
            slot.end(None if self._stop.is_set() else error)

    @contextlib.contextmanager
    def _open_patiently(self) -> Iterator[Any]:
        retrying = Retrying(
            retry=retry_if_exception_type(SourceUnavailableError),
            wait=wait_exponential(multiplier=self._config.reconnect_min_s, max=self._config.reconnect_max_s),
            sleep=sleep_using_event(self._stop),
            stop=stop_when_event_set(self._stop),
            before_sleep=lambda state: self._tell_retry(_error_of(state), state.attempt_number),
            reraise=True,
        )
        container = retrying(self._open_once)
        try:
            yield container
        finally:
            container.close()

    def _open_once(self) -> Any:
        config = self._config
        options: dict[str, str] = (
            {"rtsp_transport": config.transport} if config.url.startswith(("rtsp:", "rtsps:")) else {}
        )
        if config.is_live:
            options |= {"fflags": "nobuffer", "flags": "low_delay"}
        try:
            container = av.open(config.url, options=options, timeout=(config.open_timeout_s, config.read_timeout_s))
        except FFmpegError as error:
            # Not chained: the library's message has the whole URL in it.
            kind = SourceUnavailableError if config.is_live else SourceError
            raise kind(f"{self._where} cannot be opened: {_reason_of(error)}") from None
        if not container.streams.video:
            container.close()
            raise SourceError(f"{self._where} has no video stream")
        return container

    def _read_pictures(self, container: Any, slot: Slot[_Picture]) -> None:
        stream = container.streams.video[0]
        # Threads across frames hold frames back; only a recording has the time.
        stream.thread_type = "SLICE" if self._config.is_live else "AUTO"
        for packet in container.demux(stream):
            if self._stop.is_set():
                return
            height, width = stream.codec_context.height, stream.codec_context.width
            if height * width > self._config.max_pixels:
                self._tell(self._dropped, DropCause.TOO_MANY_PIXELS)
                continue
            try:
                video_frames = packet.decode()
            except InvalidDataError:
                self._tell(self._dropped, DropCause.UNDECODABLE)
                continue
            for video_frame in video_frames:
                if video_frame.is_corrupt:
                    self._tell(self._dropped, DropCause.UNDECODABLE)
                else:
                    self._hand_over(video_frame, slot)

    def _hand_over(self, video_frame: Any, slot: Slot[_Picture]) -> None:
        self._count += 1
        picture = _Picture(video_frame, f"{self._id_prefix}/{self._count:06}", datetime.now(UTC), monotonic())
        if not self._config.is_live:
            slot.put_when_free(picture)
        elif slot.put_latest(picture) is not None:
            self._tell(self._dropped, DropCause.SHUTDOWN if self._stop.is_set() else DropCause.SUPERSEDED)

    def _tell(self, hook: Any, *arguments: object) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(hook, *arguments)

    def _tell_retry(self, error: BaseException, attempt: int) -> None:
        self._tell(self._observer.retrying, f"camera {self._config.name}", error, attempt)

    # On the event loop.

    def _dropped(self, cause: DropCause) -> None:
        self._observer.frame_received(self._config.name)
        self._observer.frame_dropped(self._config.name, cause)


def _reason_of(error: FFmpegError) -> str:
    # `str(error)` would name the URL with its credentials.
    return error.strerror or type(error).__name__


def _error_of(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome is not None else None
    return error or SourceUnavailableError("unknown")
