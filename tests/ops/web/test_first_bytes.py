"""Connections of which nothing has come yet that could be answered."""

import asyncio
import ssl
from contextlib import AsyncExitStack

import pytest

from patchline.ops.web.connections import Refusal
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


@pytest.mark.parametrize("given", [b"\x00\x01", b"y" * (LIMITS.max_head_bytes + 1)], ids=["no-text", "too-long"])
async def test_what_cannot_become_a_request_is_refused_at_once(given: bytes) -> None:
    """Nothing more of it is waited for."""
    async with serving() as served:
        reader, writer = await served.connect()
        writer.write(given)
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()
        assert not served.refused
