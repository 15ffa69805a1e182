"""A session with a camera: what it shows, where it is to send it, and the packets that come."""

import random
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Literal

from patchline.stream.cameras.rtsp.address import RtspAddress
from patchline.stream.cameras.rtsp.connection import ChannelPacket, RtspAnswer, RtspConnection
from patchline.stream.cameras.rtsp.datagrams import Datagrams
from patchline.stream.cameras.rtsp.description import VideoTrack, video_track
from patchline.stream.cameras.rtsp.login import Login
from patchline.stream.cameras.rtsp.rtp import Continuity, RtpPacket, rtp_packet
from patchline.stream.cameras.trouble import CameraTroubleError
from patchline.stream.model.camera_state import CameraState

_UNAUTHORISED, _FORBIDDEN, _NOT_FOUND, _OTHER_TRANSPORT = 401, 403, 404, 461
_MEANINGS = {
    301: "it sends elsewhere",
    302: "it sends elsewhere",
    400: "it does not understand the request",
    453: "it has too little bandwidth",
    454: "it does not know its own session",
    500: "it failed",
    503: "it is overloaded",
}
_KEEP_ALIVE_S = 60.0
"""A session ends after so long without a request, where the camera says nothing else (RFC 2326, 12.37)."""
_REPORT_S = 5.0
_SENDER_REPORT = 200
_SINCE_1900_S = 2_208_988_800


