"""Clients that connect in thousands and say nothing, or half of what they should; cut off, they come again.

They are in a process of their own: whoever measures meanwhile is not slowed down by their sockets.
"""

import asyncio
import resource
import socket
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.chaos.kinds.requests import HALF_OPEN
from tests.services.process import REPOSITORY, dies_with_us

_AGAIN_EVERY_S = 10.0
"""What floods a port is another matter: these come back slowly."""
_AT_ONCE, _NEXT_AFTER_S = 50, 0.05
_SPARE_DESCRIPTORS = 500
_CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""How a TLS handshake begins, whose other 500 bytes never come."""


class IdleClients:
    """So many connections at a time to a port of this machine, each time they are told to be there.

    Their process lives as long as the context.

    Args:
        port: it.
        connections: how many.
        tls: half of them begin a handshake, else a request.
    """

    def __init__(self, port: int, connections: int, *, tls: bool) -> None:
        said = (str(port), str(connections), "tls" if tls else "plain")
        self._command = dies_with_us([sys.executable, "-m", "tests.chaos.idle_clients", *said])
        self.cut_off = 0
        """How many the server has closed."""

    async def come(self) -> None:
        """Connect, and come again where cut off."""
        await self._tell("come")

    async def go(self) -> None:
        """Close all connections."""
        self.cut_off += int(await self._tell("go"))

    async def _tell(self, what: str) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n".encode())
        return await self._process.stdout.readline()

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._command, cwd=REPOSITORY, stdin=pipe, stdout=pipe)
        await self.go()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class _Clients:
    """What the process does: see `IdleClients`."""

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
                await asyncio.sleep(_NEXT_AFTER_S)
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

    async def come(self) -> None:
        """Connect, and stay there."""
        self._keeping = asyncio.create_task(self._keep())

    async def go(self) -> int:
        """Close all; how many the server has closed before."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._look()
        for client in self._open:
            client.close()
        self._open.clear()
        cut_off, self.cut_off = self.cut_off, 0
        return cut_off


def _is_closed(client: socket.socket) -> bool:
    try:
        while client.recv(65_536):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


async def _serve(clients: _Clients) -> None:
    while told := await asyncio.to_thread(sys.stdin.readline):
        if told == "come\n":
            await clients.come()
        print(0 if told == "come\n" else await clients.go(), flush=True)


if __name__ == "__main__":
    port, connections = int(sys.argv[1]), int(sys.argv[2])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + _SPARE_DESCRIPTORS
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed, hard), hard))
    asyncio.run(_serve(_Clients(port, connections, tls=sys.argv[3] == "tls")))
