"""HTTP on one connection: uvicorn's protocol, which says at each step what it waits for.

A transport hands over up to 256 KiB at once, and parsing them may take a third of a second: a body in chunks of one
byte is sixty thousand of them. Inspection shares the event loop, so they are parsed a slice at a time, and other work
is done between.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from patchline.ops.web.connections import Connection, Connections, Phase

PIECE_BYTES = 65_536
SLICE_BYTES = 2048
"""So much is parsed at once at first; twice as much after each slice that was parsed within `QUICK_S`."""
QUICK_S, STEP_S = 0.0005, 0.002
"""Slices are parsed for `STEP_S`, in seconds, before other work of the event loop is due again."""


def in_pieces(app: Any) -> Any:
    """An application whose answers go out in pieces, each when the one before has mostly been taken.

    So an answer that nobody takes holds a little memory, and shows: what TLS has encrypted nobody sees waiting.
    """

    async def asgi(scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        async def send_pieces(message: Any) -> None:
            body = message.get("body", b"")
            last = max(0, len(body) - 1) // PIECE_BYTES * PIECE_BYTES
            for start in range(0, last, PIECE_BYTES):
                await send({"type": message["type"], "body": body[start : start + PIECE_BYTES], "more_body": True})
            await send({**message, "body": body[last:]} if last else message)

        await app(scope, receive, send_pieces)

    return asgi


class LimitedProtocol(H11Protocol):
    """HTTP/1.1 on one connection, which says at each step what it waits for.

    Args:
        config: uvicorn's.
        state: what all connections of a server share.
        connections: where this one is counted.
        connection: this one.
        read: what has come of it before.
    """

    def __init__(
        self, config: Config, state: ServerState, connections: Connections, connection: Connection, read: bytes = b""
    ) -> None:
        super().__init__(config, state, {})
        self._counted, self._connection = connections, connection
        self._unparsed = bytearray(read)
        self._slice_bytes = SLICE_BYTES
        self._conn: h11.Connection = self.conn

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._connection.abort = transport.abort
        self._connection.waiting_bytes = transport.get_write_buffer_size
        transport.set_write_buffer_limits(high=PIECE_BYTES)  # of TLS it is eight times as much by default
        self._note()
        if self._unparsed:  # before anything that comes now
            asyncio.get_running_loop().call_soon(self._parse)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        self._unparsed.clear()
        self._counted.end(self._connection)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        waits = bool(self._unparsed)
        self._unparsed += data
        if not waits:
            self._parse()

    def _parse(self) -> None:
        """Parse a few slices, and go on later where there are more."""
        end_s = monotonic() + STEP_S
        begin, before_s = 0, end_s - STEP_S
        while begin < len(self._unparsed) and (begin == 0 or before_s < end_s) and not self.transport.is_closing():
            piece = bytes(self._unparsed[begin : begin + self._slice_bytes])
            begin += len(piece)
            super().data_received(piece)
            now_s = monotonic()
            is_quick = now_s - before_s < QUICK_S
            self._slice_bytes = min(2 * self._slice_bytes, PIECE_BYTES) if is_quick else SLICE_BYTES
            before_s = now_s
        del self._unparsed[:begin]
        if self.transport.is_closing():
            self._unparsed.clear()
        if self._unparsed:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._parse)
        elif not self.flow.read_paused:
            self.transport.resume_reading()
        self._note()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().pause_writing()
        self._note()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        self._note()

    def on_response_complete(self) -> None:
        """See `H11Protocol`."""
        super().on_response_complete()
        self._note()

    def timeout_keep_alive_handler(self) -> None:
        """See `H11Protocol`."""
        super().timeout_keep_alive_handler()
        self._note()

    def _note(self) -> None:
        phase = self._phase()
        waits = phase is not Phase.ANSWER or self.flow.write_paused
        self._counted.note(self._connection, phase, waits_for_peer=waits)

    def _phase(self) -> Phase:
        if self.transport.is_closing():
            return Phase.CLOSING
        if self.cycle is None:
            return Phase.HEAD
        if not self.cycle.response_complete:
            return Phase.BODY if self.cycle.more_body else Phase.ANSWER
        if self._conn.their_state is h11.SEND_BODY:  # of a request that was answered without it
            return Phase.BODY
        return Phase.HEAD if self._conn.trailing_data[0] else Phase.IDLE
