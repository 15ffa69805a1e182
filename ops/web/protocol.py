"""HTTP on one connection: uvicorn's protocol, which says at each step what it waits for."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from patchline.ops.web.connections import Connection, Connections, Phase

PIECE_BYTES = 65_536


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
        self._counted, self._connection, self._read = connections, connection, read
        self._conn: h11.Connection = self.conn

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._connection.abort = transport.abort
        self._connection.waiting_bytes = transport.get_write_buffer_size
        transport.set_write_buffer_limits(high=PIECE_BYTES)  # of TLS it is eight times as much by default
        self._note()
        if self._read:  # before anything that comes now, and when the transport reads
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        read, self._read = self._read, b""
        if not self.transport.is_closing():
            self.data_received(read)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        self._counted.end(self._connection)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
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
