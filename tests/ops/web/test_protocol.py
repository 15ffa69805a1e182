"""What comes at once is parsed a slice at a time."""

import asyncio
from dataclasses import replace

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from patchline.ops.web import protocol as module
from tests.ops.web.test_listener import ASK, LIMITS, serving
from tests.services.certificates import Certificates

PATIENT = replace(LIMITS, head_timeout_s=60, body_timeout_s=60, answer_timeout_s=60)

TINY_CHUNKS = (
    b"POST /p HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5_000 + b"0\r\n\r\n"
)


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_other_work_is_done_between_slices(pem: Certificates, tls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a body of tiny chunks; and nothing of it is lost, nor of the request behind it."""
    monkeypatch.setattr(module, "STEP_S", 0.0)
    parsed: list[int] = []
    parse = H11Protocol.data_received

    def noted(self: H11Protocol, data: bytes) -> None:
        parsed.append(len(data))
        parse(self, data)

    monkeypatch.setattr(H11Protocol, "data_received", noted)
    monkeypatch.setattr(module, "QUICK_S", 0.0)
    async with serving(pem if tls else None, PATIENT) as served:
        reader, writer = await served.connect()
        writer.write(TINY_CHUNKS + ASK)
        for _ in range(2):
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        assert served.asked == ["/p", "/healthz"]
        assert max(parsed) <= module.SLICE_BYTES
        assert sum(parsed) == len(TINY_CHUNKS + ASK)
        writer.close()


async def test_slices_grow_while_they_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large body costs few of them, and begins small again where one was not quick."""
    sizes: list[int] = []
    parse = H11Protocol.data_received

    def noted(self: H11Protocol, data: bytes) -> None:
        sizes.append(len(data))
        monkeypatch.setattr(module, "QUICK_S", 1000.0 if len(sizes) < 8 else -1.0)
        parse(self, data)

    monkeypatch.setattr(H11Protocol, "data_received", noted)
    body = b"x" * 500_000
    async with serving(limits=PATIENT) as served:
        reader, writer = await served.connect()
        writer.write(b"POST /p HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        async with asyncio.timeout(30):
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.close()
    assert max(sizes[:8]) > module.SLICE_BYTES
    assert max(sizes[9:]) <= module.SLICE_BYTES
