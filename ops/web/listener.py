"""What accepts connections, and bounds them: uvicorn does not.

uvicorn bounds neither the number of sockets nor the time of a request's head, and of TLS only the handshake of asyncio.
So sockets are accepted here, a few at a time, since inspection shares the event loop; each is counted before its TLS
handshake, and gets a protocol only once there is something to be answered (`first_bytes.py`); and once in half a
second those that wait for too long are ended (`connections.py`). Signals stay with the service: nothing of uvicorn is
used that installs handlers.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from math import ceil
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from patchline.ops.web.connections import Connection, Connections, HttpLimits, Phase, Refusal
from patchline.ops.web.first_bytes import FirstBytes
from patchline.ops.web.protocol import LimitedProtocol, in_pieces

ACCEPTED_AT_ONCE = 8
ACCEPTED_EVERY_S = 0.001
"""So many sockets are accepted at most, and then none for so long: a thousand that come together delay each of the
some thirty steps that a frame takes on the event loop by less than a millisecond, and all are in within half a second.
"""
SWEEP_S = 0.5
STOP_S = 2.0
"""Time that answers under way have when the server stops."""
_BACKLOG = 2048
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_FULL_ANSWER = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n"


class Listener:
    """Serves an ASGI application on a host and a port.

    Args:
        app: what answers.
        limits: what connections may take.
        max_body_bytes: a longer body is refused by the application as soon as its length is known.
        tls: speaks HTTPS where given.
        refused: told of each connection that is ended or turned away.
    """

    def __init__(
        self,
        app: Any,
        limits: HttpLimits,
        *,
        max_body_bytes: int = 2**20,
        tls: ssl.SSLContext | None = None,
        refused: Callable[[Refusal], None] = lambda _: None,
    ) -> None:
        self._limits, self._tls = limits, tls
        self.connections = Connections(limits, refused)
        self._beginning = FirstBytes(
            self.connections, limits.max_head_bytes, max_body_bytes, tls=tls is not None, go_on=self._start_serving
        )
        self._config = Config(
            in_pieces(app),
            http=LimitedProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=ceil(limits.keep_alive_s),
            h11_max_incomplete_event_size=limits.max_head_bytes,
        )
        self._state = ServerState()
        self._sockets: list[socket.socket] = []
        self._serving: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def port(self) -> int | None:
        """The port listened on; None while there is none."""
        return int(self._sockets[0].getsockname()[1]) if self._sockets else None

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError where an address cannot be had."""
        if not self._config.loaded:
            self._config.load()
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, _, _, _, address in dict.fromkeys(found):
                self._sockets.append(_listening_socket(family, address, self.port))
        except OSError:
            self._close_sockets()
            raise
        self._say_the_time()
        for listening in self._sockets:
            listening.listen(_BACKLOG)
            loop.add_reader(listening.fileno(), self._accept, listening)
        self._sweeping = loop.create_task(self._sweep())

    async def stop(self) -> None:
        """Stop listening; answers under way get two seconds."""
        self._close_sockets()
        self._beginning.close()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
            self._sweeping = None
        for protocol in list(self._state.connections):
            protocol.shutdown()
        for connection in self.connections:
            if connection.phase is Phase.HANDSHAKE:
                connection.abort()
        until = asyncio.get_running_loop().time() + STOP_S
        while len(self.connections) and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - seldom, and short
            await asyncio.sleep(0.02)
        for connection in self.connections:
            connection.abort()
        if answering := [*self._state.tasks, *self._serving]:
            _, answering_on = await asyncio.wait(answering, timeout=0.2)  # most end with their connection
            for task in answering_on:
                task.cancel()
            await asyncio.gather(*answering, return_exceptions=True)

    def _close_sockets(self) -> None:
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            loop.remove_reader(listening.fileno())
            listening.close()
        self._sockets.clear()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted, _address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_DESCRIPTOR:
                    raise
                self._wait_for_descriptors(listening)
                return
            accepted.setblocking(False)
            self._begin(accepted)
        self._pause(listening, ACCEPTED_EVERY_S)

    def _wait_for_descriptors(self, listening: socket.socket) -> None:
        """Give one back, and accept again a little later: until then the socket would only wake the event loop."""
        self.connections.refuse(Refusal.DESCRIPTORS)
        self.connections.make_room()
        self._pause(listening, 0.1)

    def _pause(self, listening: socket.socket, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening.fileno())

        def again() -> None:
            if listening in self._sockets:
                loop.add_reader(listening.fileno(), self._accept, listening)

        loop.call_later(seconds, again)

    def _begin(self, accepted: socket.socket) -> None:
        connection = self.connections.begin(Phase.HANDSHAKE if self._tls else Phase.HEAD, abort=accepted.close)
        if connection is None:
            if self._tls is None:
                with suppress(OSError):  # it has gone
                    accepted.send(_FULL_ANSWER)
            accepted.close()
            return
        self._beginning.wait(accepted, connection)

    def _start_serving(self, accepted: socket.socket, connection: Connection, read: bytes) -> None:
        connection.abort = accepted.close
        task = asyncio.get_running_loop().create_task(self._serve(accepted, connection, read))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, accepted: socket.socket, connection: Connection, read: bytes) -> None:
        """Bring a connection as far as its protocol, which ends it; `read` has come of it already."""
        if accepted.fileno() < 0:
            return  # it made room before its first step
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - it runs in one
        connection.abort = task.cancel
        timeouts = {"ssl_handshake_timeout": 60.0, "ssl_shutdown_timeout": 60.0} if self._tls else {}
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: LimitedProtocol(self._config, self._state, self.connections, connection, read),
                accepted,
                ssl=self._tls,
                **timeouts,
            )
        except OSError:  # ssl.SSLError is one
            self.connections.refuse(Refusal.HANDSHAKE)
            self.connections.end(connection)
        except BaseException:
            self.connections.end(connection)
            raise

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self._say_the_time()
            self.connections.end_overdue()

    def _say_the_time(self) -> None:
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]


def _listening_socket(family: int, address: Any, port: int | None) -> socket.socket:
    """A socket on an address; `port`: the one that the sockets before it took, where a free one was asked for."""
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if port is not None and address[1] == 0:
            address = (address[0], port, *address[2:])
        listening.bind(address)
    except BaseException:
        listening.close()
        raise
    return listening
