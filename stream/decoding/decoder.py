"""From a frame as read to the image its recipe sees, on threads of its own: the event loop never computes."""

import asyncio
import hashlib
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor

from patchline.engine.errors import ImageError
from patchline.engine.types import Image
from patchline.stream.decoding.image_file import read_view
from patchline.stream.model.errors import Reason, UnreadableError
from patchline.stream.model.frame import Frame
from patchline.stream.model.limits import Limits
from patchline.stream.model.outcome import Decoded


class Decoder:
    """Checks, decodes and resizes frames on `limits.decode_threads` threads.

    Args:
        prepare: `Engine.prepare`; it must be safe to call from several threads.
        recipes: names that exist; a frame of any other recipe is not inspected.
        limits: bytes, pixels, threads.
    """

    def __init__(self, prepare: Callable[[str, Image], Image], recipes: Collection[str], limits: Limits) -> None:
        self._prepare = prepare
        self._recipes = recipes
        self._limits = limits
        self._threads = ThreadPoolExecutor(limits.decode_threads, thread_name_prefix="decode")

    async def decode(self, frame: Frame, payload: bytes) -> Decoded:
        """The frame's image, checked and at its recipe's size.

        Args:
            frame: what is known of it.
            payload: the encoded image, wherever it was; empty where the frame has pixels.

        Raises:
            UnreadableError: the frame cannot be inspected, for the reason it carries.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.read, frame, payload)

    def read(self, frame: Frame, payload: bytes) -> Decoded:
        """The same on the caller's thread."""
        try:
            self.check(frame)
            return self._decode(frame, payload)
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

    def _decode(self, frame: Frame, payload: bytes) -> Decoded:
        image = frame.image if frame.image is not None else self._read(frame, payload)
        try:
            return Decoded(self._prepare(frame.recipe, image), (image.shape[0], image.shape[1]))
        except ImageError as error:
            raise UnreadableError(Reason.UNSUPPORTED_IMAGE, str(error)) from error

    def _read(self, frame: Frame, payload: bytes) -> Image:
        limits = self._limits
        max_bytes = limits.max_frame_bytes if frame.reference is None else limits.max_referenced_bytes
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
        return read_view(payload, max_bytes=max_bytes, max_pixels=limits.max_pixels)

    def close(self) -> None:
        """Let the threads end; what they still decode is thrown away."""
        self._threads.shutdown(wait=False, cancel_futures=True)
