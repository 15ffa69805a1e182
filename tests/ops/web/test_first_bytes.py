"""Connections of which nothing has come yet that could be answered."""

import asyncio
import gc
import ssl
import weakref
from contextlib import AsyncExitStack

import pytest

from patchline.ops.web.connections import Refusal
from patchline.ops.web.first_bytes import BODY_BYTES
from tests.ops.web.test_listener import ASK, LIMITS, closed, serving
from tests.services.certificates import Certificates
from tests.stream.waiting import until

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_who_says_nothing_that_can_be_answered_has_no_protocol(pem: Certificates, tls: bool) -> None:
    """They are counted, and cost no more than that; a whole request beside them is answered."""
    parts = (b"", HELLO[:3], HELLO) if tls else (b"", b"GE", ASK[:-2])
    async with serving(pem if tls else None) as served, AsyncExitStack() as stack:
        for number in range(9):
            _, writer = await served.connect(tls=False)
            stack.callback(writer.close)
            writer.write(parts[number % 3])
            await writer.drain()
        assert (await served.ask()).endswith(b"ok")
        await until(lambda: len(served.listener.connections) == 9)
        assert not served.listener._state.connections
        assert not served.refused


@pytest.mark.parametrize("step", [1, 5, len(ASK) - 1])
async def test_a_head_in_parts_is_answered(step: int) -> None:
    """However it is cut; and what follows it in the last part is not lost."""
    async with serving() as served:
        reader, writer = await served.connect()
        for start in range(0, len(ASK), step):
            writer.write(ASK[start : start + step] + (ASK if start + step >= len(ASK) else b""))
            await asyncio.sleep(0.001)
        for _ in range(2):
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_a_handshake_in_parts_is_answered(pem: Certificates) -> None:
    """A byte, the head of the record but for a byte, its half, and the rest."""
    async with serving(pem) as served:
        assert served.client_tls is not None
        arrived, leaves = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = served.client_tls.wrap_bio(arrived, leaves, server_hostname="127.0.0.1")
        reader, writer = await served.connect(tls=False)
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        hello = leaves.read()
        for first, last in ((0, 1), (1, 4), (4, len(hello) // 2), (len(hello) // 2, len(hello))):
            writer.write(hello[first:last])
            await asyncio.sleep(0.02)
        answer = b""
        while not answer.endswith(b"ok"):
            arrived.write(await reader.read(65_536))
            try:
                client.do_handshake()
                if not answer:
                    client.write(ASK)
                answer += client.read(65_536)
            except ssl.SSLWantReadError:
                pass
            if leaves.pending:
                writer.write(leaves.read())
        assert answer.startswith(b"HTTP/1.1 200 ")
        writer.close()


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_who_leaves_again_is_forgotten(pem: Certificates, tls: bool) -> None:
    """At once, or in the midst of a head or of a record of TLS, whose handshake then failed."""
    async with serving(pem if tls else None) as served:
        for part in (b"", HELLO[:3], HELLO) if tls else (b"", b"GE"):
            reader, writer = await served.connect(tls=False)
            writer.write(part)
            await writer.drain()
            writer.write_eof()
            await closed(reader)
            writer.close()
        await until(lambda: len(served.listener.connections) == 0)
        assert served.refused == ({Refusal.HANDSHAKE: 3} if tls else {})


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_what_has_ended_leaves_nothing_to_collect(pem: Certificates, tls: bool) -> None:
    """Whether its peer left or it made room: a full collection of thousands would hold up inspection."""
    async with serving(pem if tls else None) as served:
        gc.collect()
        gc.disable()
        try:
            clients = [await served.connect(tls=False) for _ in range(LIMITS.max_connections)]
            await until(lambda: len(served.listener.connections) == LIMITS.max_connections)
            known = [weakref.ref(connection) for connection in served.listener.connections]
            clients += [await served.connect(tls=False) for _ in range(4)]
            await until(lambda: served.refused[Refusal.MADE_ROOM] == 4)
            for _, writer in clients:
                writer.close()
            await until(lambda: len(served.listener.connections) == 0)
            await asyncio.sleep(0)
            assert [each() for each in known if each() is not None] == []
        finally:
            gc.enable()


@pytest.mark.parametrize("given", [b"\x00\x01", b"y" * (LIMITS.max_head_bytes + 1)], ids=["no-text", "too-long"])
async def test_what_cannot_become_a_request_is_refused_at_once(given: bytes) -> None:
    """Nothing more of it is waited for."""
    async with serving() as served:
        reader, writer = await served.connect()
        writer.write(given)
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()
        assert not served.refused


def post(body: bytes, length: int | None = None, more: bytes = b"") -> bytes:
    head = b"POST /feedback HTTP/1.1\r\nhost: h\r\nContent-Length: %d\r\n" % (len(body) if length is None else length)
    return head + more + b"\r\n" + body


async def test_a_body_is_waited_for_without_a_protocol() -> None:
    """Up to so many bytes of it; then, and where it is whole, the request is answered."""
    async with serving() as served, AsyncExitStack() as stack:
        reader, writer = await served.connect()
        stack.callback(writer.close)
        for part in (post(b"", 9), b"1234", b"5678"):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.02)
        assert not served.listener._state.connections
        assert not served.asked
        writer.write(b"9" + ASK)
        for _ in range(2):
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        _, longer = await served.connect()
        stack.callback(longer.close)
        longer.write(post(b"x" * BODY_BYTES, BODY_BYTES + 1))
        await until(lambda: served.asked == ["/feedback", "/healthz", "/feedback"])


async def test_a_body_that_never_comes_is_given_up() -> None:
    """In the time of a body."""
    async with serving() as served:
        reader, writer = await served.connect()
        writer.write(post(b"1234", 9))
        assert await reader.read() == b""
        writer.close()
        assert served.refused == {Refusal.BODY: 1}
        assert not served.asked


@pytest.mark.parametrize(
    "request_",
    [
        post(b"", 2**20 + 1),
        post(b"", 9, more=b"Expect: 100-continue\r\n"),
        post(b"", 9, more=b"content-length: 9\r\n"),
        post(b"", 0),
        b"POST / HTTP/1.1\r\nhost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["too long", "asks first", "two lengths", "of nothing", "in chunks"],
)
async def test_whose_body_need_not_be_waited_for_is_answered_at_once(request_: bytes) -> None:
    """The protocol and the application see it while nothing of the body has come."""
    async with serving() as served:
        _, writer = await served.connect()
        writer.write(request_)
        await until(lambda: len(served.asked) == 1)
        writer.close()
