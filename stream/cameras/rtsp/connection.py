"""One connection to a camera: its answers, and the packets that lie between them."""

import select
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from patchline.stream.cameras.rtsp.address import RtspAddress
from patchline.stream.cameras.trouble import CameraTroubleError, connection_trouble
from patchline.stream.model.camera_state import CameraState

_DOLLAR = 0x24
_LONGEST_HEAD_BYTES = 16_384
_LONGEST_BODY_BYTES = 1_048_576
_RECEIVE_BYTES = 262_144
_CONNECT_LOOK_S = 0.1
"""How often a connection that comes about looks whether it is still wanted."""
_TRY_S = 2.0
"""One attempt to connect: where a host is away, the next attempt finds it sooner than TCP's growing pauses do."""


class ChannelPacket(NamedTuple):
    """A packet of an interleaved channel."""

    channel: int
    payload: bytes


@dataclass(slots=True)
class RtspAnswer:
    """An answer; the names of its headers in small letters, each with all its values."""

    status: int
    headers: dict[str, list[str]] = field(default_factory=dict)
    body: bytes = b""

    def header(self, name: str) -> str:
        """The first value of a header; empty where it is not there."""
        return self.headers.get(name, [""])[0]


class RtspConnection:
    """Bytes of one socket, as answers and packets. All but `cut` belong to one thread."""

    def __init__(self, address: RtspAddress, ca_file: Path | None) -> None:
        self._address, self._ca_file = address, ca_file
        self._socket: socket.socket | None = None
        self._cut = threading.Event()
        self._data = bytearray()
        self._read = 0

    def open(self, timeout_s: float) -> None:
        """Connect, and have the certificate proved before a word is said.

        Raises:
            CameraTroubleError: no connection comes about, or it is not to be trusted.
        """
        address, until_s = self._address, monotonic() + timeout_s
        try:
            found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            error: OSError = OSError()
            for family, kind, protocol, _, place in found:
                plain = socket.socket(family, kind, protocol)
                try:
                    self._connect(plain, place, min(until_s, monotonic() + _TRY_S))
                except OSError as failed:
                    plain.close()
                    error = failed
                    continue
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._socket = plain
                if address.is_encrypted:
                    context = ssl.create_default_context(cafile=None if self._ca_file is None else str(self._ca_file))
                    plain.settimeout(max(0.01, until_s - monotonic()))
                    self._socket = context.wrap_socket(plain, server_hostname=address.host)
                return
            raise error
        except OSError as failed:
            self.close()
            raise connection_trouble(failed, address.where) from None

    def _connect(self, plain: socket.socket, place: tuple[object, ...], until_s: float) -> None:
        plain.setblocking(False)
        plain.connect_ex(place)
        while monotonic() < until_s and not self._cut.is_set():
            if select.select([], [plain], [], _CONNECT_LOOK_S)[1]:
                code = plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise ConnectionRefusedError if code == 111 else OSError(code, "")
                return
        raise TimeoutError

    @property
    def socket(self) -> "socket.socket":
        """The open socket. Raises CameraTroubleError where there is none any more."""
        if self._socket is None or self._cut.is_set():
            raise CameraTroubleError(CameraState.UNREACHABLE, "closed")
        return self._socket

    def send(self, data: bytes) -> None:
        """Send all of it. Raises CameraTroubleError where that fails."""
        try:
            self.socket.settimeout(_TRY_S)
            self.socket.sendall(data)
        except OSError as error:
            raise connection_trouble(error, self._address.where) from None

    def take(self, until_s: float) -> RtspAnswer | ChannelPacket | None:
        """The next answer or packet; None where there is none by that time of the monotonic clock.

        Raises:
            CameraTroubleError: the connection is lost, or what came is neither.
        """
        while (whole := self._parsed()) is None:
            if not self._receive(until_s):
                return None
        return whole

    def take_received(self) -> RtspAnswer | ChannelPacket | None:
        """What has been received already; None where that is nothing whole. Raises as `take`."""
        return self._parsed()

    def _receive(self, until_s: float) -> bool:
        left_s = until_s - monotonic()
        if left_s <= 0:
            return False
        try:
            connected = self.socket
            connected.settimeout(left_s)
            more = connected.recv(_RECEIVE_BYTES)
        except TimeoutError:
            return False
        except OSError as error:
            raise connection_trouble(error, self._address.where) from None
        if not more:
            raise CameraTroubleError(CameraState.UNREACHABLE, f"{self._address.where} closed the connection")
        if self._read:
            del self._data[: self._read]
            self._read = 0
        self._data += more
        return True

    def _parsed(self) -> RtspAnswer | ChannelPacket | None:
        data, begin = self._data, self._read
        have = len(data) - begin
        if have < 4:
            return None
        if data[begin] == _DOLLAR:
            size = int.from_bytes(data[begin + 2 : begin + 4])
            if have < 4 + size:
                return None
            self._read = begin + 4 + size
            return ChannelPacket(data[begin + 1], bytes(data[begin + 4 : begin + 4 + size]))
        return self._parsed_text(begin)

    def _parsed_text(self, begin: int) -> RtspAnswer | None:
        data = self._data
        first = bytes(data[begin : begin + 4])
        end = data.find(b"\r\n\r\n", begin, begin + _LONGEST_HEAD_BYTES)
        if not all(0x41 <= byte <= 0x5A or byte == 0x5F for byte in first) or (
            end < 0 and len(data) - begin >= _LONGEST_HEAD_BYTES
        ):
            raise CameraTroubleError(CameraState.DAMAGED, f"what {self._address.where} sends is no RTSP")
        if end < 0:
            return None
        head, *lines = bytes(data[begin:end]).decode("utf-8", "replace").split("\r\n")
        headers: dict[str, list[str]] = {}
        for name, colon, value in (line.partition(":") for line in lines):
            if colon:
                headers.setdefault(name.strip().lower(), []).append(value.strip())
        length = headers.get("content-length", ["0"])[0]
        size = int(length) if length.isascii() and length.isdigit() else 0
        if size > _LONGEST_BODY_BYTES:
            raise CameraTroubleError(CameraState.REFUSED, f"{self._address.where} answers with {size:,} bytes")
        if len(data) < end + 4 + size:
            return None
        self._read = end + 4 + size
        version, _, status = head.partition(" ")
        if not version.startswith("RTSP/"):  # the camera asks something: nothing here has an answer
            return RtspAnswer(0, headers)
        code = status[:3]
        return RtspAnswer(
            int(code) if code.isascii() and code.isdigit() else 0, headers, bytes(data[end + 4 : self._read])
        )

    def cut(self) -> None:
        """Wake whoever reads, at once, from any thread: the next call ends with an error."""
        self._cut.set()
        if (connected := self._socket) is not None:
            with suppress(OSError, ValueError):
                socket.socket.shutdown(connected, socket.SHUT_RDWR)

    def close(self) -> None:
        """Let the socket go."""
        connected, self._socket = self._socket, None
        if connected is not None:
            connected.close()
