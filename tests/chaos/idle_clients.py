"""Clients that connect in thousands and say nothing, or half of what they should; cut off, they come again."""

import asyncio
import resource
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.chaos.kinds.requests import HALF_OPEN

_AGAIN_EVERY_S = 10.0
"""What floods a port is another matter: these come back slowly."""
_AT_ONCE = 50
_SPARE_DESCRIPTORS = 500
_CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""How a TLS handshake begins, whose other 500 bytes never come."""


class IdleClients:
    """So many connections at a time to a port of this machine.

    Args:
        port: it.
        connections: how many.
        tls: half of them begin a handshake, else a request.
    """

    def __init__(self, port: int, connections: int, *, tls: bool) -> None:
        self._port, self._connections = port, connections
        self._openings: Sequence[bytes] = (b"", _CLIENT_HELLO) if tls else (b"", *HALF_OPEN)
        self._open: list[socket.socket] = []
        self._keeping: asyncio.Task[None] | None = None
        self.cut_off = 0
        """How many the server has closed."""

    async def _keep(self) -> None:
        while True:
            await self._look()
            while len(self._open) < self._connections:
                missing = min(_AT_ONCE, self._connections - len(self._open))
                begun = len(self._open)
                await asyncio.gather(*(self._connect(begun + number) for number in range(missing)))
                if len(self._open) == begun:
                    break  # nobody is let in now
            await asyncio.sleep(_AGAIN_EVERY_S)

    async def _connect(self, number: int) -> None:
        client = socket.socket()
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await asyncio.wait_for(loop.sock_connect(client, ("127.0.0.1", self._port)), 2)
            if opening := self._openings[number % len(self._openings)]:
                await loop.sock_sendall(client, opening)
        except (OSError, TimeoutError):
            client.close()
            return
        self._open.append(client)

    async def _look(self) -> None:
        """Give up those that the server has closed."""
        kept = []
        for number, client in enumerate(self._open):
            if _is_closed(client):
                self.cut_off += 1
                client.close()
            else:
                kept.append(client)
            if number % 200 == 199:
                await asyncio.sleep(0)
        self._open = kept

    async def __aenter__(self) -> Self:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        needed = self._connections + _SPARE_DESCRIPTORS
        if soft < needed:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed, hard), hard))
        self._keeping = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._look()
        for client in self._open:
            client.close()


def _is_closed(client: socket.socket) -> bool:
    try:
        while client.recv(65_536):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True
