"""An RTSP camera that misbehaves on request: one process, many cameras, faults named in the URL's path.

    python -m tests.services.faultcam_server PORT [--log SENT.jsonl] [--certificate PEM --key PEM]

rtsp://127.0.0.1:PORT/NAME/key=value/key=value   (a path, not a query, so that every client sends it on)

keys: codec=h264|h265  fps=5  size=HxW  gop=10  bf=0  slices=1  n=20 (pictures, then again from the first)
      fault=NAME       see `HANDSHAKE`, `ENDINGS` and `CHANGES`
      at=20            the first picture that has the fault        for=N    it lasts so many pictures
      once=1           only on the first connection of NAME        p=.05    how much is lost (fault=loss)
      login=user:word  asks for it, by Digest; kind=basic: by Basic
      reports=1        sends RTCP reports, by this machine's clock; with skew=S, S seconds ahead of it
Picture k of a connection leaves at its start + k / fps. The log has a line for each that was sent: camera, connection,
k, wall time.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import os
import random
import re
import ssl
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from tests.services.faultcam_clips import AccessUnit, Codec, clip, payloads

HANDSHAKE = (
    "silent",
    "drip",
    "garbage_reply",
    "slow_describe",
    "audio_only",
    "close_at_play",
    "401",
    "403",
    "404",
    "503",
)
ENDINGS = ("freeze", "midframe", "rst", "close", "pause")
CHANGES = ("garbage_tcp", "garbage_nal", "garbage_rtp", "no_key", "no_video_packets", "lost_key", "loss", "resize")
TIMES = ("ts_jump", "ts_back", "ts_zero", "same")
SICK = ("black", "white", "grey", "blur", "shift", "cover", "dim")
FAULTS = (*HANDSHAKE, *ENDINGS, *CHANGES, *TIMES, *SICK)
FOREVER_S = 3_600.0
LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)


class Cam:
    """A camera as its URL describes it."""

    def __init__(self, path: str) -> None:
        self.name, *rest = [part for part in path.split("/") if part]
        self.given = dict(part.split("=", 1) for part in rest if "=" in part)
        self.fault = self.text("fault", "none")

    def text(self, key: str, default: str) -> str:
        return self.given.get(key, default)

    def number(self, key: str, default: float) -> float:
        return float(self.given.get(key, default))

    @property
    def codec(self) -> Codec:
        return "h265" if self.text("codec", "h264") == "h265" else "h264"

    def units(self, how: str = "none", size: str | None = None) -> tuple[AccessUnit, ...]:
        height, width = (int(side) for side in (size or self.text("size", "96x128")).split("x"))
        fps, gop, b_frames, slices, count = (
            int(self.number(key, default))
            for key, default in (("fps", 5), ("gop", 10), ("bf", 0), ("slices", 1), ("n", 20))
        )
        return clip(self.codec, fps or 1, (height, width), gop, b_frames, slices, how, count)


class FaultServer:
    """Every camera of the process."""

    def __init__(self, log: IO[str] | None) -> None:
        self._log = log
        self.plays: dict[str, int] = {}

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, reader, writer)
        try:
            await connection.serve()
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            pass
        finally:
            connection.close()

    def sent(self, cam: Cam, number: int) -> None:
        if self._log is not None:
            line = {"cam": cam.name, "conn": self.plays[cam.name], "k": number, "t": time.time()}
            self._log.write(json.dumps(line) + "\n")


class Connection:
    """One client."""

    def __init__(self, server: FaultServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server, self._reader, self._writer = server, reader, writer
        self._cam: Cam | None = None
        self._task: asyncio.Task[None] | None = None
        self._udp: Any = None
        self._sequence, self._source = random.randrange(65_536), random.randrange(2**32)
        self._nonce = os.urandom(8).hex()

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._udp is not None:
            self._udp.close()
        self._writer.close()

    async def serve(self) -> None:
        while True:
            first = await self._reader.readexactly(1)
            if first == b"$":
                _, size = struct.unpack(">BH", await self._reader.readexactly(3))
                await self._reader.readexactly(size)
                continue
            head = first + await self._reader.readuntil(b"\r\n\r\n")
            if found := LENGTH.search(head):
                await self._reader.readexactly(int(found[1]))
            if not await self._answer(head.decode("latin1")):
                return
            await self._writer.drain()

    async def _answer(self, head: str) -> bool:
        lines = head.split("\r\n")
        method, url, _ = lines[0].split(" ", 2)
        headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines[1:])}
        if self._cam is None:
            self._cam = Cam(url.split("://", 1)[-1].partition("/")[2])
        cam = self._cam
        fault = "none" if cam.text("once", "") and self._server.plays.get(cam.name, 0) else cam.fault
        if fault == "silent":
            await asyncio.sleep(FOREVER_S)
        while fault == "drip":
            self._writer.write(b"R")
            await self._writer.drain()
            await asyncio.sleep(0.2)
        if fault == "garbage_reply":
            self._writer.write(b"\x07" + os.urandom(4096))
            await self._writer.drain()
            await asyncio.sleep(FOREVER_S)

        def say(status: int, *extra: str, body: str = "") -> None:
            length = [f"Content-Length: {len(body)}"] if body else []
            answer = [f"RTSP/1.0 {status} so", f"CSeq: {headers.get('cseq', '0')}", *extra, *length]
            self._writer.write("\r\n".join([*answer, "", body]).encode())

        if not self._allowed(cam, method, headers.get("authorization", "")):
            basic = cam.text("kind", "digest") == "basic"
            say(
                401,
                f'WWW-Authenticate: {"Basic" if basic else "Digest"} realm="x"'
                + ("" if basic else f', nonce="{self._nonce}"'),
            )
        elif method == "DESCRIBE":
            if fault == "slow_describe":
                await asyncio.sleep(cam.number("delay", 8))
            if fault in ("401", "403", "404", "503"):
                say(int(fault), 'WWW-Authenticate: Basic realm="x"' if fault == "401" else "Server: x")
            else:
                base = url.rstrip("/") + "/"
                say(200, "Content-Type: application/sdp", f"Content-Base: {base}", body=description(cam, fault))
        elif method == "SETUP":
            say(200, f"Transport: {await self._transport(headers.get('transport', ''))}", "Session: 1;timeout=60")
        elif method == "PLAY":
            say(200, "Session: 1", "Range: npt=0.000-")
            await self._writer.drain()
            self._server.plays[cam.name] = self._server.plays.get(cam.name, 0) + 1
            if fault == "close_at_play":
                return False
            self._task = asyncio.create_task(self._play(cam, fault))
        else:
            say(200, "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER")
        return method != "TEARDOWN"

    def _allowed(self, cam: Cam, method: str, given: str) -> bool:
        user, _, password = cam.text("login", "").partition(":")
        if not user or method == "OPTIONS":
            return True
        if cam.text("kind", "digest") == "basic":
            return given == "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        fields = dict(re.findall(r'(\w+)="([^"]*)"', given))

        def md5(text: str) -> str:
            return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

        who, what = md5(f"{user}:x:{password}"), md5(f"{method}:{fields.get('uri', '')}")
        answer = md5(f"{who}:{self._nonce}:{what}")
        return fields.get("response") == answer

    async def _transport(self, asked: str) -> str:
        if "TCP" in asked:
            return "RTP/AVP/TCP;unicast;interleaved=0-1"
        port = int(asked.split("client_port=")[1].split(";")[0].split("-")[0])
        self._udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0), remote_addr=("127.0.0.1", port)
        )
        ours = self._udp.get_extra_info("sockname")[1]
        return f"RTP/AVP;unicast;client_port={port}-{port + 1};server_port={ours}-{ours + 1}"

    def _send(self, payload: bytes, timestamp: float, *, marker: bool) -> bytes:
        """Send a packet, and return it."""
        self._sequence = (self._sequence + 1) & 0xFFFF
        kind = (0x80 if marker else 0) | 96
        packet = struct.pack(">BBHII", 0x80, kind, self._sequence, int(timestamp) & 0xFFFFFFFF, self._source) + payload
        if self._udp is not None:
            self._udp.sendto(packet)
        else:
            self._writer.write(b"$\0" + struct.pack(">H", len(packet)) + packet)
        return packet

    async def _play(self, cam: Cam, fault: str) -> None:
        fps, begins = cam.number("fps", 5), int(cam.number("at", 20))
        ends = begins + int(cam.number("for", 1e9))
        units = cam.units()
        start_s, start = time.monotonic(), random.randrange(2**31)
        number = -1
        with suppress(ConnectionError):
            while True:
                number += 1
                await asyncio.sleep(max(0, start_s + number / fps - time.monotonic()))
                has_fault = fault if begins <= number < ends else "none"
                shown = cam.units(has_fault) if has_fault in SICK else units
                if has_fault == "resize":
                    shown = cam.units(size=cam.text("to", "128x192"))
                place = 0 if has_fault == "same" else number % len(shown)
                unit = shown[place]
                stamp = start + (number + unit.order - place) / fps * 90_000
                if cam.text("reports", "") and number % 5 == 0:
                    self._report(stamp, cam.number("skew", 0))
                if await self._went_wrong(has_fault, cam):
                    return
                if has_fault in ("no_video_packets", "garbage_tcp") or (has_fault == "lost_key" and unit.is_key):
                    continue
                self._picture(
                    cam,
                    has_fault,
                    unit,
                    {
                        "ts_jump": stamp + 90_000 * 3600 * (2 - number % 2),
                        "ts_back": stamp - 90_000 * 600,
                        "ts_zero": 0,
                    }.get(has_fault, stamp),
                )
                self._server.sent(cam, number)
                if self._udp is None:
                    await self._writer.drain()

    def _report(self, timestamp: float, skew_s: float) -> None:
        now_s = time.time() + skew_s + 2_208_988_800
        ntp = struct.pack(">II", int(now_s), int(now_s % 1 * 2**32))
        report = struct.pack(">BBHI", 0x80, 200, 6, self._source) + ntp
        report += struct.pack(">III", int(timestamp) & 0xFFFFFFFF, 0, 0)
        if self._udp is None:
            self._writer.write(b"$\1" + struct.pack(">H", len(report)) + report)

    async def _went_wrong(self, fault: str, cam: Cam) -> bool:
        """Whether the stream is over."""
        if fault == "pause":  # a hiccup of the network: what was held back comes at once
            await asyncio.sleep(cam.number("delay", 3))
        elif fault == "freeze":
            await asyncio.sleep(FOREVER_S)
        elif fault == "midframe":
            self._writer.write(b"$\0" + struct.pack(">H", 1_000) + bytes(500))
            await self._writer.drain()
            await asyncio.sleep(FOREVER_S)
        elif fault == "rst":
            self._writer.transport.abort()
            return True
        elif fault == "close":
            self._writer.close()
            return True
        elif fault == "garbage_tcp":
            self._writer.write(b"\x07" + os.urandom(20_000))
            await self._writer.drain()
        return False

    def _picture(self, cam: Cam, fault: str, unit: AccessUnit, timestamp: float) -> None:
        nals = list(unit.nals)
        if fault == "garbage_rtp":
            self._send(os.urandom(1_000), timestamp, marker=True)
            return
        if fault == "no_key":
            nals = [nal for nal in nals if nal[0] & 31 not in (5, 7, 8)] or [cam.units()[1].nals[-1]]
        if fault == "garbage_nal":
            nals = [nal[:1] + os.urandom(len(nal) - 1) if nal[0] & 31 in (1, 5) else nal for nal in nals]
        packets = [payload for nal in nals for payload in payloads(nal, cam.codec)]
        for place, payload in enumerate(packets):
            if fault == "loss" and random.random() < cam.number("p", 0.05):
                self._sequence = (self._sequence + 1) & 0xFFFF
            else:
                self._send(payload, timestamp, marker=place == len(packets) - 1)


def description(cam: Cam, fault: str) -> str:
    """The SDP of a camera."""
    lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=cam", "c=IN IP4 0.0.0.0", "t=0 0"]
    if fault == "audio_only":
        lines += ["m=audio 0 RTP/AVP 0", "a=rtpmap:0 PCMU/8000"]
    else:
        lines += ["m=video 0 RTP/AVP 96", f"a=rtpmap:96 {cam.text('named', cam.codec).upper()}/90000"]
        if cam.codec == "h264":
            sets = [nal for nal in cam.units()[0].nals if nal[0] & 31 in (7, 8)]
            given = ",".join(base64.b64encode(each).decode() for each in sets)
            lines.append(f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={given}")
    return "\r\n".join([*lines, "a=control:track0", ""])


async def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    given = parser.parse_args()
    context = None
    if given.certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(given.certificate, given.key)
    with (given.log or Path(os.devnull)).open("a", buffering=1, encoding="utf-8") as log:
        server = FaultServer(log if given.log else None)
        await asyncio.start_server(server.client, "127.0.0.1", given.port, ssl=context)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
