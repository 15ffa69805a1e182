"""Real sockets before the server: whoever keeps it waiting, by thousands or by bytes, costs at most itself."""

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from patchline.ops.web.connections import HttpLimits, Refusal, limits_of
from patchline.ops.web.listener import Listener
from patchline.ops.web.tls import tls_context
from tests.services.certificates import Certificates
from tests.stream.waiting import until

LIMITS = replace(
    limits_of(),
    max_connections=32,
    handshake_timeout_s=1.0,
    head_timeout_s=1.0,
    body_timeout_s=1.0,
    answer_timeout_s=1.0,
)
LARGE = b"x" * (32 * 1024**2)
ASK = b"GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n"


@dataclass
class Served:
    """A listener, and what its application was asked."""

    listener: Listener
    refused: "Counter[Refusal]"
    client_tls: ssl.SSLContext | None = None
    asked: list[str] = field(default_factory=list)

    async def connect(self, *, tls: bool = True) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = self.client_tls if tls else None
        return await asyncio.open_connection("127.0.0.1", self.listener.port, ssl=context)

    async def ask(self, request: bytes = ASK) -> bytes:
        """The whole answer to one request on a connection of its own."""
        reader, writer = await self.connect()
        writer.write(request.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))
        answer = await reader.read()
        writer.close()
        return answer


def application(asked: list[str], gate: asyncio.Event) -> Callable[..., Awaitable[None]]:
    async def app(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        asked.append(scope["path"])
        body = b"ok"
        if scope["path"] == "/large":
            body = LARGE
        if scope["path"] == "/slow":
            await gate.wait()
        if scope["method"] == "POST":
            while (await receive()).get("more_body"):
                pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    return app


@asynccontextmanager
async def serving(
    pem: Certificates | None = None, limits: HttpLimits = LIMITS, gate: asyncio.Event | None = None
) -> AsyncIterator[Served]:
    """A listener on a free port, with TLS where certificates are given."""
    refused: Counter[Refusal] = Counter()
    asked: list[str] = []
    tls = tls_context(pem.certificate, pem.key) if pem else None
    listener = Listener(
        application(asked, gate or asyncio.Event()), limits, tls=tls, refused=lambda why: refused.update([why])
    )
    await listener.start("127.0.0.1", 0)
    client = ssl.create_default_context(cafile=str(pem.authority)) if pem else None
    try:
        yield Served(listener, refused, client, asked)
    finally:
        await listener.stop()
        assert len(listener.connections) == 0


@pytest.fixture(params=["http", "https"])
def maybe_tls(request: pytest.FixtureRequest, pem: Certificates) -> Certificates | None:
    """Certificates, or None for plain HTTP."""
    return pem if request.param == "https" else None


async def closed(reader: asyncio.StreamReader, seconds: float = 30) -> None:
    """Wait until the other side has ended a connection."""
    async with asyncio.timeout(seconds):
        try:
            while await reader.read(65_536):
                pass
        except ConnectionError:
            pass


async def test_requests_are_answered_one_after_another_and_side_by_side(maybe_tls: Certificates | None) -> None:
    """On one connection that is kept, several at once in one packet, and on several connections."""
    async with serving(maybe_tls) as served:
        reader, writer = await served.connect()
        for _ in range(3):
            writer.write(ASK)
            assert await reader.readuntil(b"ok") != b""
        writer.write(ASK * 4)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        for _ in range(3):
            await reader.readuntil(b"ok")
        answers = await asyncio.gather(*(served.ask() for _ in range(20)))
        assert all(answer.endswith(b"\r\n\r\nok") for answer in answers)
        assert b"date: " in answers[0]
        writer.close()
        assert not served.refused


async def test_idle_and_half_open_connections_make_room_for_a_probe(maybe_tls: Certificates | None) -> None:
    """Many times as many as there may be are open, a third of them with half a head: a probe is answered as ever."""
    patient = replace(LIMITS, handshake_timeout_s=60, head_timeout_s=60)
    async with serving(maybe_tls, patient) as served, AsyncExitStack() as stack:
        for number in range(6 * LIMITS.max_connections):
            _, writer = await served.connect(tls=number % 3 > 0)  # of TLS a third is not even a handshake
            stack.callback(writer.close)
            if number % 3 == 2:
                writer.write(ASK[:-4])
        assert len(served.listener.connections) <= LIMITS.max_connections
        for _ in range(3):
            assert (await served.ask()).endswith(b"ok")
        assert served.refused[Refusal.MADE_ROOM] >= 5 * LIMITS.max_connections
        assert served.refused[Refusal.FULL] == 0


async def test_where_all_are_being_answered_a_newcomer_hears_so() -> None:
    """503 at once, and an answer again as soon as there is room; those under way are not disturbed."""
    gate = asyncio.Event()
    async with serving(limits=replace(LIMITS, max_connections=4), gate=gate) as served:
        slow = [asyncio.create_task(served.ask(ASK.replace(b"/healthz", b"/slow"))) for _ in range(4)]
        await until(lambda: len(served.asked) == 4)
        heard = b""
        for _ in range(20):  # it is cut where the request comes after the answer, as that is closed already
            with suppress(ConnectionError):
                heard = heard or await served.ask()
        assert heard.startswith(b"HTTP/1.1 503 ")
        assert served.refused == {Refusal.FULL: served.refused[Refusal.FULL]}
        gate.set()
        assert all(answer.endswith(b"ok") for answer in await asyncio.gather(*slow))
        assert (await served.ask()).endswith(b"ok")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (b"", Refusal.HEAD),
        (ASK[:-2], Refusal.HEAD),
        (ASK + ASK[:9], Refusal.HEAD),
        (b"POST /p HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n123", Refusal.BODY),
        (b"POST /p HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n4\r\n", Refusal.BODY),
    ],
    ids=["nothing", "half-a-head", "half-a-second-head", "half-a-body", "half-a-chunk"],
)
async def test_what_does_not_come_in_time_is_not_waited_for(
    maybe_tls: Certificates | None, given: bytes, why: Refusal
) -> None:
    """Also where a byte comes now and then."""
    async with serving(maybe_tls) as served:
        reader, writer = await served.connect()
        writer.write(given)
        ends = asyncio.create_task(closed(reader))
        began = time.monotonic()
        while not ends.done():
            if b"\r\n" in given and not writer.is_closing():
                writer.write(b"a" if why is Refusal.HEAD else b"")
            await asyncio.sleep(0.1)
        await ends
        assert time.monotonic() - began >= LIMITS.head_timeout_s
        assert served.refused == {why: 1}
        writer.close()


