"""The thread of one camera: opens it, has its pictures decoded, and opens it again, whatever happens.

No fault of a camera leaves this thread but as a state. Every picture that arrives ends as one that is handed over or
as one that is dropped for a cause.
"""

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

from patchline.stream.cameras.config import CameraConfig
from patchline.stream.cameras.container import ContainerFeed, scheme_of
from patchline.stream.cameras.decoder import PictureDecoder
from patchline.stream.cameras.feed import ArrivedPicture, EndOfRecordingError, Feed, RtspFeed
from patchline.stream.cameras.reconnect import Pauses
from patchline.stream.cameras.rtsp.session import RtspSession
from patchline.stream.cameras.trouble import CameraTroubleError
from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.errors import DropCause, SourceError

_TAKE_S = 0.25
_QUIET_S = 2.0
"""A stream that is silent for so long is said to be; it is opened again after `read_timeout_s`."""
_QUIET_PERIODS = 3.0
_NO_PICTURE_S = 5.0
_GIVE_UP_S = 30.0
"""A stream that makes no picture for so long is opened again: many cameras send a keyframe at the beginning."""
_REPEAT_S = 10.0


@dataclass(frozen=True, slots=True)
class DecodedPicture:
    """A picture, and when its last byte was here."""

    video_frame: Any
    time: datetime
    arrived_s: float


class Told:
    """What a reader tells; each is called on its thread."""

    def __init__(
        self,
        *,
        picture: Callable[[DecodedPicture], None],
        dropped: Callable[[DropCause], None],
        state: Callable[[CameraState, str], None],
        connected: Callable[[bool], None],
        retrying: Callable[[BaseException, int], None],
    ) -> None:
        self.picture, self.dropped, self.state = picture, dropped, state
        self.connected, self.retrying = connected, retrying


@dataclass(slots=True)
class _Connection:
    """What is known of the stream since it was opened."""

    feed: Feed
    decoder: PictureDecoder
    packets_at_s: float
    picture_at_s: float
    arrived: dict[int, ArrivedPicture] = field(default_factory=dict)
    number: int = 0
    has_packets: bool = False
    has_picture: bool = False
    period_s: float = 0.0
    waits_for_key: bool = True
    is_damaged: bool = False
    failures: int = 0
    """Pictures that could not be decoded since the last one that could."""


