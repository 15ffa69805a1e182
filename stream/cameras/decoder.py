"""Coded pictures to pictures, each under the number it came with."""

from contextlib import suppress
from typing import Any

import av
from av.error import ArgumentError, FFmpegError

from patchline.stream.cameras.feed import Feed
from patchline.stream.model.errors import DropCause

_MOST_PENDING = 64
"""So many pictures a decoder may hold back; what it has held longer it has given up."""


class PictureDecoder:
    """The decoder of one connection. No call raises what a camera sent: it says which pictures are lost, and why.

    A picture that lacks anything is an error (`err_detect=explode`), so that none is guessed.
    """

    def __init__(self, feed: Feed, *, max_pixels: int, live: bool) -> None:
        options = {"err_detect": "explode", "max_pixels": str(max_pixels)}
        self._live = live
        self._context: Any = feed.context
        if self._context is None:
            self._context = av.CodecContext.create(feed.codec, "r")
            if feed.parameter_sets:
                self._context.extradata = feed.parameter_sets
        if not self._context.is_open:
            self._context.options = options if live else {"max_pixels": str(max_pixels)}
            # Threads across pictures hold pictures back; only a recording has the time.
            self._context.thread_type = "SLICE" if live else "AUTO"
            if live:
                self._context.thread_count = 1
        self._pending: list[int] = []
        self.lost: list[DropCause] = []
        """Pictures that will not come, since this was last emptied."""
        self.failed = False
        """The last picture could not be decoded: others rest on it."""

    @property
    def codec(self) -> str:
        """The codec's name."""
        return str(self._context.name)

    @property
    def reorders(self) -> bool:
        """Whether the stream has B-frames: a picture then comes out when a later one has come."""
        return bool(self._context.has_b_frames)

    def decode(self, data: Any, number: int) -> list[tuple[int, Any]]:
        """The pictures (number, PyAV's frame) that come out with this one, in the order of time."""
        packet = data if isinstance(data, av.Packet) else av.Packet(data)
        packet.pts = packet.dts = number
        self._pending.append(number)
        self.failed = False
        try:
            frames = self._context.decode(packet)
        except ArgumentError:
            return self._fail(number, DropCause.TOO_MANY_PIXELS)
        except (FFmpegError, ValueError):
            return self._fail(number, DropCause.UNDECODABLE)
        return self._sorted_out(frames)

    def _fail(self, number: int, cause: DropCause) -> list[tuple[int, Any]]:
        self.failed = True
        self._pending.remove(number)
        self.lost.append(cause)
        return []

    def _sorted_out(self, frames: list[Any]) -> list[tuple[int, Any]]:
        whole = []
        for frame in frames:
            number = frame.pts
            if number in self._pending:
                self._pending.remove(number)
            else:  # a second picture of one packet
                number = -1
            if frame.is_corrupt:
                self.failed = True
                self.lost.append(DropCause.UNDECODABLE)
            else:
                whole.append((number, frame))
        if self._live and not self.reorders:  # a recording's threads hold pictures back
            if frames:
                self._give_up(len(self._pending))
            elif len(self._pending) > 1:  # one alone may be the first field of a picture
                self.failed = True
        self._give_up(len(self._pending) - _MOST_PENDING)
        return whole

    def _give_up(self, count: int) -> None:
        for _ in range(count):
            self._pending.pop(0)
            self.lost.append(DropCause.UNDECODABLE)

    def end(self) -> list[tuple[int, Any]]:
        """What the decoder still holds; it begins anew after that."""
        frames: list[Any] = []
        with suppress(FFmpegError, ValueError):
            frames = self._context.decode(None)
        whole = self._sorted_out(frames)
        self._give_up(len(self._pending))
        with suppress(FFmpegError):
            self._context.flush_buffers()
        return whole