class RtspSession:
    """One video of one camera. All but `cut` belong to one thread.

    `sender_clock` is (Unix time in seconds, RTP timestamp) of the camera's last report; None before one has come.
    """

    def __init__(self, url: str, *, transport: Literal["tcp", "udp"] = "tcp", ca_file: Path | None = None) -> None:
        self._address = RtspAddress.parse(url)
        self._connection = RtspConnection(self._address, ca_file)
        self._login = Login(self._address)
        self._udp = transport == "udp"
        self._datagrams: Datagrams | None = None
        self._continuity = Continuity()
        self._channels = (0, 1)
        self._sequence = 0
        self._session = ""
        self._track: VideoTrack | None = None
        self._asks = "OPTIONS"
        self._ask_every_s, self._ask_at_s, self._report_at_s = _KEEP_ALIVE_S / 2, 0.0, 0.0
        self._us = random.getrandbits(32)
        self.sender_clock: tuple[float, int] | None = None

    def open(self, timeout_s: float) -> VideoTrack:
        """Connect, and have the camera play.

        Raises:
            CameraTroubleError: it cannot be reached, refuses, or has no video that is read here.
        """
        until_s = monotonic() + timeout_s
        self._connection.open(timeout_s)
        url = self._address.url
        options = self._request("OPTIONS", url, until_s)
        if "GET_PARAMETER" in options.header("public").upper():
            self._asks = "GET_PARAMETER"
        described = self._request("DESCRIBE", url, until_s, "Accept: application/sdp\r\n")
        base = described.header("content-base") or described.header("content-location") or url
        track = video_track(described.body.decode("utf-8", "replace"), base if "://" in base else url)
        self._set_up(track, until_s)
        self._request("PLAY", base if "://" in base else url, until_s, "Range: npt=0.000-\r\n")
        self._track = track
        self._ask_at_s = monotonic() + self._ask_every_s
        self._report_at_s = monotonic() + _REPORT_S
        return track

    def _set_up(self, track: VideoTrack, until_s: float) -> None:
        if self._udp:
            self._datagrams = Datagrams(self._connection.socket.family)
            port = self._datagrams.port
            asked = f"RTP/AVP;unicast;client_port={port}-{port + 1}"
        else:
            asked = "RTP/AVP/TCP;unicast;interleaved=0-1"
        answer = self._request("SETUP", track.control, until_s, f"Transport: {asked}\r\n")
        chosen = {
            name.strip().lower(): value
            for name, _, value in (part.partition("=") for part in answer.header("transport").split(";"))
        }
        self._session, _, rest = answer.header("session").partition(";")
        name, _, value = rest.strip().partition("=")
        if name.lower() == "timeout" and value.isascii() and value.isdigit() and int(value) > 1:
            self._ask_every_s = int(value) / 2
        if self._datagrams is not None:
            self._datagrams.expect(self._connection.socket.getpeername()[0], _pair(chosen.get("server_port", "")))
        else:
            self._channels = _pair(chosen.get("interleaved", "")) or (0, 1)

    def _request(self, method: str, url: str, until_s: float, extra: str = "") -> RtspAnswer:
        while True:
            self._send(method, url, extra)
            answer = self._answer(until_s)
            if answer.status == _UNAUTHORISED and self._login.challenged(answer.headers.get("www-authenticate", [])):
                continue
            break
        if 200 <= answer.status < 300:
            return answer
        where = self._address.where
        match answer.status:
            case 401 | 403:
                raise CameraTroubleError(CameraState.UNAUTHORISED, f"{where} does not take this login")
            case 404:
                raise CameraTroubleError(CameraState.NOT_FOUND, f"{where} has no such stream")
            case 461:
                raise CameraTroubleError(
                    CameraState.REFUSED, f"{where} does not send over {'UDP' if self._udp else 'TCP'}; see `transport`"
                )
        meaning = _MEANINGS.get(answer.status)
        because = f": {meaning}" if meaning else ""
        raise CameraTroubleError(CameraState.REFUSED, f"{where} answers {method} with {answer.status}{because}")

    def _send(self, method: str, url: str, extra: str = "") -> None:
        self._sequence += 1
        session = f"Session: {self._session}\r\n" if self._session else ""
        login = self._login.header(method, url)
        allowed = f"Authorization: {login}\r\n" if login else ""
        head = f"{method} {url} RTSP/1.0\r\nCSeq: {self._sequence}\r\nUser-Agent: patchline\r\n"
        self._connection.send(f"{head}{session}{allowed}{extra}\r\n".encode())

    def _answer(self, until_s: float) -> RtspAnswer:
        where = self._address.where
        while True:
            try:
                found = self._connection.take(until_s)
            except CameraTroubleError as trouble:
                if trouble.state is CameraState.DAMAGED:
                    raise CameraTroubleError(CameraState.REFUSED, f"what {where} answers is no RTSP") from None
                raise
            if found is None:
                raise CameraTroubleError(CameraState.UNREACHABLE, f"{where} does not answer in time")
            if isinstance(found, RtspAnswer) and found.status >= 200:
                sequence = found.header("cseq")
                if not sequence or sequence == str(self._sequence):
                    return found

    def take(self, until_s: float) -> tuple[RtpPacket, bool] | None:
        """The next packet of the video, and whether others before it are lost; None where none comes by that time.

        Raises:
            CameraTroubleError: the connection is lost, or what comes is no RTSP.
        """
        while True:
            self._keep_alive()
            packet = self._over_udp(self._datagrams, until_s) if self._datagrams else self._over_tcp(until_s)
            if packet is None:
                if monotonic() >= until_s:
                    return None
                continue
            if self._track is None or packet[0].payload_type == self._track.payload_type:
                return packet

    def _over_tcp(self, until_s: float) -> tuple[RtpPacket, bool] | None:
        found = self._connection.take(until_s)
        if not isinstance(found, ChannelPacket):
            return None
        if found.channel == self._channels[1]:
            self._report_in(found.payload)
        elif found.channel == self._channels[0] and (packet := rtp_packet(found.payload)) is not None:
            return packet, self._continuity.lost_before(packet)
        return None

    def _over_udp(self, datagrams: Datagrams, until_s: float) -> tuple[RtpPacket, bool] | None:
        packet = datagrams.take(until_s, self._connection.socket)
        if packet is None:
            for report in datagrams.reports():
                self._report_in(report)
            if monotonic() < until_s:
                self._connection.take(monotonic() + 0.001)
        return packet

    def _report_in(self, data: bytes) -> None:
        if len(data) >= 20 and data[1] == _SENDER_REPORT:
            seconds = int.from_bytes(data[8:12]) + int.from_bytes(data[12:16]) / 2**32
            self.sender_clock = (seconds - _SINCE_1900_S, int.from_bytes(data[16:20]))

    def _keep_alive(self) -> None:
        now_s = monotonic()
        if now_s >= self._ask_at_s:
            self._ask_at_s = now_s + self._ask_every_s
            self._send(self._asks, self._address.url)
        if now_s >= self._report_at_s:
            self._report_at_s = now_s + _REPORT_S
            report = (
                b"\x80\xc9\0\1" + self._us.to_bytes(4) + b"\x81\xca\0\5" + self._us.to_bytes(4) + b"\1\x09patchline\0"
            )
            report += bytes(-len(report) % 4)
            if self._datagrams is None:
                self._connection.send(b"$" + bytes([self._channels[1]]) + len(report).to_bytes(2) + report)

    def cut(self) -> None:
        """End what reads at once, from any thread."""
        self._connection.cut()

    def close(self) -> None:
        """Say goodbye, since cameras have few sessions to give, and let everything go."""
        with suppress(CameraTroubleError, OSError, ValueError):
            if self._session:
                self._send("TEARDOWN", self._address.url)
        self._connection.close()
        if self._datagrams is not None:
            self._datagrams.close()


def _pair(text: str) -> tuple[int, int] | None:
    """`4-5` as (4, 5), `4` as (4, 5)."""
    first, _, second = text.partition("-")
    if not (first.isascii() and first.isdigit()):
        return None
    return int(first), int(second) if second.isascii() and second.isdigit() else int(first) + 1