class CameraReader:
    """Reads one camera or recording until it is stopped. `run` is a thread; `stop` is for any other."""

    def __init__(self, config: CameraConfig, told: Told) -> None:
        self._config, self._told = config, told
        self._stop = threading.Event()
        self._feed: Feed | None = None
        self._session: RtspSession | None = None
        self._pauses = Pauses(config)
        self._state: CameraState | None = None
        self._detail = ""
        self._attempt = 0
        self._said_at_s = -_REPEAT_S

    def stop(self) -> None:
        """Have the thread end: at once where it waits for a camera, at a timeout where a library does not let go."""
        self._stop.set()
        for each in (self._session, self._feed):
            if each is not None:
                each.cut()

    @property
    def is_stopped(self) -> bool:
        """Whether it was told to."""
        return self._stop.is_set()

    def run(self) -> None:
        """Read on and on.

        Raises:
            SourceError: a recording cannot be read.
        """
        if self._config.is_live:
            self._tell_state(CameraState.CONNECTING, "")
        while not self._stop.is_set():
            try:
                self._read_once()
            except EndOfRecordingError:
                return
            except CameraTroubleError as trouble:
                self._fail(trouble)
            except Exception as error:
                self._fail(CameraTroubleError(CameraState.UNDECODABLE, f"reading it failed ({type(error).__name__})"))

    def _fail(self, trouble: CameraTroubleError) -> None:
        if self._stop.is_set():
            return
        if not self._config.is_live:
            raise SourceError(str(trouble)) from None
        self._tell_state(trouble.state, str(trouble))
        self._attempt += 1
        if (now_s := monotonic()) - self._said_at_s >= _REPEAT_S:
            self._said_at_s = now_s
            self._told.retrying(trouble, self._attempt)
        self._stop.wait(self._pauses.after(trouble.state))

    def _opening(self, session: RtspSession) -> None:
        self._session = session
        if self._stop.is_set():
            session.cut()

    def _read_once(self) -> None:
        self._feed = feed = open_feed(self._config, self._opening)
        now_s = monotonic()
        connection = None
        try:
            decoder = PictureDecoder(feed, max_pixels=self._config.max_pixels, live=self._config.is_live)
            connection = _Connection(feed, decoder, now_s, now_s, waits_for_key=self._config.is_live)
            while not self._stop.is_set():
                pictures = feed.take(monotonic() + _TAKE_S)
                if pictures is not None:
                    self._arrived(connection, pictures)
                self._look(connection)
        finally:
            self._feed = self._session = None
            if connection is not None:
                self._end(connection)
            with suppress(Exception):
                feed.close()

    def _arrived(self, connection: _Connection, pictures: Iterable[ArrivedPicture]) -> None:
        connection.packets_at_s = monotonic()
        connection.has_packets = True
        for picture in pictures:
            self._decode(connection, picture)

    def _decode(self, connection: _Connection, picture: ArrivedPicture) -> None:
        if self._config.is_live:
            begins = picture.is_key and picture.is_whole
            if not begins and not (picture.is_whole and picture.is_next):
                self._damage(connection, "packets were lost on the way")
            if connection.waits_for_key:
                if not begins:
                    self._told.dropped(DropCause.DAMAGED if connection.is_damaged else DropCause.NO_KEYFRAME)
                    return
                connection.waits_for_key = connection.is_damaged = False
        connection.number += 1
        connection.arrived[connection.number] = picture
        self._come_out(connection, connection.decoder.decode(picture.data, connection.number))
        if connection.decoder.failed and self._config.is_live:
            connection.failures += 1
            self._damage(connection, "a picture could not be decoded")

    def _damage(self, connection: _Connection, why: str) -> None:
        """Nothing is judged until the next keyframe."""
        if not connection.waits_for_key:  # what the decoder holds back was whole
            self._come_out(connection, connection.decoder.end())
        connection.waits_for_key = True
        if connection.has_picture:
            connection.is_damaged = True
            if self._state is not CameraState.UNDECODABLE:
                over = "; `transport: tcp` would lose none" if self._config.transport == "udp" else ""
                self._tell_state(CameraState.DAMAGED, f"{why}: nothing is judged until the next keyframe{over}")

    def _come_out(self, connection: _Connection, decoded: list[tuple[int, Any]]) -> None:
        for number, frame in decoded:
            arrived = connection.arrived.get(number) or connection.arrived[connection.number]
            now_s = monotonic()
            connection.period_s = max(now_s - connection.picture_at_s if connection.has_picture else 0.0, 0.0)
            connection.picture_at_s = now_s
            if not connection.has_picture:
                connection.has_picture = True
                self._told.connected(True)
            connection.failures = 0
            if self._config.is_live:
                self._attempt = 0
                self._pauses.picture()
                late = (
                    "the stream has B-frames: each picture comes with a later one"
                    if connection.decoder.reorders
                    else ""
                )
                self._tell_state(CameraState.OK, late)
            self._told.picture(DecodedPicture(frame, arrived.time, arrived.arrived_s))
        for cause in connection.decoder.lost:
            self._told.dropped(cause)
        connection.decoder.lost.clear()
        for number in [n for n in connection.arrived if n <= connection.number - 128]:
            del connection.arrived[number]

    def _look(self, connection: _Connection) -> None:
        """Whether what does not come is missed."""
        if not self._config.is_live:
            return
        now_s, config = monotonic(), self._config
        quiet_s, dark_s = now_s - connection.packets_at_s, now_s - connection.picture_at_s
        if quiet_s >= config.read_timeout_s:
            raise CameraTroubleError(CameraState.NO_PACKETS, f"nothing came for {config.read_timeout_s:g} s")
        if quiet_s >= max(_QUIET_S, _QUIET_PERIODS * connection.period_s):
            self._tell_state(CameraState.NO_PACKETS, "the camera is connected and sends nothing")
        elif connection.has_packets and dark_s >= max(_NO_PICTURE_S, _QUIET_PERIODS * connection.period_s):
            undecodable = connection.failures > connection.is_damaged
            if connection.is_damaged and not undecodable and dark_s < _GIVE_UP_S:
                return
            state = CameraState.UNDECODABLE if undecodable else CameraState.NO_PICTURES
            detail = (
                "no picture that comes can be decoded" if undecodable else "packets come, and no keyframe among them"
            )
            self._tell_state(state, detail)
            if dark_s >= max(_GIVE_UP_S, _QUIET_PERIODS * connection.period_s):
                raise CameraTroubleError(state, detail)

    def _end(self, connection: _Connection) -> None:
        """Count what the decoder still holds, and hand on what is whole."""
        self._come_out(connection, connection.decoder.end())
        if connection.has_picture:
            self._told.connected(False)

    def _tell_state(self, state: CameraState, detail: str) -> None:
        if (state, detail) != (self._state, self._detail):
            self._state, self._detail = state, detail
            self._told.state(state, detail)


def open_feed(config: CameraConfig, opening: Callable[[RtspSession], None] | None = None) -> Feed:
    """Open a camera once.

    Args:
        config: where and how.
        opening: is given what another thread may cut meanwhile, where that can be.

    Raises:
        CameraTroubleError: it cannot be opened.
    """
    url = current_url(config)
    if scheme_of(url) not in ("rtsp", "rtsps"):
        return ContainerFeed(config, url)
    session = RtspSession(url, transport=config.transport, ca_file=config.ca_file)
    if opening is not None:
        opening(session)
    try:
        return RtspFeed(session, session.open(config.open_timeout_s))
    except BaseException:
        session.close()
        raise


def current_url(config: CameraConfig) -> str:
    """Where the camera is now: a password in a file may have changed since.

    Raises:
        CameraTroubleError: the file cannot be read.
    """
    if config.url_file is None:
        return config.url
    try:
        return Path(config.url_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise CameraTroubleError(CameraState.REFUSED, "the file of its address (url_file) cannot be read") from None
