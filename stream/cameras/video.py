"""Frames from a camera or a recording, read on a thread of its own.

A live camera cannot be replayed and does not wait. While the engine is busy its freshest frame waits in a slot; the
frames it replaces are counted as dropped, as are pictures that were lost or damaged. Whatever is the matter with a
camera is its state, and it is opened again; nothing of it ends the stream. A recording is read to its end, every frame
in turn.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from patchline.engine.types import Image
from patchline.stream.cameras.config import CameraConfig
from patchline.stream.cameras.picture_watch import PictureWatch
from patchline.stream.cameras.reader import CameraReader, DecodedPicture, Told
from patchline.stream.cameras.slot import Slot
from patchline.stream.model.errors import DropCause, Reason, SourceError
from patchline.stream.model.frame import Frame
from patchline.stream.model.observer import Observer

_END_S = 0.15
"""How long closing waits for the reader. One that hangs in a library ends by itself, or with the process: it is a
daemon."""


@dataclass(frozen=True, slots=True)
class _Picture:
    decoded: DecodedPicture
    frame_id: str


class VideoSource:
    """One camera or recording.

    Frame ids are `camera/start/number` for a live camera, `camera/number` for a recording. A frame's time is when its
    last byte was here.

    Args:
        config: the camera.
        observer: told of states and drops.
        watch: looks at each picture; one that has a flaw is not judged. None: every picture is.
    """

    def __init__(
        self, config: CameraConfig, *, observer: Observer | None = None, watch: PictureWatch | None = None
    ) -> None:
        self._config = config
        self._watch = watch
        self._observer = observer or Observer()
        self._reader = CameraReader(
            config,
            Told(
                picture=self._hand_over,
                dropped=lambda cause: self._tell(self._dropped, cause),
                state=lambda state, detail: self._tell(self._observer.camera_state, config.name, state, detail),
                connected=lambda up: self._tell(self._observer.camera_connected, config.name, up),
                retrying=lambda error, attempt: self._tell(
                    self._observer.retrying, f"camera {config.name}", error, attempt
                ),
            ),
        )
        self._slot: Slot[_Picture] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()
        start = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._id_prefix = f"{config.name}/{start}" if config.is_live else config.name
        self._count = 0

    async def open(self) -> None:
        """Start reading; a camera that is not there yet is waited for."""
        self._loop = asyncio.get_running_loop()
        self._slot = slot = Slot[_Picture](self._loop)
        threading.Thread(target=self._read, args=(slot,), name=f"camera {self._config.name}", daemon=True).start()

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
        while (picture := await self._slot.take()) is not None:
            arrived_s = picture.decoded.arrived_s
            try:
                image: Image = await asyncio.to_thread(picture.decoded.video_frame.to_ndarray, format="rgb24")
                flaw = await self._watch.look(image, arrived_s) if self._watch is not None else None
            except asyncio.CancelledError:
                self._dropped(DropCause.SHUTDOWN)
                raise
            except Exception:
                self._dropped(DropCause.UNDECODABLE)
                continue
            return Frame(
                frame_id=picture.frame_id,
                camera=self._config.name,
                recipe=self._config.recipe,
                time=picture.decoded.time,
                received_s=arrived_s,
                image=image,
                flaw=flaw.detail if flaw is not None else None,
                flaw_reason=flaw.reason if flaw is not None else Reason.MALFORMED_RECORD,
            )
        raise StopAsyncIteration

    async def close(self) -> None:
        """Stop reading; the frame that waits is dropped."""
        self._reader.stop()
        if self._slot is None:
            return
        self._slot.end()
        with contextlib.suppress(SourceError):
            if await self._slot.take() is not None:
                self._dropped(DropCause.SHUTDOWN)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await self._ended.wait()

    # On the reader's thread from here.

    def _read(self, slot: Slot[_Picture]) -> None:
        try:
            self._reader.run()
            slot.end()
        except Exception as error:
            slot.end(None if self._reader.is_stopped else error)
        finally:
            self._tell(self._ended.set)

    def _hand_over(self, decoded: DecodedPicture) -> None:
        slot = self._slot
        if slot is None:
            return
        self._count += 1
        picture = _Picture(decoded, f"{self._id_prefix}/{self._count:06}")
        if not self._config.is_live:
            if not slot.put_when_free(picture):
                self._tell(self._dropped, DropCause.SHUTDOWN)
        elif slot.put_latest(picture) is not None:
            self._tell(self._dropped, DropCause.SHUTDOWN if self._reader.is_stopped else DropCause.SUPERSEDED)

    def _tell(self, hook: Any, *arguments: object) -> None:
        if self._loop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):  # it closes at this moment
                self._loop.call_soon_threadsafe(hook, *arguments)

    # On the event loop.

    def _dropped(self, cause: DropCause) -> None:
        self._observer.frame_received(self._config.name)
        self._observer.frame_dropped(self._config.name, cause)
