"""Bytes to the HTTP port that are no request, too much of one, or one that never ends."""

import asyncio
import zlib
from collections.abc import Iterator
from contextlib import suppress

from tests.chaos.kinds.target import Kind, Send, Target
from tests.chaos.scrape import TOKEN

_HOST = b"Host: 127.0.0.1\r\n"
_GET = b"GET /metrics HTTP/1.1\r\n" + _HOST
_LOGIN = b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
_POST = b"POST /feedback HTTP/1.1\r\n" + _HOST + _LOGIN + b"Content-Type: application/json\r\n"
_LONG = b"x" * 2**16
HALF_OPEN = (b"GE", _GET, _POST + b"Content-Length: 1000\r\n\r\n")
"""Requests that are never finished: in their first line, their head and their body."""
_REQUESTS = {
    "nothing": b"",
    "half a line": b"GE",
    "half a head": _GET,
    "no host": b"GET /metrics HTTP/1.1\r\n\r\n",
    "two hosts": _GET + _HOST + b"\r\n",
    "no version": b"GET /metrics\r\n\r\n",
    "version 3": b"GET /metrics HTTP/3.0\r\n\r\n",
    "version of letters": b"GET /metrics HTTP/x.y\r\n\r\n",
    "a method nobody knows": b"BREW / HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a method of 64 KiB": _LONG + b" / HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a path of 64 KiB": b"GET /" + _LONG + b" HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a query of 64 KiB": b"GET /metrics?" + _LONG + b" HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a path not utf-8": b"GET /frames/\xff\xfe HTTP/1.1\r\n" + _HOST + b"\r\n",
    "an encoded path not utf-8": b"GET /frames/%ff%fe%00 HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a path of dots": b"GET /../../etc/passwd HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a path of a whole address": b"GET http://elsewhere/ HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a header of 64 KiB": _GET + b"X: " + _LONG + b"\r\n\r\n",
    "five thousand headers": _GET + b"X: y\r\n" * 5000 + b"\r\n",
    "a header without a name": _GET + b": x\r\n\r\n",
    "a header without a colon": _GET + b"hello\r\n\r\n",
    "a header with nul": _GET + b"X: a\x00b\r\n\r\n",
    "a folded header": _GET + b"X: a\r\n b\r\n\r\n",
    "newlines alone": b"\n" * 10_000,
    "a token not ascii": _GET + b"Authorization: Bearer \xff\xfe\xc3\xa9\r\n\r\n",
    "a token of 64 KiB": _GET + b"Authorization: Bearer " + _LONG + b"\r\n\r\n",
    "accept of anything at all": _GET + b"Accept: " + b"a/b;q=9," * 5000 + b"\r\n\r\n",
    "a length below zero": _POST + b"Content-Length: -1\r\n\r\n",
    "a length beyond all": _POST + b"Content-Length: 999999999999999999999\r\n\r\n{}",
    "a length that is none": _POST + b"Content-Length: ten\r\n\r\n{}",
    "two lengths": _POST + b"Content-Length: 2\r\nContent-Length: 5\r\n\r\n{}",
    "a length and chunks": _POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk below zero": _POST + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "a chunk beyond all": _POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx",
    "a body that never comes": _POST + b"Content-Length: 1000\r\n\r\n",
    "a body packed a thousandfold": _POST
    + b"Content-Encoding: gzip\r\nContent-Length: 10221\r\n\r\n"
    + zlib.compress(bytes(10_000_000), 9),
    "deep lists": _POST + b"Content-Length: 100000\r\n\r\n" + b"[" * 100_000,
    "an upgrade": _GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
    "an upgrade to http 2": _GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
    "http 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    "a proxy's head": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + _GET + b"\r\n",
    "a redis command": b"*1\r\n$8\r\nFLUSHALL\r\n",
    "two hundred at once": (_GET + b"\r\n") * 200,
    "expect": _POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    "noise": bytes(range(256)) * 40,
}


def kinds() -> Iterator[Kind]:
    """One a connection."""
    for name, request in _REQUESTS.items():
        yield Kind(family="requests", name=name, send=_sent(request))


def _sent(request: bytes) -> Send:
    async def send(target: Target) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        with suppress(OSError, TimeoutError):  # a server may hang up whenever it likes
            writer.write(request)
            await asyncio.wait_for(writer.drain(), 1)
            await asyncio.wait_for(reader.read(65_536), 0.2)
        writer.close()

    return send
