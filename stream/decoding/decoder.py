"""From a frame as read to the image its recipe sees, on threads of its own: the event loop never computes."""

import asyncio
import hashlib
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

from patchline.engine.errors import ImageError
from patchline.engine.types import Image
from patchline.stream.decoding.allowance import ThreadClock
from patchline.stream.decoding.image_file import UnusualImageError, read_view
from patchline.stream.decoding.separate_process import SeparateProcess
from patchline.stream.model.errors import Reason, UnreadableError
from patchline.stream.model.frame import Frame
from patchline.stream.model.limits import Limits
from patchline.stream.model.outcome import Decoded


class Decoder:
    """Checks, decodes and resizes frames on `limits.decode_threads` threads.

    An image that looks unusual is decoded in a process of its own, and whoever waits for that holds up none of these
    threads.

    Args:
        prepare: `Engine.prepare`; it must be safe to call from several threads.
        recipes: names that exist; a frame of any other recipe is not inspected.
        limits: bytes, pixels, time, threads.
    """

    def __init__(self, prepare: Callable[[str, Image], Image], recipes: Collection[str], limits: Limits) -> None:
        self._prepare = prepare
        self._recipes = recipes
        self._limits = limits
        self._threads = ThreadPoolExecutor(limits.decode_threads, thread_name_prefix="decode")
        self._separate_thread = ThreadPoolExecutor(1, thread_name_prefix="decode-separately")
        self._separate_process = SeparateProcess(limits.decode_s)

    async def decode(
        self, frame: Frame, payload: bytes, waiting: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> Decoded:
        """The frame's image, checked and at its recipe's size.

        Args:
            frame: what is known of it.
            payload: the encoded image, wherever it was; empty where the frame has pixels.
            waiting: entered while an unusual image waits for its turn in the other process, and is decoded there.

        Raises:
            UnreadableError: the frame cannot be inspected, for the reason it carries.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, self._hashed, frame, payload, None)
        except UnusualImageError as unusual:
            with waiting():
                return await loop.run_in_executor(self._separate_thread, self._hashed, frame, payload, unusual)

    def read(self, frame: Frame, payload: bytes) -> Decoded:
        """The same on the caller's thread."""
        try:
            return self._hashed(frame, payload, None)
        except UnusualImageError as unusual:
            return self._hashed(frame, payload, unusual)

    def _hashed(self, frame: Frame, payload: bytes, unusual: UnusualImageError | None) -> Decoded:
        try:
            if unusual is None:
                self.check(frame)
            return self._decode(frame, payload, unusual)
        except UnreadableError as error:
            error.sha256 = hashlib.sha256(payload).hexdigest() if frame.image is None else None
            raise

    def check(self, frame: Frame) -> None:
        """Look at all but the image.

        Raises:
            UnreadableError: MALFORMED_RECORD, UNDECODABLE_RECORD or UNKNOWN_RECIPE.
        """
        if frame.flaw is not None:
            raise UnreadableError(frame.flaw_reason, frame.flaw)
        if frame.recipe not in self._recipes:
            known = ", ".join(sorted(self._recipes)) or "none"
            raise UnreadableError(
                Reason.UNKNOWN_RECIPE, f"the frame asks for recipe {frame.recipe!r}, expected one of: {known}"
            )

    def _decode(self, frame: Frame, payload: bytes, unusual: UnusualImageError | None) -> Decoded:
        if unusual is not None:
            image = self._separate_process.read_view(
                unusual, max_bytes=self._max_bytes(frame), max_pixels=self._limits.max_pixels
            )
        else:
            image = frame.image if frame.image is not None else self._read(frame, payload)
        try:
            return Decoded(self._prepare(frame.recipe, image), (image.shape[0], image.shape[1]))
        except ImageError as error:
            raise UnreadableError(Reason.UNSUPPORTED_IMAGE, str(error)) from error

    def _read(self, frame: Frame, payload: bytes) -> Image:
        limits, max_bytes = self._limits, self._max_bytes(frame)
        # The hash of an oversized frame is not worth computing; read_image names the size as the reason.
        if payload and frame.content_sha256 is not None and len(payload) <= max_bytes:
            found = hashlib.sha256(payload).hexdigest()
            if found != frame.content_sha256.lower():
                raise UnreadableError(
                    Reason.HASH_MISMATCH, f"the bytes have SHA-256 {found}, the producer sent {frame.content_sha256}"
                )
        # The bytes decide what a frame is. The content type can only rule it out.
        kind = (frame.content_type or "").partition(";")[0].strip().lower()
        if payload and kind and not kind.startswith("image/") and kind != "application/octet-stream":
            raise UnreadableError(
                Reason.NOT_AN_IMAGE, f"the content type is {kind!r}, expected image/… or application/octet-stream"
            )
        clock = ThreadClock(limits.decode_s)
        return read_view(payload, max_bytes=max_bytes, max_pixels=limits.max_pixels, clock=clock, unusual=False)

    def _max_bytes(self, frame: Frame) -> int:
        return self._limits.max_frame_bytes if frame.reference is None else self._limits.max_referenced_bytes

    def close(self) -> None:
        """Let the threads end; what they still decode is thrown away."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._separate_thread.shutdown(wait=False, cancel_futures=True)
        self._separate_process.close()