async def test_a_handshake_that_does_not_come_is_not_waited_for(pem: Certificates) -> None:
    """Silence, the beginning of one, and plain HTTP on a TLS port."""
    async with serving(pem) as served:
        for given in (b"", b"\x16\x03\x01\x02\x00\x01"):
            reader, writer = await served.connect(tls=False)
            writer.write(given)
            await closed(reader)
            writer.close()
        assert served.refused == {Refusal.HANDSHAKE: 2}
        reader, writer = await served.connect(tls=False)
        writer.write(ASK)
        await closed(reader)
        writer.close()
        await until(lambda: served.refused[Refusal.HANDSHAKE] == 3)
        assert (await served.ask()).endswith(b"ok")


async def test_an_answer_that_nobody_takes_is_given_up(maybe_tls: Certificates | None) -> None:
    """Whoever asks for much and reads nothing is ended; whoever reads gets all of it."""
    ask = ASK.replace(b"/healthz", b"/large")
    async with serving(maybe_tls) as served:
        _reader, writer = await served.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined] # a transport that reads
        writer.write(ask)
        await until(lambda: served.refused[Refusal.ANSWER] == 1)
        await until(lambda: len(served.listener.connections) == 0)
        writer.transport.abort()
        answer = await served.ask(ask)
        assert answer.endswith(LARGE)
        assert served.refused == {Refusal.ANSWER: 1}


async def test_a_head_without_end_is_refused() -> None:
    """Beyond the limit it is a bad request, before it has all come."""
    async with serving() as served:
        reader, writer = await served.connect()
        writer.write(b"GET / HTTP/1.1\r\nx: " + b"y" * LIMITS.max_head_bytes)
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()


async def test_answers_under_way_have_time_when_the_server_stops() -> None:
    """One that comes soon arrives; one that does not is cut, and so are those who wait."""
    for opens in (True, False):
        gate = asyncio.Event()
        async with serving(gate=gate) as served:
            slow = asyncio.create_task(served.ask(ASK.replace(b"/healthz", b"/slow")))
            idle, _writer = await served.connect()
            await until(lambda: served.asked == ["/slow"])
            stopping = asyncio.create_task(served.listener.stop())
            await asyncio.sleep(0)
            if opens:
                gate.set()
            await stopping
            await closed(idle)
            answers = await asyncio.gather(slow, return_exceptions=True)
            if opens:
                assert str(answers[0]).endswith("ok'")
            else:
                assert not str(answers[0]).endswith("ok'")


async def test_one_port_on_every_address_of_a_name() -> None:
    """`localhost` may be two addresses: a free port is the same on both."""
    listener = Listener(application([], asyncio.Event()), LIMITS)
    await listener.start("localhost", 0)
    try:
        assert {address[1] for address in (one.getsockname() for one in listener._sockets)} == {listener.port}
    finally:
        await listener.stop()
