"""What a connected camera or recording gives: coded pictures in their order."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Protocol

from patchline.stream.cameras.rtsp.access_units import AccessUnits, CodedPicture
from patchline.stream.cameras.rtsp.description import VideoTrack
from patchline.stream.cameras.rtsp.jpeg_pictures import JpegPictures
from patchline.stream.cameras.rtsp.session import RtspSession


@dataclass(frozen=True, slots=True)
class ArrivedPicture:
    """A coded picture, and when its last byte was here."""

    data: Any
    """Bytes, or PyAV's packet."""
    is_key: bool
    is_whole: bool
    is_next: bool
    time: datetime
    arrived_s: float


class Feed(Protocol):
    """A stream that was opened. All but `cut` belong to one thread."""

    codec: str
    parameter_sets: bytes
    context: Any
    """PyAV's decoder where the feed has one already; else one is made for the codec."""

    def take(self, until_s: float) -> Iterator[ArrivedPicture] | None:
        """The pictures that the next bytes complete; None where no bytes come by that time of the monotonic clock.

        Raises:
            CameraTroubleError: the stream is lost.
            EndOfRecordingError: there is no more.
        """

    def cut(self) -> None:
        """Wake whoever takes, where that can be; from any thread."""

    def close(self) -> None:
        """Let everything go."""


class EndOfRecordingError(Exception):
    """A recording has no more pictures."""


class RtspFeed:
    """Pictures of an RTSP session."""

    codec: str
    parameter_sets: bytes
    context: Any = None

    def __init__(self, session: RtspSession, track: VideoTrack) -> None:
        self._session = session
        self.codec, self.parameter_sets = track.codec, track.parameter_sets
        self._units = JpegPictures() if track.codec == "mjpeg" else AccessUnits(track.codec)

    def take(self, until_s: float) -> Iterator[ArrivedPicture] | None:
        """See `Feed`."""
        taken = self._session.take(until_s)
        if taken is None:
            return None
        packet, lost = taken
        return map(_arrived, self._units.take(packet, lost=lost))

    def cut(self) -> None:
        """See `Feed`."""
        self._session.cut()

    def close(self) -> None:
        """See `Feed`."""
        self._session.close()


def _arrived(picture: CodedPicture) -> ArrivedPicture:
    return ArrivedPicture(
        picture.data, picture.is_key, picture.is_whole, picture.is_next, datetime.now(UTC), monotonic()
    )
