"""RTP over UDP: two ports of ours, and packets put in order."""

import random
import select
import socket
from time import monotonic

from patchline.stream.cameras.rtsp.rtp import Continuity, RtpPacket, rtp_packet
from patchline.stream.cameras.trouble import CameraTroubleError
from patchline.stream.model.camera_state import CameraState

_MISSING_WAIT_S = 0.03
"""How long packets wait for one that is missing before them: it may come late."""
_MOST_WAITING = 256
_BUFFER_BYTES = 4_194_304
_ATTEMPTS = 50
_FIRST_PORT, _LAST_PORT = 20_000, 59_998


class Datagrams:
    """Receives on an even port and, for RTCP, on the odd one after it."""

    def __init__(self, family: int) -> None:
        """Bind the ports. Raises CameraTroubleError where no pair is free."""
        any_address = "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104 - the camera sends from outside
        for _ in range(_ATTEMPTS):
            self.port = random.randrange(_FIRST_PORT, _LAST_PORT, 2)  # noqa: S311 - no secret
            media, control = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
            try:
                media.bind((any_address, self.port))
                control.bind((any_address, self.port + 1))
            except OSError:
                media.close()
                control.close()
                continue
            media.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            self.media, self.control = media, control
            break
        else:
            raise CameraTroubleError(CameraState.UNREACHABLE, "no two ports are free to receive on")
        for each in (self.media, self.control):
            each.setblocking(False)
        self._continuity = Continuity()
        self._waiting: list[RtpPacket] = []
        self._waits_since_s = 0.0
        self._peer: str | None = None

    def expect(self, peer: str, ports: tuple[int, int] | None) -> None:
        """Take packets of this address alone; and open the way for them through a firewall, where ports are known."""
        self._peer = peer
        for each, port in zip((self.media, self.control), ports or (), strict=False):
            try:
                each.sendto(b"\x80\x60" + bytes(10) if each is self.media else b"\x80\xc9\0\1\0\0\0\0", (peer, port))
            except OSError:  # the camera may send all the same
                continue

    def take(self, until_s: float, other: socket.socket) -> tuple[RtpPacket, bool] | None:
        """The next packet in order, and whether others before it are lost.

        None: none by that time, or the `other` socket, that of RTSP, has something to say.
        """
        while True:
            if (ready := self._in_order()) is not None:
                return ready
            wait_s = until_s - monotonic()
            if wait_s <= 0:
                return None
            if self._waiting:
                wait_s = min(wait_s, max(0.001, self._waits_since_s + _MISSING_WAIT_S - monotonic()))
            readable = select.select([self.media, other], [], [], wait_s)[0]
            if self.media in readable:
                self._receive()
            elif other in readable:
                return None

    def reports(self) -> list[bytes]:
        """RTCP that has come."""
        found = []
        while (data := self._datagram(self.control)) is not None:
            found.append(data)
        return found

    def _receive(self) -> None:
        while len(self._waiting) < _MOST_WAITING and (data := self._datagram(self.media)) is not None:
            packet = rtp_packet(data)
            if packet is None or self._continuity.is_late(packet):
                continue
            if not self._waiting:
                self._waits_since_s = monotonic()
            self._waiting.append(packet)

    def _in_order(self) -> tuple[RtpPacket, bool] | None:
        self._waiting = [packet for packet in self._waiting if not self._continuity.is_late(packet)]
        if not self._waiting:
            return None
        first = min(self._waiting, key=self._continuity.ahead)
        overdue = monotonic() > self._waits_since_s + _MISSING_WAIT_S or len(self._waiting) >= _MOST_WAITING
        if self._continuity.ahead(first) != 0 and not overdue:
            return None
        self._waiting.remove(first)
        self._waits_since_s = monotonic()
        return first, self._continuity.lost_before(first)

    def _datagram(self, receiver: socket.socket) -> bytes | None:
        try:
            while True:
                data, sender = receiver.recvfrom(65_536)
                if self._peer is None or sender[0] == self._peer:
                    return data
        except OSError:
            return None

    def close(self) -> None:
        """Let the ports go."""
        self.media.close()
        self.control.close()
