"""Connections of which nothing has come yet that could be answered: they cost a descriptor, and no protocol.

Thousands of clients may connect and say nothing, or the half of something. A protocol for each of them, and its end
when it makes room, would take the event loop for as long as some frames do. So the loop only watches their sockets
until a first request is there, its head and as much of its body as `BODY_BYTES`, or the first record of a TLS
handshake. Of TLS the bytes stay in the kernel, which is told how many are waited for (SO_RCVLOWAT), so that the loop is
not woken by every one of them.
"""

import asyncio
import re
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from patchline.ops.web.connections import Connection, Connections, Phase, Refusal

BODY_BYTES = 65_536
"""Of a longer body the rest is read by the protocol: whoever sends so much of one means it."""
_READ_BYTES = 65_536
_HEAD_ENDS = re.compile(rb"\n\r?\n")
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:[ \t]*(\d{1,15})[ \t]*(?=\r?\n)", re.IGNORECASE)
_ASKS_FIRST = re.compile(rb"\n(?:expect|transfer-encoding)[ \t]*:", re.IGNORECASE)
"""Who sends it waits for an answer before the body, or says no length."""
_NO_REQUEST = 0x21
"""No request begins with a byte below it: h11 refuses such a one at once."""
_TLS_HANDSHAKE, _TLS_HEADER_BYTES, _TLS_LONGEST_RECORD = 22, 5, 2**14
"""RFC 8446, section 5.1."""


@dataclass(slots=True, eq=False)
class _Beginning:
    socket: socket.socket
    connection: Connection
    read: bytearray = field(default_factory=bytearray)
    """What has come; of TLS nothing is taken from the kernel."""
    wanted_bytes: int = 1
    """Of TLS: how many the loop is woken for. Else: how many are waited for, once the head is there."""


class FirstBytes:
    """Watches new sockets until there is something to be answered.

    Args:
        connections: where they are counted.
        max_head_bytes: more than this of a head need not be waited for: it is refused.
        max_body_bytes: nor any of a body that is longer than this.
        tls: whether a TLS handshake is awaited, else the head of a request.
        go_on: given a socket, its connection and what was read of it, when a protocol is needed.
    """

    def __init__(
        self,
        connections: Connections,
        max_head_bytes: int,
        max_body_bytes: int,
        *,
        tls: bool,
        go_on: Callable[[socket.socket, Connection, bytes], None],
    ) -> None:
        self._connections, self._tls, self._go_on = connections, tls, go_on
        self._max_head_bytes, self._max_body_bytes = max_head_bytes, max_body_bytes
        self._waiting: set[_Beginning] = set()

    def wait(self, accepted: socket.socket, connection: Connection) -> None:
        """Watch a socket that does not block; aborting its connection closes it."""
        beginning = _Beginning(accepted, connection)
        connection.abort = partial(self._close, beginning)
        self._waiting.add(beginning)
        heard = self._heard_tls if self._tls else self._heard
        asyncio.get_running_loop().add_reader(accepted.fileno(), heard, beginning)

    def close(self) -> None:
        """Close all that wait."""
        for beginning in list(self._waiting):
            self._connections.end(beginning.connection)
            self._close(beginning)

    def _heard(self, beginning: _Beginning) -> None:
        try:
            read = beginning.socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            read = b""
        if not read:
            self._connections.end(beginning.connection)
            self._close(beginning)
            return
        looked_at = max(0, len(beginning.read) - 2)  # the head's end may have come in parts
        beginning.read += read
        if beginning.connection.phase is Phase.HEAD:
            beginning.wanted_bytes = self._wanted_bytes(beginning.read, looked_at)
            if len(beginning.read) < beginning.wanted_bytes < sys.maxsize:
                self._connections.note(beginning.connection, Phase.BODY, waits_for_peer=True)
        if len(beginning.read) >= beginning.wanted_bytes:
            self._forget(beginning)
            self._go_on(beginning.socket, beginning.connection, bytes(beginning.read))

    def _wanted_bytes(self, read: bytearray, looked_at: int) -> int:
        """How much of a request must be there before it is answered; `sys.maxsize` while its head is not."""
        if read[0] < _NO_REQUEST:
            return 0
        end = _HEAD_ENDS.search(read, looked_at)
        if end is None:
            return 0 if len(read) > self._max_head_bytes else sys.maxsize
        lengths = _LENGTH.findall(read, 0, end.end())
        if len(lengths) != 1 or _ASKS_FIRST.search(read, 0, end.end()) or int(lengths[0]) > self._max_body_bytes:
            return 0
        return end.end() + min(int(lengths[0]), BODY_BYTES)

    def _heard_tls(self, beginning: _Beginning) -> None:
        try:
            seen = beginning.socket.recv(_TLS_HEADER_BYTES + _TLS_LONGEST_RECORD, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            seen = b""
        if not seen:
            self._connections.refuse(Refusal.HANDSHAKE)
            self._connections.end(beginning.connection)
            self._close(beginning)
            return
        wanted = _record_bytes(seen)
        if len(seen) < wanted and beginning.wanted_bytes < wanted:
            beginning.wanted_bytes = wanted
            with suppress(OSError):  # it is watched all the same
                beginning.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
            return
        # All is there; or not, and yet the loop was woken: the peer has gone, which the handshake finds out.
        self._forget(beginning)
        with suppress(OSError):
            beginning.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self._go_on(beginning.socket, beginning.connection, b"")

    def _forget(self, beginning: _Beginning) -> None:
        self._waiting.discard(beginning)
        asyncio.get_running_loop().remove_reader(beginning.socket.fileno())

    def _close(self, beginning: _Beginning) -> None:
        self._forget(beginning)
        beginning.socket.close()
        beginning.connection.abort = _nothing  # else they hold one another, and thousands wait for a full collection


def _nothing() -> None:
    pass


def _record_bytes(seen: bytes) -> int:
    """How many bytes the first record of a handshake has, as far as can be seen; 0 where it is none."""
    if seen[0] != _TLS_HANDSHAKE:
        return 0
    if len(seen) < _TLS_HEADER_BYTES:
        return _TLS_HEADER_BYTES
    length = int.from_bytes(seen[3:_TLS_HEADER_BYTES], "big")
    return _TLS_HEADER_BYTES + length if length <= _TLS_LONGEST_RECORD else 0
